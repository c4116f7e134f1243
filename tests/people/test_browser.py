"""The course page in a real browser, taken as a person would take it. Needs Chromium and its driver; skips with a reason without them.

Screenshots of every screen at desktop and phone width go to the folder that MEMORABLE_SCREENSHOTS names, if it is set.
"""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.helpers import axe
from tests.helpers.drawn_course import write_course

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

DESKTOP, PHONE = (1280, 800), (390, 844)
SOON = 10  # seconds until a test gives up waiting
FIELDS = ["trial_id", "trial_index", "trial_type", "phase", "time_elapsed", "rt", "stimulus", "response", "correct", "build_id"]
TESTED, LABELLED = 5, 6
KINDS = {"js": "text/javascript", "css": "text/css", "html": "text/html", "png": "image/png"}
POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action http://127.0.0.1:*; frame-ancestors http://127.0.0.1:*"
)

# ---------------------------------------------------------------- browser and page


def browser_program():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser without a window; its downloads go to `browser.downloads`."""
    program, driver = browser_program(), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in ("headless=new", "disable-dev-shm-usage", "disable-gpu", "hide-scrollbars", "lang=en", "no-first-run"):
        options.add_argument(f"--{switch}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.downloads = tmp_path_factory.mktemp("downloads")
    chrome.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(chrome.downloads)})
    chrome.set_script_timeout(30)
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def out(data_root, tools, tmp_path_factory):
    """An output folder with the page of a course of 3 lessons, 5 classes, 5 test images and 6 images to label."""
    folder = tmp_path_factory.mktemp("people_browser")
    write_course(folder, data_root)
    arguments = ["--dataset", "toy", "--data-root", data_root, "--test-images", TESTED, "--label-images", LABELLED, "--workers", 1]
    done = tools.call("teach_butterflies", *arguments, cwd=folder)
    assert done.status == 0, done.err
    return folder / "toy"


@pytest.fixture(scope="module")
def course(out):
    """What data.js holds."""
    return json.loads((out / "course_page/data.js").read_text().removeprefix("window.COURSE = ").removesuffix(";\n"))


@pytest.fixture(scope="module")
def checker():
    """axe's script."""
    try:
        return axe.source()
    except axe.Unavailable as reason:
        pytest.skip(str(reason))


def resize(browser, size, touch=False):
    """Gives the page a size in CSS pixels, and on a phone a finger."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 2 if touch else 1, "mobile": touch}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})


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


class Person:
    """Someone in front of the browser. What is pressed too early counts for nothing, so it is pressed until it does."""

    def __init__(self, browser, course):
        self.browser, self.course = browser, course

    @property
    def state(self):
        """What the page remembers, or None."""
        script = "return Object.entries(localStorage).filter(([key]) => key.startsWith('memorable-course:')).map(([, value]) => value)[0]"
        kept = self.browser.execute_script(script)
        return kept and json.loads(kept)

    @property
    def trials(self):
        return (self.state or {"trials": []})["trials"]

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector="main"):
        return self.browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def sees(self, words):
        self.until(lambda: None, lambda: words in self.text(), words)

    def until(self, act, done, what=""):
        """Acts until it is done."""
        end = time.monotonic() + SOON
        while not done():
            assert time.monotonic() < end, f"waited for '{what}', but the page shows: {self.text()}"
            try:
                act()
            except WebDriverException:
                pass  # the screen changed at that moment
            time.sleep(0.04)

    def click(self, words):
        """Clicks the button that says `words` until the screen is another."""
        before = self.text("h1")
        script = "[...document.querySelectorAll('main button')].find((some) => some.textContent.includes(arguments[0])).click()"
        self.until(lambda: self.browser.execute_script(script, words), lambda: self.text("h1") != before, words)

    def key(self, key):
        self.browser.switch_to.active_element.send_keys(key)

    def answer(self, number, by_key=False):
        """Gives the answer `number`."""
        before = len(self.trials)
        act = (lambda: self.key(str(number + 1))) if by_key else (lambda: self.all(".answers button")[number].click())
        self.until(act, lambda: len(self.trials) > before, f"answer {number}")
        return self.trials[-1]

    def shown(self):
        """The ids of the pictures on the screen, once they are there."""
        self.until(lambda: None, lambda: len(self.all("main img")) > 0, "pictures")
        return [re.search(r"images/([0-9a-f]{16})\.png$", image.get_attribute("src"))[1] for image in self.all("main img")]

    def take_lessons(self):
        for lesson in self.course["lessons"][len(self.trials) :]:
            self.sees("Which kind")
            self.answer(lesson["label"], by_key=True)
            self.sees("What makes it")
            self.click("Finish" if lesson is self.course["lessons"][-1] else "Next")

    def take_test(self, answer=0):
        self.click("Start the test")
        for number in range(TESTED):
            self.sees(f"Test picture {number + 1} of {TESTED}")
            self.answer(answer, by_key=True)
        self.sees("Test done")


def look(person, name, checker=None):
    """Looks at a screen: axe finds nothing, nothing is wider than the window, and controls are large enough for a finger."""
    sizes = person.browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth, [...document.querySelectorAll('button, summary, label')]"
        ".filter((some) => some.checkVisibility()).map((some) => [some.innerText, some.offsetWidth, some.offsetHeight])]"
    )
    assert sizes[0] <= sizes[1], f"{name}: wider than the window"
    assert [some for some in sizes[2] if some[1] < 44 or some[2] < 44] == [], name
    folder = os.environ.get("MEMORABLE_SCREENSHOTS")
    if folder:
        width = person.browser.execute_script("return window.innerWidth")
        Path(folder).mkdir(parents=True, exist_ok=True)
        person.browser.save_screenshot(f"{folder}/{width}_{name}.png")
    if checker:
        assert axe.violations(person.browser, checker) == [], name


def check_trial(trial, number, phase, image, response, build_id):
    """One trial is what the contract says, under jsPsych's names."""
    assert list(trial) == [name for name in FIELDS if phase == "lesson" or name != "correct"]
    assert re.fullmatch("[0-9a-f]{32}", trial["trial_id"])
    assert (trial["trial_index"], trial["trial_type"], trial["phase"]) == (number, phase, phase)
    assert (trial["stimulus"], trial["response"], trial["build_id"]) == (image, response, build_id)
    assert isinstance(trial["rt"], int) and 400 <= trial["rt"] < 1000 * SOON and trial["time_elapsed"] >= trial["rt"]


# ---------------------------------------------------------------- the course by double click

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
    resize(browser, DESKTOP)
    show_state(person, SCREENS["3_wrong"])
    browser.execute_script("document.querySelector('.enlarge').click()")
    person.until(lambda: None, lambda: person.all("dialog[open] img"), "large picture")
    look_at_all_widths(person, "3_wrong_enlarged", checker)


def look_at_all_widths(person, name, checker):
    for size, touch in ((DESKTOP, False), (PHONE, True)):
        resize(person.browser, size, touch)
        look(person, name, checker)
    resize(person.browser, (320, 640), touch=True)
    look(person, name)
    resize(person.browser, DESKTOP)


def show_state(person, state):
    """Loads the page as it is with a state in its memory."""
    set_state = "localStorage.setItem(`memorable-course:${COURSE.build_id}`, arguments[0])"
    person.browser.execute_script("localStorage.clear()" if state is None else set_state, json.dumps(state))
    person.browser.refresh()
    person.until(lambda: None, lambda: person.text("h1") != "", "a screen")


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
            buttons[course["classes"].index(other)] = button.replace(other, "").replace(str(course["classes"].index(other) + 1), "")
        assert len(set(buttons)) == 1
        rest = person.browser.execute_script(
            "const copy = document.documentElement.cloneNode(true); copy.querySelector('.answers').remove(); return copy.outerHTML"
        )
        assert not [kind for kind in course["classes"] if kind in rest]


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


# ---------------------------------------------------------------- the collecting server


class Collecting:
    """collect_labels.py on a port of its own, which can be stopped and started again."""

    def __init__(self, out, tools):
        self.out, self.script, self.port = out, tools.repository / "collect_labels.py", 0

    def start(self, *settings):
        command = [sys.executable, "-u", self.script, "--out", self.out, "--port", str(self.port), *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]
        self.port = urlsplit(self.address).port

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def export(self):
        """The answers that arrived, person by person."""
        file = self.out / "export.json"
        subprocess.run([sys.executable, self.script, "--out", self.out, "--export", file], check=True, capture_output=True)
        return json.loads(file.read_text())["participants"]


@pytest.fixture
def collecting(out, tools, tmp_path):
    """The server on a copy of the built page; each image is to be labelled once."""
    pytest.importorskip("flask", reason="flask is not installed")
    pytest.importorskip("waitress", reason="waitress is not installed")
    shutil.copytree(out / "course_page", tmp_path / "toy/course_page")
    shutil.copyfile(out / "course_page_key.json", tmp_path / "toy/course_page_key.json")
    server = Collecting(tmp_path / "toy", tools)
    server.start("--labels-per-image", "1")
    yield server
    server.kill()


def test_answers_reach_the_server_even_if_it_was_gone_for_a_while(browser, course, collecting):
    """Two people take the course; the server is killed while the first one labels, and comes back."""
    resize(browser, DESKTOP)
    first = Person(browser, course)
    begin_at(first, collecting.address)
    first.take_lessons()
    first.take_test()
    first.click("Start labelling")
    first.sees("0 pictures labelled")
    first.answer(2, by_key=True)
    first.sees("1 picture labelled")
    collecting.kill()
    first.answer(3, by_key=True)
    first.sees("cannot be reached")
    assert len(first.state["unsent"]) == 1
    collecting.start("--labels-per-image", "1")
    first.click("Try again")
    first.sees("2 pictures labelled")
    first.click("Stop here")
    first.sees("All 10 answers have reached the server")
    state = first.state
    browser.execute_script("localStorage.clear()")
    second = Person(browser, course)
    begin_at(second, collecting.address)
    show_state(second, {**second.state, "screen": "label-intro"})
    second.click("Start labelling")
    for _ in range(LABELLED - 3):
        second.sees("Which kind")
        second.answer(1, by_key=True)
    second.sees("Thank you")  # nothing is left: two images have their label, one is still reserved for the first person
    second.sees("No picture is free for you now")
    second.sees("have reached the server")
    with contextlib.closing(sqlite3.connect(collecting.out / "answers.sqlite")) as database, database:
        database.execute("UPDATE lease SET expires = 1")  # the first person is gone for good
    second.click("Ask for more pictures")
    second.sees("Which kind")
    second.answer(1, by_key=True)
    second.sees("Thank you")
    second.sees("have reached the server")
    exported = collecting.export()
    assert [person["participant"] for person in exported] == ["p0001", "p0002"]
    assert exported[0]["trials"] == state["trials"] and exported[1]["trials"] == second.trials
    labelled = Counter(trial["stimulus"] for person in exported for trial in person["trials"] if trial["phase"] == "label")
    assert set(labelled) == set(course["label"]) and set(labelled.values()) == {1}
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [text for text in complaints if "ERR_CONNECTION" not in text and "favicon" not in text] == []


def begin_at(person, address):
    person.browser.get(address)
    person.sees("They go to the server of this study")
    person.click("Start the first lesson")
    assert person.state["server"] is True


def test_answers_are_sent_until_each_is_stored_or_refused(browser, course, marketplace):
    """A server that fails, then takes one trial, then refuses one: every trial is sent again until it is settled, and not after that."""
    trials = [{"trial_id": f"{number:032x}", "phase": "label", "stimulus": "", "time_elapsed": number} for number in range(60)]
    batches = []

    def answer(path, sent):
        if path == "/api/hello":
            return 200, {"build_id": course["build_id"]}
        assert path == "/api/trials" and sent["participant"] == "f" * 32
        batches.append([trial["trial_id"] for trial in sent["trials"]])
        if len(batches) == 1:
            return 500, {"error": "The disk is full."}
        taken = batches[-1][:1] if len(batches) <= 3 else batches[-1]
        return 200, {"stored": [], "refused": {taken[0]: "no"}} if len(batches) == 3 else {"stored": taken, "refused": {}}

    marketplace.answer = answer
    browser.switch_to.default_content()
    browser.get(marketplace.page)
    person = Person(browser, course)
    person.sees("They go to the server")
    ids = [trial["trial_id"] for trial in trials]
    state = {"participant": "f" * 32, "server": True, "began": 1, "screen": "end", "trials": trials, "unsent": ids, "keys": True}
    show_state(person, state)
    person.sees("The last try failed: The disk is full.")
    person.sees("All 60 answers have reached the server")
    assert batches == [ids[:50], ids[:50], ids[1:51], ids[2:52], ids[52:]]
    assert person.state["unsent"] == [] and len(person.trials) == 60
    browser.execute_script("localStorage.clear()")


# ---------------------------------------------------------------- Mechanical Turk


@pytest.fixture
def marketplace(out):
    """A stand-in of Mechanical Turk: a page with the course in a frame of another origin, and the address that takes its form.

    Pictures come late by `delay` seconds. `paths` is what was asked for, `submitted` the fields of the forms that were handed in.
    Where `answer` is set, the stand-in is a collecting server too: it maps a path below /api and what was sent to status and reply.
    """
    standin = SimpleNamespace(delay=0.0, paths=[], submitted=[], answer=None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(standin, out / "course_page"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    standin.turk = f"http://127.0.0.1:{server.server_port}"
    standin.page = f"http://localhost:{server.server_port}/index.html"
    yield standin
    server.shutdown()
    server.server_close()


def handler_of(standin, folder):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            standin.paths.append(path)
            if path == "/hit":
                frame = f'<iframe src="{standin.page}?{query}" width="1000" height="700"{sandbox(query)}></iframe>'
                return self.reply(f"<!doctype html><title>HIT</title>{frame}".encode(), "text/html", "")
            if path.endswith(".png"):
                time.sleep(standin.delay)
            if path.startswith("/api/") and standin.answer:
                return self.reply_json(*standin.answer(path, None))
            file = folder / path.lstrip("/")
            if file.is_file():
                return self.reply(file.read_bytes(), KINDS[file.suffix[1:]], POLICY)
            self.send_error(404)

        def do_POST(self):
            standin.paths.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if self.path.startswith("/api/") and standin.answer:
                return self.reply_json(*standin.answer(self.path, json.loads(body)))
            standin.submitted.append(parse_qs(body, keep_blank_values=True))
            self.reply(b"<!doctype html><title>Thanks</title><p>Handed in.", "text/html", "")

        def reply_json(self, status, value):
            self.reply(json.dumps(value).encode(), "application/json", "", status)

        def reply(self, content, kind, policy, status=200):
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text") else kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            if policy:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    return Handler


def sandbox(query):
    """A frame that gives the page no memory, if that is asked for."""
    return ' sandbox="allow-scripts allow-forms"' if "forgetful" in query else ""


def open_hit(browser, marketplace, assignment, **more):
    """Opens the page as a worker does."""
    resize(browser, DESKTOP)
    fields = {"assignmentId": assignment, "hitId": "HIT1", "workerId": "W1", "turkSubmitTo": marketplace.turk, **more}
    browser.switch_to.default_content()
    browser.get(f"{marketplace.turk}/hit?{urlencode(fields)}")
    browser.switch_to.frame(0)


def test_a_worker_previews_accepts_and_submits(browser, course, marketplace):
    """The preview lets nobody start; an accepted assignment is taken to the end and handed in as an ExternalQuestion's form."""
    open_hit(browser, marketplace, "ASSIGNMENT_ID_NOT_AVAILABLE")
    worker = Person(browser, course)
    worker.sees("This is a preview")
    assert not worker.all("main button.primary")[0].is_enabled() and worker.state is None
    browser.execute_script("const start = document.querySelector('main button.primary'); start.disabled = false; start.click()")
    time.sleep(0.5)
    browser.execute_script("document.querySelector('main button.primary').click()")
    assert "This is a preview" in worker.text() and worker.state is None
    open_hit(browser, marketplace, "3ASSIGNMENT&<\"'")
    worker.sees("Learn to tell")
    worker.click("Start the first lesson")
    worker.take_lessons()
    trials, ended = worker.trials, json.dumps({**worker.state, "screen": "end"})  # the test and labelling are as elsewhere
    browser.execute_script(
        "localStorage.setItem(Object.keys(localStorage).find((key) => key.endsWith(arguments[0])), arguments[1])", "'", ended
    )
    browser.switch_to.default_content()
    browser.refresh()  # as after a crash: nothing is lost
    browser.switch_to.frame(0)
    worker.sees("3 answers will be handed in")
    worker.all("form button")[0].click()
    worker.until(lambda: None, lambda: marketplace.submitted, "the form")
    (fields,) = marketplace.submitted
    assert "/mturk/externalSubmit" in marketplace.paths and "/api/hello" not in marketplace.paths
    assert set(fields) == {"assignmentId", "build_id", "trials"}
    assert fields["assignmentId"] == ["3ASSIGNMENT&<\"'"] and fields["build_id"] == [course["build_id"]]
    assert json.loads(fields["trials"][0]) == trials and len(trials) == 3


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "https://evil.example", "https://mturk.com.evil.example", "http://www.mturk.com"]
)
def test_answers_are_handed_in_to_mechanical_turk_only(browser, course, marketplace, target):
    """The address could hold anything; a form is sent to Mechanical Turk over https, or to this computer, or not at all."""
    browser.get(f"{marketplace.page}?{urlencode({'assignmentId': 'A', 'turkSubmitTo': target})}")
    worker = Person(browser, course)
    worker.sees("Learn to tell")
    ended = {"participant": "0" * 32, "server": False, "began": 1, "screen": "end", "trials": [], "unsent": [], "keys": True}
    browser.execute_script("localStorage.setItem(`memorable-course:${COURSE.build_id}:A`, arguments[0])", json.dumps(ended))
    browser.refresh()
    worker.sees("does not say where to hand in")
    assert not worker.all("form button")[0].is_enabled()
    browser.execute_script("localStorage.clear()")


def test_a_browser_without_memory_warns_and_works(browser, course, marketplace):
    """In a frame that may keep nothing, the course runs, and says that a reload would lose it."""
    open_hit(browser, marketplace, "A", forgetful="yes")
    worker = Person(browser, course)
    worker.sees("Learn to tell")
    assert "keeps nothing" in worker.text("#notice")
    start = "document.querySelector('main button.primary').click()"
    worker.until(lambda: browser.execute_script(start), lambda: "Lesson 1" in worker.text(), "lesson 1")
    right = course["lessons"][0]["label"]
    click = "document.querySelectorAll('.answers button')[arguments[0]].click()"
    worker.until(lambda: browser.execute_script(click, right), lambda: "Right" in worker.text(), "feedback")


def test_rt_counts_from_when_the_picture_is_seen(browser, course, marketplace):
    """Pictures take 0.6 s to arrive; answers are given as soon as they are taken. Without a server's answer, the page works alone."""
    marketplace.delay = 0.6
    browser.switch_to.default_content()
    browser.get(marketplace.page)
    person = Person(browser, course)
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    person.sees("They stay in this browser")
    assert "/api/hello" in marketplace.paths
    began = time.monotonic()
    person.click("Start the first lesson")
    person.sees("Which kind")
    trial = person.answer(0, by_key=True)
    waited = 1000 * (time.monotonic() - began)
    assert 400 <= trial["rt"] < waited and trial["time_elapsed"] > trial["rt"]
    assert person.state["server"] is False
    time.sleep(1.5)
    person.click("Next")
    person.sees("Lesson 2")
    time.sleep(1.2)
    assert 1100 <= person.answer(0, by_key=True)["rt"] < 3000
