"""The course page, opened from a disk in a real browser. Skips without Chromium and its driver."""

import hashlib
import json
import re
import shutil
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.helpers import many_classes
from tests.helpers.drawn_course import LABELLED, TESTED, page_data, write_course, write_faithfulness
from tests.helpers.many_classes import TWELVE, build_many

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.helpers.person import DESKTOP, PHONE, Person, at_all_widths, resize, show_state  # noqa: E402
from utils.people.page_texts import ENGLISH  # noqa: E402
from utils.people.store import FIELDS  # noqa: E402

NO_EXPLANATION = "Compare "


def errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def open_page(browser, out, course, begins="Learn to tell"):
    """Opens the page from the disk in a browser without stored answers."""
    resize(browser, DESKTOP)
    browser.get((out / "course_page/index.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    someone = Person(browser, course)
    someone.sees(begins)
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
    assert isinstance(trial["rt"], int) and 400 <= trial["rt"] <= trial["time_elapsed"]


def check_question(person, names):
    """A question does not reveal its answer: buttons differ only in their names, and names appear nowhere else."""
    (image,) = person.all("main img")
    assert image.get_attribute("alt") == "The picture to name"
    buttons = [button.get_attribute("outerHTML") for button in person.all(".answers button")]
    alike = {html.replace(names[at], "").replace(str(at + 1), "") for at, html in enumerate(buttons)}
    assert len(buttons) == len(names) and len(alike) == 1
    copy = "const copy = document.documentElement.cloneNode(true); copy.querySelector('.answers').remove();"
    rest = person.browser.execute_script(copy + "return copy.outerHTML")
    assert not [name for name in names if name in rest]


def test_a_person_takes_the_course(person, course, checker):
    """With the mouse. Every answer shows its pair of pictures; reloads and double clicks change nothing."""
    browser, classes = person.browser, course["classes"]
    at_all_widths(person, "1_intro", checker)
    assert person.all("main img") == []  # no picture next to a name before the first lesson
    assert all(name in person.text() for name in classes)
    person.click("Start the first lesson")
    for number, lesson in enumerate(course["lessons"]):
        response = lesson["label"] if number == 0 else (lesson["label"] + number + 1) % len(classes)
        person.sees(f"Lesson {number + 1} of 3")
        assert person.shown() == [lesson["image"]]
        if number == 0:
            at_all_widths(person, "2_lesson", checker)
            check_question(person, classes)
        if number == 1:
            browser.refresh()
            person.sees("Lesson 2 of 3")
        trial = person.answer(response)
        check_trial(trial, number, "lesson", lesson["image"], response, course["build_id"])
        assert trial["correct"] is (number == 0)
        counter = lesson["answer"] if number == 0 else response
        person.sees("What tells")
        at_all_widths(person, f"3_{'right' if trial['correct'] else 'wrong'}", checker)
        pair = lesson["pairs"][str(counter)]
        assert person.shown() == [pair["image"], pair["partner"]]
        own, other = classes[lesson["label"]], classes[counter]
        assert f"What tells {own} and {other} apart" in person.text()
        assert (f"Right: {own}." in person.text()) is trial["correct"]
        assert (f"You answered: {classes[response]}." in person.text()) is not trial["correct"]
        person.click("Finish the lessons" if number == 2 else "Next lesson")
    assert "right in 1 of 3 lessons." in person.text()
    at_all_widths(person, "4_test_intro", checker)
    take_the_test(person, course, checker)
    label_and_stop(person, course, checker)
    check_download(person, course)


def test_pictures_below_the_threshold_are_plain(browser, data_root, tools, tmp_path, checker):
    """A plain picture next to a border has a sentence under it. If both are plain, there is none."""
    write_course(tmp_path, data_root)
    write_faithfulness(tmp_path, [1, 0, 0, 1, 0, 0])
    few = ["--outlined-share", 0.3, "--test-images", TESTED, "--workers", 1]
    done = tools.call("teach", "--dataset", "toy", "--data-root", data_root, *few, cwd=tmp_path)
    assert "Outlined: explanations of faithfulness 1.00 or more (30 % of toy/toy_gt_CE.txt)." in done.out
    person = open_page(browser, tmp_path / "toy", page_data(tmp_path / "toy"))
    person.click("Start the first lesson")
    for lesson, plain in zip(person.course["lessons"], ([1], [0], [0, 1]), strict=True):
        person.sees("Which kind")
        person.answer(lesson["answer"])
        person.sees("For comparison")
        at_all_widths(person, f"plain_{plain}", checker)
        assert (person.shown()[0] == lesson["image"]) is (0 in plain)
        pictures = (some.get_attribute("alt") for some in person.all("main img"))
        figures = [(some.text, alt) for some, alt in zip(person.all("figure"), pictures, strict=True)]
        assert [at for at, (_, words) in enumerate(figures) if words.endswith(", the whole picture")] == plain
        hints = [at for at, (words, _) in enumerate(figures) if "Look for what the other picture has." in words]
        assert hints == (plain if len(plain) == 1 else []) and (NO_EXPLANATION in person.text()) is (len(plain) == 2)
        person.click("lesson")
    assert errors(browser) == []


def take_the_test(person, course, checker):
    """No feedback, no repetition. The second click of a double click does not answer the next picture."""
    person.click("Start the test")
    seen = []
    for number in range(TESTED):
        person.sees(f"Test picture {number + 1} of {TESTED}")
        seen += person.shown()
        if number == 1:
            at_all_widths(person, "5_test", checker)
            check_question(person, course["classes"])
        if number == 2:
            time.sleep(0.5)
            ActionChains(person.browser).double_click(person.all(".answers button")[number]).perform()
            person.sees("Test picture 4")
        else:
            person.answer(number)
        check_trial(person.trials[-1], 3 + number, "test", seen[-1], number, course["build_id"])
        assert "Right" not in person.text() and "quite" not in person.text()
    assert sorted(seen) == course["test"]
    person.sees("Test done")


def label_and_stop(person, course, checker):
    at_all_widths(person, "6_label_intro", checker)
    person.click("Start labeling")
    person.sees("0 pictures labeled so far")
    at_all_widths(person, "7_label", checker)
    check_question(person, course["classes"])
    (image,) = person.shown()
    check_trial(person.answer(4), 8, "label", image, 4, course["build_id"])
    person.sees("1 picture labeled")
    person.click("Stop here")
    at_all_widths(person, "8_end", checker)


def check_download(person, course):
    """The file contains exactly the answers. Labelling can continue."""
    script = "document.querySelector('main button.primary').click()"
    files = person.browser.downloads
    person.until(lambda: person.browser.execute_script(script), lambda: list(files.glob("*.json")), "download")
    (file, *_) = files.glob("*.json")
    content = json.loads(file.read_text())
    assert (content["build_id"], content["dataset"]) == (course["build_id"], "toy")
    assert content["trials"] == person.trials and len({trial["trial_id"] for trial in person.trials}) == 9
    times = [trial["time_elapsed"] for trial in content["trials"]]
    assert times == sorted(times)
    person.click("Continue labeling")
    for _ in range(LABELLED - 1):
        person.sees("Which kind")
        person.answer(1, by_key=True)
    person.sees("Thank you")
    assert sorted(trial["stimulus"] for trial in person.trials if trial["phase"] == "label") == course["label"]


def test_keyboard_only(person, course):
    """Tab, Enter and number keys are enough; the focus is visible. Then another person starts again."""
    browser = person.browser
    tab_to(person, "Start the first lesson")
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 1" in person.text(), "lesson 1")
    assert browser.switch_to.active_element.tag_name == "h1"  # screen readers start at the new heading
    tab_to(person, course["classes"][1])
    person.until(lambda: person.key(Keys.ENTER), lambda: len(person.trials) == 1, "first answer")
    person.sees("What tells")
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 2" in person.text(), "lesson 2")
    person.answer(3, by_key=True)
    person.sees("What tells")
    first = person.state["participant"]
    assert "2 answers would be lost. Download your answers first." in person.start_again()
    person.sees("Learn to tell")
    person.click("Start the first lesson")
    assert person.trials == [] and person.state["participant"] != first


def tab_to(person, words):
    """Presses Tab until the button with `words` has the focus. Every control on the way must show the focus."""
    script = (
        "const some = document.activeElement; const style = getComputedStyle(some);"
        "return [some.matches('button') && some.textContent.includes(arguments[0]), some === document.body,"
        " style.outlineStyle, parseFloat(style.outlineWidth)]"
    )
    for _ in range(20):
        person.key(Keys.TAB)
        there, nowhere, line, width = person.browser.execute_script(script, words)
        assert nowhere or (line == "solid" and width >= 2)
        if there:
            return
    raise AssertionError(f"Tab does not lead to '{words}'")


@pytest.mark.parametrize("missing", ["course.js", "data.js", "images"])
def test_missing_files_are_named(browser, out, course, tmp_path, missing):
    """index.html was opened inside a ZIP file or copied without the rest of the folder."""
    folder = shutil.copytree(out / "course_page", tmp_path / "course_page")
    (folder / missing).rename(tmp_path / "elsewhere")
    browser.get((folder / "index.html").as_uri())
    someone = Person(browser, course)
    if missing == "images":
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        someone.sees("Learn to tell")
        someone.click("Start the first lesson")
    someone.sees("unzip the whole folder first")
    browser.get("about:blank")
    browser.get_log("browser")


def search(person, typed):
    """Types into the empty search box; returns the listed names."""
    person.all(".searched input")[0].send_keys(Keys.ESCAPE, typed)
    script = "return [...document.querySelectorAll('.answers button')].map((some) => some.textContent)"
    return person.browser.execute_script(script)


SEARCHES = {  # typed, listed
    "adm": ["Admiral", "Red Admiral"],
    "admiral red": ["Red Admiral"],
    "Blau": ["Bläuling"],
    "草": ["草"],
    "oharas": ["O'Hara's Owl"],
    "xyz": [],
}


def test_a_course_of_many_classes(browser, tmp_path, checker):
    """200 classes: searching the list, pairs with and without an explanation, keyboard, mouse and touch.

    Enter needs a single match; a full name wins, although others contain it.
    """
    birds = [f"Bird {number:03d}" for number in range(188)]
    person = open_page(browser, *build_many(tmp_path, "birds", [*TWELVE, *birds]))
    names, lessons = person.course["classes"], person.course["lessons"]
    at_all_widths(person, "many_intro", checker)
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    assert browser.switch_to.active_element.tag_name == "input"
    at_all_widths(person, "many_question", checker)
    listed = search(person, "")
    assert sorted(listed) == sorted(names) and [name for name in listed if name in birds] == birds
    time.sleep(0.5)
    assert {typed: search(person, typed) for typed in SEARCHES} == SEARCHES
    assert person.text("#status") == person.text("#hint")
    for typed in ("xyz", "fuchs"):
        search(person, typed)
        person.key(Keys.ENTER)
    assert person.trials == [] and person.text("#hint") == "2 kinds match. Choose one or type more letters."
    person.until(lambda: (search(person, names[0]), person.key(Keys.ENTER)), lambda: person.trials, names[0])
    person.sees("Right: ")  # lesson 1 is explained against class 1 only
    assert person.shown() == list(lessons[0]["pairs"]["1"].values()) and NO_EXPLANATION not in person.text()
    person.click("Next lesson")
    person.sees("Lesson 2")
    wrong = next(number for number in range(4, 200) if str(number) in lessons[1]["partners"])
    place = search(person, names[wrong]).index(names[wrong])
    person.answer(place)
    person.sees("Not quite. The right answer is: ")
    assert person.shown() == [lessons[1]["image"], lessons[1]["partners"][str(wrong)]]
    assert NO_EXPLANATION in person.text() and "What tells" not in person.text()
    at_all_widths(person, "many_plain", checker)
    resize(browser, PHONE, touch=True)
    person.click("Next lesson")
    person.sees("Lesson 3")
    assert browser.switch_to.active_element.tag_name == "h1"  # else a phone's keyboard covers the picture
    person.until(lambda: (search(person, "ADMIRAL"), person.key(Keys.ENTER)), lambda: len(person.trials) == 3, "Enter")
    assert names[person.trials[2]["response"]] == "Admiral"
    assert errors(browser) == []


def test_from_a_consent_form_to_the_address_at_the_end(browser, tmp_path, checker):
    """Classes have long names. The form is text, whatever it contains; Enter does not agree; nobody agrees twice.

    The last screen has a comment, and a button to the completion address with its code or to the screen-out address.
    """
    form, ends = tmp_path / "form.md", ("https://panel.example/done?cc=C0DE&x=1", "https://panel.example/")
    form.write_text("# Aims\nYou name <img src=x onerror=alert(1)> birds:\n- as many as you like\n- for fun\n")
    names = ("x" * 80, "فراشة الملك (أنثى)", "Lumbricus_terrestris" * 4, *TWELVE[:2])
    settings = ["--consent", form, "--completion-url", ends[0], "--screen-out-url", ends[1]]
    person = open_page(browser, *build_many(tmp_path, "birds", names, 2, settings=settings), "Before you start")
    at_all_widths(person, "consent", checker)
    shown = ["Aims", "You name <img src=x onerror=alert(1)> birds:", "as many as you like", "for fun"]
    assert [some.text for some in person.all("main h2, main p, main li")[:4]] == shown
    time.sleep(0.5)
    person.key(Keys.ENTER)
    assert "Before you start" in person.text() and person.state is None
    person.click("I agree")
    browser.refresh()
    person.sees("Learn to tell")
    assert "nothing about you" not in person.text()  # the form says what is recorded
    at_all_widths(person, "long_intro", checker)
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    at_all_widths(person, "long_question", checker)
    person.answer(1)
    person.sees("The right answer is")
    at_all_widths(person, "long_feedback", checker)
    assert person.state["consent"]["sha256"] == hashlib.sha256(form.read_bytes()).hexdigest()
    assert abs(datetime.fromisoformat(person.state["consent"]["time"]).timestamp() - time.time()) < 60
    show_state(person, {**person.state, "screen": "end"})
    person.sees("Your code for the study site: C0DE")
    at_all_widths(person, "end_with_link", checker)
    (link,), (box,) = person.all("main a.button"), person.all("main textarea")
    assert (link.text, link.get_attribute("href")) == ("Return to the study site", ends[0])
    box.send_keys("Two\nlines, 1 <b>bird</b>", Keys.TAB)
    browser.refresh()
    person.sees("Thank you")
    assert person.all("main textarea")[0].get_property("value") == "Two\nlines, 1 <b>bird</b>"
    file = downloaded(person)
    assert file["comment"] == "Two\nlines, 1 <b>bird</b>" and file["trials"] == person.trials != []
    assert file["consent"] == person.state["consent"]
    show_state(person, {**person.state, "passed": False})
    assert person.all("main a.button")[0].get_attribute("href") == ends[1] and "Your code" not in person.text()
    assert errors(browser) == []


def downloaded(person):
    """Contents of the file with the answers so far."""
    before = set(person.browser.downloads.glob("*.json"))
    person.until(person.all("#menu summary")[0].click, lambda: person.all("#menu-panel button"), "menu")
    person.all("#menu-panel button")[0].click()
    person.until(lambda: None, lambda: set(person.browser.downloads.glob("*.json")) - before, "download")
    (file,) = set(person.browser.downloads.glob("*.json")) - before
    return json.loads(file.read_text())


def untranslated(person):
    """What people see or hear except class names, without the [sentences] of a marked language."""
    person.until(lambda: None, lambda: person.all("main h1"), "a screen")
    script = """const all = [...document.querySelectorAll("[aria-label], img, input")];
        const said = all.map((some) => [some.ariaLabel, some.alt, some.placeholder].join(" "));
        const body = document.body.cloneNode(true); body.querySelectorAll("kbd").forEach((some) => some.remove());
        const seen = [...body.querySelectorAll("#steps, main, summary, #menu-panel, #status")];
        return [document.title, ...seen.map((some) => some.textContent), ...said].join(" ")"""
    text = person.browser.execute_script(script)
    while (shorter := re.sub(r"\[[^\[\]]*\]", "", text)) != text:
        text = shorter
    for name in person.course["classes"]:
        text = text.replace(name, "")
    return re.sub(r"[\s✓]+", " ", text).strip()


def test_every_sentence_can_be_translated(browser, tmp_path, monkeypatch):
    """All sentences are in [brackets]; nothing else is on any screen but the names of the classes."""
    sentences = json.loads(Path(ENGLISH).read_text())
    marked = {k: [f"[{s}]" for s in some] if isinstance(some, list) else f"[{some}]" for k, some in sentences.items()}
    file = tmp_path / "marked.json"
    file.write_text(json.dumps(marked | {"lang": "de", "things": ["[Vogel]", "[Vögel]"]}))
    (tmp_path / "form.md").write_text("[Formular]")
    settings = ["--language", file, "--consent", tmp_path / "form.md", "--completion-url", "https://x.example/?cc=C0DE"]
    monkeypatch.setattr(many_classes, "SPLITS", {"tr": 4, "te": 2, "rest_tr": 1})
    settings += ["--pass-mark", 0.5]
    person = open_page(browser, *build_many(tmp_path, "birds", TWELVE[:5], 2, settings=settings), "[Formular]")
    assert browser.execute_script("return document.documentElement.lang") == "de"
    seen = [untranslated(person)]
    person.click("I agree")
    person.sees("kinds of [Vögel] apart")
    seen.append(untranslated(person))
    begin, test = ["Start the first lesson", 0, "Next lesson", 2, "Finish"], ["Start the test", 4, 4, 4, 4]
    for step in [*begin, *test, "Continue", 1, "Finish", *test]:  # one answer of four is right, at most
        person.answer(step) if isinstance(step, int) else person.click(step)
        seen.append(untranslated(person))
    person.sees("too few right answers")
    show_state(person, {**person.state, "trials": [], "passed": True, "screen": "label-intro"})
    for step in ["Start labeling", 3]:
        person.answer(step) if isinstance(step, int) else person.click(step)
        seen.append(untranslated(person))
    person.click("Stop here")
    assert "C0DE" in person.text()
    person.until(person.all("#menu summary")[0].click, lambda: person.text("#menu-panel"), "menu")
    assert {*seen, untranslated(person)} == {""}
    assert errors(browser) == []
