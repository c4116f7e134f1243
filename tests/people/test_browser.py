"""The course page in a real browser, taken as a person would take it, by double click on its file.

Needs Chromium and its driver; skips with a reason without them. Screenshots of every screen at desktop and phone width go to the
folder that MEMORABLE_SCREENSHOTS names, if it is set.
"""

import json
import re
import shutil
import time
from functools import partial

import pytest

from tests.helpers.drawn_course import LABELLED, TESTED

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.helpers.person import DESKTOP, PHONE, SOON, Person, look, namings, resize, show_state  # noqa: E402

FIELDS = [
    "trial_id",
    "trial_index",
    "trial_type",
    "phase",
    "time_elapsed",
    "rt",
    "stimulus",
    "response",
    "correct",
    "build_id",
]


@pytest.fixture
def person(browser, out, course):
    """Someone who has just opened the page by double click, in a browser that has never seen it."""
    resize(browser, DESKTOP)
    browser.get((out / "course_page/index.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    someone = Person(browser, course)
    someone.sees("Learn to tell")
    yield someone
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def check_trial(trial, number, phase, image, response, build_id):
    """One trial is what the contract says, under jsPsych's names."""
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
    """Mouse; every answer right or wrong gets its pair; a reload, going back and double clicks change nothing; then the download."""
    browser, classes = person.browser, course["classes"]
    remember(person, "1_intro")
    assert person.all("main img") == []  # no picture stands beside a name before the first lesson
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
    take_the_test_by_mouse(person, course)
    label_two_and_stop(person, course)
    check_download(person, course)


def take_the_test_by_mouse(person, course):
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


def label_two_and_stop(person, course):
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
    """The file holds exactly what was answered; labelling can go on."""
    person.until(
        lambda: person.browser.execute_script("document.querySelector('main button.primary').click()"),
        lambda: list(person.browser.downloads.glob("*.json")),
        "download",
    )
    (file, *_) = person.browser.downloads.glob("*.json")
    content = json.loads(file.read_text())
    assert list(content) == ["build_id", "dataset", "participant", "trials"]
    assert (content["build_id"], content["dataset"]) == (course["build_id"], "toy")
    assert re.fullmatch("[0-9a-f]{32}", content["participant"]) and content["trials"] == person.trials
    assert [trial["trial_index"] for trial in content["trials"]] == list(range(10))
    assert len({trial["trial_id"] for trial in content["trials"]}) == 10
    times = [trial["time_elapsed"] for trial in content["trials"]]
    assert times == sorted(times)
    person.click("Go on labelling")
    for _ in range(LABELLED - 2):
        person.sees("Which kind")
        person.answer(1, by_key=True)
    person.sees("Thank you")
    assert sorted(trial["stimulus"] for trial in person.trials if trial["phase"] == "label") == course["label"]
    assert "Go on" not in person.text()


def test_every_screen_is_accessible(person, checker):
    """axe on every screen, at desktop and at phone width; no scrolling sideways at 320 pixels either."""
    if not SCREENS:
        pytest.skip("the test that walks through the screens did not run")
    browser = person.browser
    for name, state in SCREENS.items():
        show_state(person, state)
        look_at_all_widths(person, name, checker)
    browser.execute_script("document.getElementById('menu').open = true")
    look_at_all_widths(person, "9_menu", checker)
    press(person, "#menu", "Start again as another person")
    look_at_all_widths(person, "9_menu_leaving", checker)
    resize(browser, DESKTOP)
    show_state(person, SCREENS["3_wrong"])
    browser.execute_script("document.querySelector('.enlarge').click()")
    person.until(lambda: None, lambda: person.all("dialog[open] img"), "large picture")
    look_at_all_widths(person, "3_wrong_enlarged", checker)


def press(person, place, words):
    """Presses the button in `place` that says `words`, as the mouse does."""
    next(some for some in person.all(f"{place} button") if words in some.text).click()


def look_at_all_widths(person, name, checker):
    for size, touch in ((DESKTOP, False), (PHONE, True)):
        resize(person.browser, size, touch)
        look(person, name, checker)
    resize(person.browser, (320, 640), touch=True)
    look(person, name)
    resize(person.browser, DESKTOP)


def test_labels_and_alternative_texts_tell_no_answers(person, course):
    """While a question is on the screen, nothing in the page but the row of buttons, all alike, names a class."""
    for name in ("2_lesson", "5_test", "7_label"):
        if name not in SCREENS:
            pytest.skip("the test that walks through the screens did not run")
        show_state(person, SCREENS[name])
        (image,) = person.all("main img")
        assert image.get_attribute("alt") == "The picture to name"
        buttons = [button.get_attribute("outerHTML") for button in person.all(".answers button")]
        for button, other in zip(buttons, course["classes"], strict=True):
            buttons[course["classes"].index(other)] = button.replace(other, "").replace(
                str(course["classes"].index(other) + 1), ""
            )
        assert len(set(buttons)) == 1
        rest = person.browser.execute_script(
            "const copy = document.documentElement.cloneNode(true); copy.querySelector('.answers').remove(); return copy.outerHTML"
        )
        assert not [kind for kind in course["classes"] if kind in rest]


def test_no_browser_translates_the_names_of_classes(person, course):
    """Otherwise a button, a verdict and a caption may call the same class differently. The sentences around the names are translated."""
    names = course["classes"]
    for name, texts, labels in (("1_intro", 5, 0), ("2_lesson", 5, 0), ("3_right", 5, 2), ("3_wrong", 6, 2)):
        if name not in SCREENS:
            pytest.skip("the test that walks through the screens did not run")
        show_state(person, SCREENS[name])
        found = namings(person)
        assert [words for words, translated in found if translated] == [], name
        assert len([words for words, _ in found if words in names]) == texts and len(found) == texts + labels, name
    person.browser.execute_script("document.querySelector('.enlarge').click()")
    assert len(found := namings(person)) == 6 + 2 + 2 and not any(translated for _, translated in found)
    translated = (
        "return ['dialog button', '.reason', '.verdict h1'].map((some) => document.querySelector(some).translate)"
    )
    assert person.browser.execute_script(translated) == [True, True, True]


def test_keyboard_only(person, course):
    """Tab, Enter and the number keys are enough; the focus can be seen; the number keys can be switched off (WCAG 2.1.4)."""
    browser = person.browser
    tab_to(person, "Start the first lesson")
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 1" in person.text(), "lesson 1")
    assert browser.switch_to.active_element.tag_name == "h1"  # readers start at the new screen's heading
    tab_to(person, course["classes"][1])
    person.until(lambda: person.key(Keys.ENTER), lambda: len(person.trials) == 1, "first answer")
    assert person.trials[0]["response"] == 1
    person.sees("What makes it")
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 2" in person.text(), "lesson 2")
    assert browser.execute_script("return document.getElementById('status').textContent") == "Lesson 2 of 3"
    browser.execute_script("document.activeElement.blur()")
    tab_to(person, "Menu")
    person.key(Keys.ENTER)
    tab_to(person, "", "input")
    person.key(Keys.SPACE)
    assert person.state["keys"] is False
    person.key(Keys.ESCAPE)
    assert not person.all("details[open]")
    time.sleep(0.5)
    for key in ("1", "3", "7", "0"):
        person.key(key)
    assert len(person.trials) == 1
    show_state(person, {**person.state, "keys": True})
    person.sees("Lesson 2")
    person.answer(3, by_key=True)
    person.sees("What makes it")
    for key in ("1", "2"):  # no answer is asked for here
        person.key(key)
    assert [trial["response"] for trial in person.trials] == [1, 3]


def strike(person, key, code, shift=False):
    """Presses a key as a keyboard of any country does: what it writes, and which key it is."""
    event = {"key": key, "code": code, "modifiers": 8 if shift else 0}
    person.browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyDown", **event})
    person.browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", **event})


def test_number_keys_of_keyboards_whose_digits_need_shift(person):
    """A French one: & and é are on the keys of 1 and 2. Neither ! (Shift and 1 elsewhere) nor End (1 without NumLock) is a digit."""
    person.click("Start the first lesson")
    person.sees("Which kind")
    time.sleep(0.5)
    for key, code, shift in (
        ("!", "Digit1", True),
        ("End", "Numpad1", False),
        ("0", "Digit1", False),
        ("a", "KeyQ", False),
    ):
        strike(person, key, code, shift)
    assert person.trials == []
    for number, pressed in enumerate([("&", "Digit1"), ("é", "Digit2"), ("3", "Digit3", True)]):
        person.sees("Which kind")
        person.until(partial(strike, person, *pressed), lambda: "What makes it" in person.text(), pressed)
        assert [trial["response"] for trial in person.trials] == [0, 1, 2][: number + 1]
        person.click("Finish" if number == 2 else "Next")


def tab_to(person, words, kind="button, summary"):
    """Presses Tab until the focus is on a control that says `words`; each control on the way shows that it has the focus."""
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


def test_a_clock_that_is_set_spoils_no_time(person, course):
    """It jumps far ahead, then back to 1970: what counts is the time that passes on the page; over a reload it goes on from the last."""
    person.click("Start the first lesson")
    times = []
    for number, (clock, reload) in enumerate((("5e15", False), ("0", False), ("0", True))):
        if reload:
            person.browser.refresh()
        person.sees(f"Lesson {number + 1} of 3")
        person.browser.execute_script(f"Date.now = () => {clock}")
        trial = person.answer(course["lessons"][number]["label"])
        passed = trial["time_elapsed"] - (times[-1] if times else 0)
        assert 400 <= trial["rt"] <= passed < 1000 * SOON
        times.append(trial["time_elapsed"])
        person.sees("What makes it")
        person.click("Finish" if number == 2 else "Next")


def test_the_next_person_at_a_computer_starts_anew(person):
    """From the menu, in the middle of the course, in two steps; closing the menu takes the first back."""
    person.click("Start the first lesson")
    person.sees("Which kind")
    person.answer(0, by_key=True)
    person.sees("What makes it")
    kept = person.state
    for leave in (
        lambda: press(person, "#menu", "Keep my answers"),
        lambda: person.key(Keys.ESCAPE),
        lambda: press(person, "#menu", "Remove my answers and start again"),
    ):
        if not person.all("#menu[open]"):
            person.all("#menu summary")[0].click()
        time.sleep(0.5)
        press(person, "#menu", "Start again as another person")
        assert "This removes your answers from this browser. Download them first." in person.text("#menu")
        assert person.browser.switch_to.active_element.text == "Keep my answers" and person.state == kept
        leave()
        person.until(lambda: None, lambda: "This removes" not in person.text("#menu"), "the first step")
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


def test_a_page_that_comes_back_as_it_was_left_goes_on_from_what_is_remembered(person):
    """By the back button, from the browser's memory of whole pages: another page of the course may have gone on meanwhile."""
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    left = person.state
    person.answer(0)
    person.sees("What makes it")
    meanwhile = person.state
    show_state(person, left)
    person.sees("Lesson 1")
    person.browser.execute_script(
        "localStorage.setItem(`memorable-course:${COURSE.build_id}`, arguments[0])", json.dumps(meanwhile)
    )
    show = "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: arguments[0]}))"
    person.browser.execute_script(show, False)  # as after every loading
    time.sleep(0.3)
    assert "Lesson 1" in person.text()
    person.browser.execute_script(show, True)
    person.sees("What makes it")
    assert person.trials == meanwhile["trials"]


# ---------------------------------------------------------------- older browsers


@pytest.fixture
def elsewhere(browser, out, course, tmp_path):
    """Opens a copy of the page with a change to one of its files and a script that runs before its own, in a browser that has never seen
    it."""
    scripts = []

    def visit(name, change, script=""):
        folder = shutil.copytree(out / "course_page", tmp_path / "course_page")
        (folder / name).write_text(change((folder / name).read_text()))
        scripts.append(browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script}))
        resize(browser, DESKTOP)
        browser.get((folder / "index.html").as_uri())
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        return Person(browser, course)

    yield visit
    for script in scripts:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    browser.get_log("browser")  # what an older browser objects to is no fault of the next page


def styled_of_old(style):
    """A style sheet as a browser of 2020 reads it: what it does not know is not there."""
    known = "\n".join(
        line for line in style.splitlines() if not re.search(r"^ +(aspect-ratio|inset):|\ddv[hw]|content: .+ /", line)
    )
    assert known.count("@supports not (aspect-ratio: 1)") == 1
    return known.replace("@supports not (aspect-ratio: 1)", "@supports (display: grid)")


def test_pictures_are_seen_in_a_browser_of_2020(elsewhere, course):
    """Without aspect-ratio a frame has no height of its own. Nothing can be enlarged, and nothing else is missing."""
    person = elsewhere(
        "style.css", styled_of_old, "delete HTMLDialogElement.prototype.showModal; delete Array.prototype.at"
    )
    sizes = "return [...document.querySelectorAll(arguments[0])].map((some) => [some.offsetWidth, some.offsetHeight])"
    person.sees("Learn to tell")
    assert all(width > 200 for width, _ in person.browser.execute_script(sizes, ".parts p"))
    person.click("Start the first lesson")
    person.sees("Which kind")
    for size in (DESKTOP, PHONE):
        resize(person.browser, size)
        ((width, height),) = person.browser.execute_script(sizes, "main img")
        assert [[width, height]] == person.browser.execute_script(sizes, "main .frame") and width > 200 and height > 200
    resize(person.browser, DESKTOP)
    assert person.answer(course["lessons"][0]["label"])["correct"]
    person.sees("What makes it")
    assert all(width == height > 200 for width, height in person.browser.execute_script(sizes, "main img"))
    assert len(person.shown()) == 2 and person.all(".enlarge") == []
    person.click("Next lesson")
    person.sees("Lesson 2")


@pytest.mark.parametrize(
    ("change", "script"),
    [(lambda text: f"let 1;\n{text}", ""), (str, "delete Element.prototype.replaceChildren")],
    ids=["words that it does not know", "calls that it does not know"],
)
def test_a_browser_that_is_too_old_is_told_so(elsewhere, change, script):
    person = elsewhere("course.js", change, script)
    person.sees("the browser is too old for it")
    assert person.all("main button") == [] and person.state is None
