"""The course page in a real browser, taken as a person would take it, opened by double click.

Needs Chromium and its driver; skips without them. Screenshots go to the folder that MEMORABLE_SCREENSHOTS names.
"""

import json
import re
import shutil
import time
from types import SimpleNamespace

import pytest

from tests.helpers.drawn_course import LABELLED, TESTED
from tests.helpers.many_classes import TWELVE, build_many, two_hundred

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.helpers.person import DESKTOP, PHONE, SOON, Person, look, namings, resize, show_state  # noqa: E402
from utils.people.store import FIELDS  # noqa: E402

NO_EXPLANATION = "No explanation was made for this pair; compare the whole pictures."


def errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def open_page(browser, out, course):
    """A person who has just opened the page by double click, in a browser that has never seen it."""
    resize(browser, DESKTOP)
    browser.get((out / "course_page/index.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    someone = Person(browser, course)
    someone.sees("Learn to tell")
    return someone


@pytest.fixture
def person(browser, out, course):
    yield open_page(browser, out, course)
    assert errors(browser) == []


def check_trial(trial, number, phase, image, response, build_id):
    assert list(trial) == [name for name in FIELDS if phase == "lesson" or name != "correct"]
    assert re.fullmatch("[0-9a-f]{32}", trial["trial_id"])
    assert (trial["trial_index"], trial["trial_type"], trial["phase"]) == (number, phase, phase)
    assert (trial["stimulus"], trial["response"], trial["build_id"]) == (image, response, build_id)
    assert isinstance(trial["rt"], int) and 400 <= trial["rt"] < 1000 * SOON and trial["time_elapsed"] >= trial["rt"]


SCREENS = {}  # what the page remembers at each screen of the next test, by the screen's name


def remember(person, name):
    SCREENS[name] = person.state
    look(person, name)


def test_a_person_takes_the_course(person, course):
    """With the mouse. Every answer shows its pair; reloads, going back and double clicks change nothing."""
    browser, classes = person.browser, course["classes"]
    remember(person, "1_intro")
    assert person.all("main img") == []  # no picture next to a name before the first lesson
    assert all(name in person.text() for name in classes)
    person.click("Start the first lesson")
    for number, lesson in enumerate(course["lessons"]):
        response = lesson["label"] if number == 0 else (lesson["label"] + number + 1) % len(classes)
        person.sees(f"Lesson {number + 1} of 3")
        assert person.shown() == [lesson["image"]]
        remember(person, "2_lesson")
        if number == 1:
            browser.refresh()
            person.sees("Lesson 2 of 3")
        trial = person.answer(response)
        check_trial(trial, number, "lesson", lesson["image"], response, course["build_id"])
        assert trial["correct"] is (number == 0)
        counter = lesson["answer"] if number == 0 else response
        person.sees("What makes it")
        if number == 2:
            browser.refresh()
            person.sees("What makes it")
        remember(person, f"3_{'right' if trial['correct'] else 'wrong'}")
        pair = lesson["pairs"][str(counter)]
        assert person.shown() == [pair["image"], pair["partner"]]
        own, other = classes[lesson["label"]], classes[counter]
        assert f"What makes it a {own} and not a {other}" in person.text()
        assert ("Right: it is" in person.text()) is trial["correct"]
        assert (f"You answered {classes[response]}" in person.text()) is not trial["correct"]
        captions = [re.sub(r"\s+", " ", caption.text) for caption in person.all("figcaption")]
        assert captions == [f"This picture {own}", f"For comparison {other}"]
        person.click("Finish the lessons" if number == 2 else "Next lesson")
    assert "right in 1 of 3 lessons" in person.text()
    remember(person, "4_test_intro")
    take_the_test(person, course)
    label_and_stop(person, course)
    check_download(person, course)


def take_the_test(person, course):
    """No feedback, no repetition; the second half of a double click is no answer to the next picture."""
    person.click("Start the test")
    seen = []
    for number in range(TESTED):
        person.sees(f"Test picture {number + 1} of {TESTED}")
        seen += person.shown()
        if number == 1:
            remember(person, "5_test")
            person.browser.get("about:blank")
            person.browser.back()
            person.sees("Test picture 2")
            assert person.shown() == seen[-1:]
        if number == 2:
            time.sleep(0.5)
            ActionChains(person.browser).double_click(person.all(".answers button")[number]).perform()
            person.sees("Test picture 4")
            assert len(person.trials) == 3 + 3
        else:
            person.answer(number)
        check_trial(person.trials[-1], 3 + number, "test", seen[-1], number, course["build_id"])
        assert "Right" not in person.text() and "quite" not in person.text()
    assert sorted(seen) == course["test"]
    person.sees("Test done")


def label_and_stop(person, course):
    remember(person, "6_label_intro")
    person.click("Start labelling")
    for number in range(2):
        person.sees(f"{number} picture{'' if number == 1 else 's'} labelled so far")
        (image,) = person.shown()
        assert image in course["label"]
        remember(person, "7_label")
        check_trial(person.answer(4), 8 + number, "label", image, 4, course["build_id"])
    person.sees("2 pictures labelled")
    person.click("Stop here")
    remember(person, "8_end")


def check_download(person, course):
    """The file contains exactly what was answered; labelling can go on."""
    script = "document.querySelector('main button.primary').click()"
    files = person.browser.downloads
    person.until(lambda: person.browser.execute_script(script), lambda: list(files.glob("*.json")), "download")
    (file, *_) = files.glob("*.json")
    content = json.loads(file.read_text())
    assert list(content) == ["build_id", "dataset", "participant", "trials"]
    assert (content["build_id"], content["dataset"]) == (course["build_id"], "toy")
    assert re.fullmatch("[0-9a-f]{32}", content["participant"]) and content["trials"] == person.trials
    assert [trial["trial_index"] for trial in content["trials"]] == list(range(10))
    times = [trial["time_elapsed"] for trial in content["trials"]]
    assert times == sorted(times) and len({trial["trial_id"] for trial in content["trials"]}) == 10
    person.click("Go on labelling")
    for _ in range(LABELLED - 2):
        person.sees("Which kind")
        person.answer(1, by_key=True)
    person.sees("Thank you")
    assert sorted(trial["stimulus"] for trial in person.trials if trial["phase"] == "label") == course["label"]
    assert "Go on" not in person.text()


def at_all_widths(person, name, checker):
    for size, touch in ((DESKTOP, False), (PHONE, True), ((320, 640), True)):
        resize(person.browser, size, touch)
        look(person, name, checker)
    resize(person.browser, DESKTOP)


def press(person, place, words):
    """Presses the button in `place` that says `words`."""
    next(some for some in person.all(f"{place} button") if words in some.text).click()


def test_every_screen_is_accessible(person, checker):
    """axe on every screen, at the widths of a desktop and of phones."""
    if not SCREENS:
        pytest.skip("the test that walks through the screens did not run")
    browser = person.browser
    for name, state in SCREENS.items():
        show_state(person, state)
        at_all_widths(person, name, checker)
    browser.execute_script("document.getElementById('menu').open = true")
    person.until(lambda: None, lambda: "Start again" in person.text("#menu"), "menu")
    at_all_widths(person, "9_menu", checker)


def test_a_question_reveals_no_answer_and_names_are_not_translated(person, course):
    names = course["classes"]
    for name in ("2_lesson", "5_test", "7_label"):
        if name not in SCREENS:
            pytest.skip("the test that walks through the screens did not run")
        show_state(person, SCREENS[name])
        (image,) = person.all("main img")
        assert image.get_attribute("alt") == "The picture to name"
        buttons = [button.get_attribute("outerHTML") for button in person.all(".answers button")]
        alike = {html.replace(names[at], "").replace(str(at + 1), "") for at, html in enumerate(buttons)}
        assert len(buttons) == len(names) and len(alike) == 1
        rest = person.browser.execute_script(
            "const copy = document.documentElement.cloneNode(true);"
            "copy.querySelector('.answers').remove(); return copy.outerHTML"
        )
        assert not [kind for kind in names if kind in rest]
    for name in ("1_intro", "2_lesson", "3_wrong"):
        show_state(person, SCREENS[name])
        found = namings(person)
        assert len(found) >= 5 and [words for words, translated in found if translated] == [], name


def test_keyboard_only(person, course):
    """Tab, Enter and number keys are enough; the focus is visible; number keys can be switched off (WCAG 2.1.4)."""
    browser = person.browser
    tab_to(person, "Start the first lesson")
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 1" in person.text(), "lesson 1")
    assert browser.switch_to.active_element.tag_name == "h1"  # screen readers start at the new heading
    tab_to(person, course["classes"][1])
    person.until(lambda: person.key(Keys.ENTER), lambda: len(person.trials) == 1, "first answer")
    person.sees("What makes it")
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 2" in person.text(), "lesson 2")
    assert browser.execute_script("return document.getElementById('status').textContent") == "Lesson 2 of 3"
    browser.execute_script("document.activeElement.blur()")
    tab_to(person, "Menu")
    person.key(Keys.ENTER)
    person.until(lambda: None, lambda: "Keys 1 to" in person.text("#menu"), "menu")
    tab_to(person, "", "input")
    person.key(Keys.SPACE)
    assert person.state["keys"] is False
    person.key(Keys.ESCAPE)
    assert not person.all("details[open]")
    time.sleep(0.5)
    person.key("1")
    assert len(person.trials) == 1
    show_state(person, {**person.state, "keys": True})
    person.sees("Lesson 2")
    person.answer(3, by_key=True)
    person.sees("What makes it")
    person.key("1")  # no answer is asked for here
    assert [trial["response"] for trial in person.trials] == [1, 3]


def tab_to(person, words, kind="button, summary"):
    """Presses Tab until a control that says `words` has the focus; each control on the way shows the focus."""
    script = (
        "const some = document.activeElement; const style = getComputedStyle(some);"
        "return [some.matches(arguments[0]) && some.textContent.includes(arguments[1]), some === document.body,"
        " style.outlineStyle, parseFloat(style.outlineWidth)]"
    )
    for _ in range(20):
        person.key(Keys.TAB)
        there, nowhere, line, width = person.browser.execute_script(script, kind, words)
        assert nowhere or (line == "solid" and width >= 2)
        if there:
            return
    raise AssertionError(f"Tab does not lead to '{words}'")


def test_a_clock_that_is_set_changes_no_time(person, course):
    """Far ahead, then back to 1970; after a reload the time goes on from the last answer."""
    person.click("Start the first lesson")
    last = 0
    for number, (clock, reload) in enumerate((("5e15", False), ("0", True))):
        if reload:
            person.browser.refresh()
        person.sees(f"Lesson {number + 1} of 3")
        person.browser.execute_script(f"Date.now = () => {clock}")
        trial = person.answer(course["lessons"][number]["label"])
        assert 400 <= trial["rt"] <= trial["time_elapsed"] - last < 1000 * SOON
        last = trial["time_elapsed"]
        person.sees("What makes it")
        person.click("Next")


def test_the_next_person_at_a_computer_starts_again(person):
    """From the menu, in the middle of the course, after a question."""
    person.click("Start the first lesson")
    person.sees("Which kind")
    person.answer(0, by_key=True)
    person.sees("What makes it")
    kept = person.state
    person.all("#menu summary")[0].click()
    person.until(lambda: None, lambda: "Start again" in person.text("#menu"), "menu")
    time.sleep(0.5)
    for answer in ("dismiss", "accept"):
        press(person, "#menu", "Start again as another person")
        question = person.browser.switch_to.alert
        assert "1 answer would be lost. Download your answers first." in question.text
        getattr(question, answer)()
        if answer == "dismiss":
            assert person.state == kept
    person.sees("Learn to tell")
    assert person.state is None
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    assert person.trials == [] and person.state["participant"] != kept["participant"]


def test_another_tab_that_goes_on_is_followed(person):
    """Two tabs of one course do not overwrite each other's answers."""
    browser = person.browser
    person.click("Start the first lesson")
    first, address = browser.current_window_handle, browser.current_url
    browser.switch_to.new_window("tab")
    browser.get(address)
    person.sees("Lesson 1")
    person.answer(0)
    browser.close()
    browser.switch_to.window(first)
    person.sees("What makes it")
    assert len(person.trials) == 1


@pytest.mark.parametrize("missing", ["course.js", "data.js", "images"])
def test_missing_files_are_named(browser, out, course, tmp_path, missing):
    """index.html was opened from within a ZIP file, or passed on without the rest of the folder."""
    folder = shutil.copytree(out / "course_page", tmp_path / "course_page")
    (folder / missing).rename(tmp_path / "elsewhere")
    browser.get((folder / "index.html").as_uri())
    someone = Person(browser, course)
    if missing == "images":
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        someone.sees("Learn to tell")
        someone.click("Start the first lesson")
    someone.sees("unpack the whole folder first")
    browser.get("about:blank")
    browser.get_log("browser")


# ---------------------------------------------------------------- many classes


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of drawn courses of 12 and 200 classes."""
    names = {12: TWELVE, 200: two_hundred()}
    built = {count: build_many(tmp_path_factory.mktemp("birds"), "birds", names[count]) for count in names}
    return {count: SimpleNamespace(out=out, course=course) for count, (out, course) in built.items()}


def search(person, typed):
    """Types into the box in place of its text; returns the names in the list."""
    box = person.all(".searched input")[0]
    box.send_keys(Keys.ESCAPE, typed)
    script = "return [...document.querySelectorAll('.answers button')].map((some) => some.textContent)"
    return person.browser.execute_script(script)


def by_name(person, name):
    """Answers by typing the whole name, and Enter."""
    before = len(person.trials)
    person.until(lambda: (search(person, name), person.key(Keys.ENTER)), lambda: len(person.trials) > before, name)
    return person.trials[-1]


@pytest.mark.parametrize("count", [12, 200])
def test_a_course_of_many_classes(browser, pages, checker, count):
    """A list to search in; pairs with and without an explanation; keyboard, mouse and finger."""
    person = open_page(browser, pages[count].out, pages[count].course)
    names, lessons = person.course["classes"], person.course["lessons"]
    at_all_widths(person, f"many_{count}_intro", checker)
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    assert person.browser.switch_to.active_element.tag_name == "input"
    at_all_widths(person, f"many_{count}_question", checker)
    assert search(person, "") == sorted(names, key=str.casefold) or count == 12
    assert search(person, "xyz") == [] and person.text("#status") == person.text("#hint")
    assert person.text("#hint") == "No kind is called “xyz”. Type less, or something else."
    time.sleep(0.5)
    person.key(Keys.ENTER)
    assert person.trials == []
    assert by_name(person, names[0])["correct"]  # the only explained answer of lesson 1 is class 1
    person.sees("Right: it is")
    assert person.shown() == list(lessons[0]["pairs"]["1"].values()) and NO_EXPLANATION not in person.text()
    person.click("Next lesson")
    person.sees("Lesson 2")
    wrong = next(number for number in range(4, count) if str(number) in lessons[1]["partners"])
    shown = search(person, names[wrong])
    buttons = person.all(".answers button")
    person.until(buttons[shown.index(names[wrong])].click, lambda: len(person.trials) == 2, "a click")
    person.sees("Not quite: it is")
    assert person.shown() == [lessons[1]["image"], lessons[1]["partners"][str(wrong)]]
    assert NO_EXPLANATION in person.text() and "What makes it" not in person.text()
    assert not any(translated for _, translated in namings(person))
    at_all_widths(person, f"many_{count}_plain", checker)
    resize(browser, PHONE, touch=True)
    person.click("Next lesson")
    person.sees("Lesson 3")
    assert person.browser.switch_to.active_element.tag_name == "h1"  # no keyboard over the picture
    resize(browser, DESKTOP)
    assert errors(browser) == []


SEARCHES = {  # typed, listed
    "adm": ["Admiral", "Red Admiral"],
    "admiral red": ["Red Admiral"],
    "blä": ["Bläuling"],
    "Blau": ["Bläuling"],
    "eclair": ["Éclair"],
    "草": ["草"],
    "oharas": ["O'Hara's Owl"],
    "ring billed": ["Ring-billed Gull"],
    "10": ["Type 10"],
}


def test_searches_find_names_and_enter_takes_none_of_several(browser, pages):
    person = open_page(browser, pages[12].out, pages[12].course)
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    time.sleep(0.5)
    assert {typed: search(person, typed) for typed in SEARCHES} == SEARCHES
    search(person, "fuchs")
    person.key(Keys.ENTER)
    assert person.trials == [] and person.text("#hint") == "2 kinds fit: choose one, or type on"
    search(person, "草")
    script = (
        "document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Enter', isComposing: arguments[0], bubbles: true}))"
    )
    browser.execute_script(script, True)  # ends the composition of a Chinese character
    assert person.trials == []
    search(person, "ADMIRAL")
    person.key(Keys.ENTER)  # the whole name, though two contain it
    assert [trial["response"] for trial in person.trials] == [TWELVE.index("Admiral")]
