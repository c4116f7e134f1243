"""The course page in a real browser with something behind it: the collecting server, or Mechanical Turk.

Needs Chromium and its driver; skips with a reason without them.
"""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.helpers.drawn_course import LABELLED

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from tests.helpers.person import DESKTOP, Person, look, resize, show_state  # noqa: E402
from utils.people.store import NOT_NEEDED  # noqa: E402

KINDS = {"js": "text/javascript", "css": "text/css", "html": "text/html", "png": "image/png", "jpg": "image/jpeg"}
POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action http://127.0.0.1:*; frame-ancestors http://127.0.0.1:*"
)


class Collecting:
    """collect.py on a port of its own, which can be stopped and started again."""

    def __init__(self, out, tools):
        self.out, self.script, self.port = out, tools.repository / "collect.py", 0

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
        subprocess.run(
            [sys.executable, self.script, "--out", self.out, "--export", file], check=True, capture_output=True
        )
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
    first.sees("2 pictures labelled")  # by itself
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
    second.sees("No picture is available right now")
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
    labelled = Counter(
        trial["stimulus"] for person in exported for trial in person["trials"] if trial["phase"] == "label"
    )
    assert set(labelled) == set(course["label"]) and set(labelled.values()) == {1}
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [text for text in complaints if "ERR_CONNECTION" not in text and "favicon" not in text] == []


def begin_at(person, address):
    person.browser.get(address)
    person.sees("They go to the server of this study")
    person.click("Start the first lesson")
    assert person.state["server"] is True


def test_answers_are_sent_until_each_is_stored_or_refused(browser, course, marketplace):
    """The server fails, takes one trial, then refuses one: every trial is sent until it is settled."""
    trials = [
        {"trial_id": f"{number:032x}", "phase": "label", "stimulus": "", "time_elapsed": number} for number in range(60)
    ]
    batches = []

    def answer(path, sent):
        if path == "/api/hello":
            return 200, {"build_id": course["build_id"]}
        assert path == "/api/trials" and sent["participant"] == "f" * 32
        batches.append([trial["trial_id"] for trial in sent["trials"]])
        if len(batches) == 1:
            return 500, {"error": "The disk is full."}
        taken = batches[-1][:1] if len(batches) <= 3 else batches[-1]
        return 200, {"stored": [], "refused": {taken[0]: NOT_NEEDED}} if len(batches) == 3 else {
            "stored": taken,
            "refused": {},
        }

    marketplace.answer = answer
    browser.switch_to.default_content()
    browser.get(marketplace.page)
    person = Person(browser, course)
    person.sees("They go to the server")
    ids = [trial["trial_id"] for trial in trials]
    state = {"participant": "f" * 32, "server": True, "screen": "end", "trials": trials, "unsent": ids, "keys": True}
    show_state(person, state)
    person.sees("The last try failed: The disk is full.")
    person.sees("All 60 answers have reached the server")
    assert batches == [ids[:50], ids[:50], ids[1:51], ids[2:52], ids[52:]]
    assert person.state["unsent"] == [] and len(person.trials) == 60
    assert not person.all("#take-home")[0].is_displayed()  # what was refused is not needed: nothing is lost
    browser.execute_script("localStorage.clear()")


TROUBLES = {  # what is answered when the page asks for its server, and what the page says then
    "a proxy's page": (502, "Bad gateway", "The server cannot be reached just now."),
    "a lost connection": (None, None, "The server cannot be reached just now."),
    "the server's own words": (503, {"error": "The page was built again."}, "The page was built again."),
    "another build": (200, {"build_id": "f" * 16}, "answers to another build of this page: reload the page."),
}


@pytest.mark.parametrize("what", TROUBLES)
def test_a_server_in_trouble_is_asked_again(browser, course, marketplace, what):
    """It fails once: the page says so, tries again by itself, and then its answers do reach the server."""
    status, reply, words = TROUBLES[what]
    hellos, sent = [], []

    def answer(path, body):
        if path == "/api/hello":
            hellos.append(path)
            return (status, reply) if len(hellos) == 1 else (200, {"build_id": course["build_id"]})
        if path == "/api/join":
            return 200, {"participant": "d" * 32}
        sent.extend(body["trials"])
        return 200, {"stored": [trial["trial_id"] for trial in body["trials"]], "refused": {}}

    marketplace.answer = answer
    person = visit(browser, course, marketplace)
    person.sees(f"{words} The page tries again by itself")  # no answers are there that could be kept
    person.sees("They go to the server of this study")
    person.click("Start the first lesson")
    person.sees("Which kind")
    trial = person.answer(1, by_key=True)
    person.until(lambda: None, lambda: sent == [trial] and person.state["unsent"] == [], "the answer at the server")
    assert len(hellos) == 2


def visit(browser, course, marketplace):
    """Someone who opens the page from its server, in a browser that has never seen it."""
    browser.switch_to.default_content()
    browser.get(f"{marketplace.page.rpartition('/')[0]}/style.css")  # of the same origin, without a script
    browser.execute_script("localStorage.clear()")
    browser.get(marketplace.page)
    return Person(browser, course)


@pytest.mark.parametrize("status", [200, 403, 404, 405])
def test_a_plain_web_server_collects_nothing(browser, course, marketplace, status):
    """What it answers where a file is not: a page of its own, also with status 200; stores in a cloud say 403."""
    marketplace.answer = lambda path, body: (status, "Nothing here")
    person = visit(browser, course, marketplace)
    person.sees("They stay in this browser")
    person.click("Start the first lesson")
    person.sees("Lesson 1")
    assert person.state["server"] is False and "/api/join" not in marketplace.paths


def test_a_study_that_takes_no_more_people_says_so_for_good(browser, course, marketplace, checker):
    """The page asks a busy server again by itself, but not a full one."""
    joins = []

    def answer(path, body):
        if path == "/api/hello":
            return 200, {"build_id": course["build_id"]}
        joins.append(path)
        return (
            (503, {"error": "The server is busy."})
            if len(joins) == 1
            else (403, {"error": "This study takes no more people."})
        )

    marketplace.answer = answer
    person = visit(browser, course, marketplace)
    person.sees("They go to the server")
    person.click("Start the first lesson")
    person.sees("The server is busy. The page tries again by itself")
    person.sees("This study takes no more people.")
    look(person, "full", checker)
    time.sleep(2.5)  # the next try would be due after 2 s
    assert person.text().split("\n\n") == [
        "This study takes no more people.",
        "Thank you for coming. You can close the page.",
    ]
    assert len(joins) == 2 and marketplace.paths.count("/api/hello") == 1 and person.state is None


@pytest.mark.parametrize("unsent", [0, 1])
def test_a_server_that_does_not_know_somebody_lets_them_go(browser, course, marketplace, checker, unsent):
    """With another database, an answer or the next picture is refused. Another person can begin."""
    asked = []

    def answer(path, body):
        if path == "/api/hello":
            return 200, {"build_id": course["build_id"]}
        asked.append(path)
        return 403, {"error": "This participant is unknown; join first."}

    marketplace.answer = answer
    person = visit(browser, course, marketplace)
    person.sees("They go to the server")
    show_state(person, labelling(unsent))
    person.sees("The server does not know you any more")
    person.sees("Your 1 answer is kept in this browser. Download")
    look(person, "unknown", checker)
    time.sleep(1.5)  # the next try would be due after 1 s
    assert asked == ["/api/trials" if unsent else "/api/next"]
    time.sleep(0.5)
    person.all("main button")[-1].click()
    question = browser.switch_to.alert
    assert "would be lost" in question.text
    question.accept()
    person.sees("They go to the server")
    assert person.state is None


def labelling(unsent=0):
    """What the page remembers of someone who has labelled a picture, which reached the server or not."""
    trials = [{"trial_id": "1" * 32, "phase": "label", "stimulus": "", "time_elapsed": 1}]
    ids = [trial["trial_id"] for trial in trials][:unsent]
    return {
        "participant": f"{unsent:032x}",
        "server": True,
        "screen": "label",
        "trials": trials,
        "unsent": ids,
        "keys": True,
    }


@pytest.fixture
def marketplace(out):
    """A stand-in for Mechanical Turk: the course in a frame of another origin, and the address that takes its form.

    Pictures are late by `delay` seconds. `paths` lists the requests, `submitted` the fields of the forms.
    With `answer`, it is a collecting server too: maps a path below /api and a body to status and reply (None: hangs up).
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
            if path.endswith((".png", ".jpg")):
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
            if status is None:
                return  # hangs up
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
    """Nobody can start in the preview; an accepted assignment is handed in as the form of an ExternalQuestion."""
    open_hit(browser, marketplace, "ASSIGNMENT_ID_NOT_AVAILABLE")
    worker = Person(browser, course)
    worker.sees("This is a preview")
    assert not worker.all("main button.primary")[0].is_enabled() and worker.state is None
    browser.execute_script(
        "const start = document.querySelector('main button.primary'); start.disabled = false; start.click()"
    )
    time.sleep(0.5)
    browser.execute_script("document.querySelector('main button.primary').click()")
    assert "This is a preview" in worker.text() and worker.state is None
    open_hit(browser, marketplace, "3ASSIGNMENT&<\"'")
    worker.sees("Learn to tell")
    worker.click("Start the first lesson")
    browser.execute_script("document.getElementById('menu').open = true")
    worker.until(lambda: None, lambda: "Download answers" in worker.text("#menu"), "the menu")
    assert "another person" not in worker.text("#menu")  # an assignment is one worker's
    browser.execute_script("document.getElementById('menu').open = false")
    worker.take_lessons()
    trials, ended = (
        worker.trials,
        json.dumps({**worker.state, "screen": "end"}),
    )  # the test and labelling are as elsewhere
    browser.execute_script(
        "localStorage.setItem(Object.keys(localStorage).find((key) => key.endsWith(arguments[0])), arguments[1])",
        "'",
        ended,
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
    """A form is sent to Mechanical Turk over https, or to this computer, or not at all."""
    browser.get(f"{marketplace.page}?{urlencode({'assignmentId': 'A', 'turkSubmitTo': target})}")
    worker = Person(browser, course)
    worker.sees("Learn to tell")
    ended = {"participant": "0" * 32, "server": False, "screen": "end", "trials": [], "unsent": [], "keys": True}
    browser.execute_script(
        "localStorage.setItem(`memorable-course:${COURSE.build_id}:A`, arguments[0])", json.dumps(ended)
    )
    browser.refresh()
    worker.sees("does not say where to hand in")
    assert not worker.all("form button")[0].is_enabled()
    browser.execute_script("localStorage.clear()")


def test_a_browser_without_memory_warns_and_works(browser, course, marketplace):
    """In a frame that may keep nothing, the course runs, and says that a reload would lose it."""
    open_hit(browser, marketplace, "A", forgetful="yes")
    worker = Person(browser, course)
    worker.sees("Learn to tell")
    assert "cannot keep your answers" in worker.text("#notice")
    start = "document.querySelector('main button.primary').click()"
    worker.until(lambda: browser.execute_script(start), lambda: "Lesson 1" in worker.text(), "lesson 1")
    right = course["lessons"][0]["label"]
    click = "document.querySelectorAll('.answers button')[arguments[0]].click()"
    worker.until(lambda: browser.execute_script(click, right), lambda: "Right" in worker.text(), "feedback")


def test_rt_counts_from_when_the_picture_is_seen(browser, course, marketplace):
    """Pictures take 0.6 s to arrive; answers are given as soon as possible."""
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
