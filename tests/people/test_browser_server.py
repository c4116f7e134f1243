"""The course page in a real browser, served by the collecting server or by Mechanical Turk.

Skips without Chromium and its driver.
"""

import contextlib
import json
import shutil
import signal
import sqlite3
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode

import pytest

from tests.helpers.collecting import Process
from tests.helpers.drawn_course import LABELLED, TESTED
from tests.helpers.runs import call

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from tests.helpers.person import DESKTOP, Person, at_all_widths, keep_state, resize, show_state  # noqa: E402


@contextlib.contextmanager
def serving(out, folder, *settings):
    """Runs collect.py on a copy of a page, for two people and one label per image."""
    shutil.copytree(out / "course_page", folder / "out/course_page")
    shutil.copyfile(out / "course_page_key.json", folder / "out/course_page_key.json")
    few = ["--labels-per-image", 1, "--max-participants", 2, "--order", "even"]  # starts faster
    server = Process(SimpleNamespace(out=folder / "out"), *few, *settings)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def collecting(out, tmp_path):
    with serving(out, tmp_path) as server:
        yield server


def test_answers_reach_the_server_once_despite_an_outage(browser, course, collecting):
    """Two people take the course. The server is killed and restarted while the first one labels.

    The second one uses the browser of the first. A third one is turned away. Then the first one is deleted.
    """
    resize(browser, DESKTOP)
    first, ids = Person(browser, course), {"PROLIFIC_PID": "5f", "STUDY_ID": "s<1>", "SESSION_ID": "a&b=c", "empty": ""}
    parameters = ids | {f"more{n}": "z" * 200 for n in range(16)}  # at most 20, of 200 characters
    browser.get(f"{collecting.address}?{urlencode({'x': 'y' * 201} | parameters | {'more16': ''})}")
    first.sees("what your link says about you: PROLIFIC_PID, STUDY_ID, SESSION_ID, empty, more0")
    begin_at(first, browser.current_url)
    first.take_lessons()
    first.click("Start the test")
    for number in range(TESTED):
        first.sees(f"Test picture {number + 1} of {TESTED}")
        first.answer(0, by_key=True)
    first.click("Start labeling")
    first.sees("0 pictures labeled")
    first.answer(2, by_key=True)
    first.sees("1 picture labeled")
    collecting.stop(signal.SIGKILL)
    first.answer(3, by_key=True)
    first.sees("cannot be reached")
    assert len(first.state["unsent"]) == 1
    collecting.start()
    first.sees("2 pictures labeled")  # by itself
    first.click("Stop here")
    first.sees("All 10 answers have reached the server")
    state = first.state
    browser.get(collecting.address)
    first.sees("answers go to the server")
    browser.execute_script("localStorage.clear()")
    second = Person(browser, course)
    begin_at(second, collecting.address)
    show_state(second, {**second.state, "screen": "label-intro"})
    second.click("Start labeling")
    for _ in range(LABELLED - 3):
        second.sees("Which kind")
        second.answer(1, by_key=True)
    second.sees("Thank you")  # two images are labelled, and one is still reserved for the first person
    second.sees("have reached the server")
    trials = second.trials
    exported = json.loads(collecting.request("GET", f"/export.json?token={collecting.token}")[1])["participants"]
    assert [person["participant"] for person in exported] == ["p0001", "p0002"]
    assert [person["trials"] for person in exported] == [state["trials"], trials]
    assert [person.get("parameters") for person in exported] == [parameters, None]
    labelled = [trial["stimulus"] for trial in state["trials"] + trials if trial["phase"] == "label"]
    assert len(labelled) == len(set(labelled)) == LABELLED - 1
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    second.sees("answers go to the server")
    second.click("Start the first lesson")
    second.sees("This study takes no more people.")
    with sqlite3.connect(collecting.page.out / "answers.sqlite") as database:
        database.execute("DELETE FROM participant WHERE number = 1")
    show_state(first, {**state, "screen": "label"})
    first.sees("The server does not know you anymore")
    assert violated(browser) == []


def violated(browser):
    """Messages on what the server's policy forbids."""
    return [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


def begin_at(person, address):
    person.browser.get(address)
    person.sees("answers go to the server of this study")
    person.click("Start the first lesson")
    assert person.state["server"] is True


def test_a_study_from_arrival_to_deletion(browser, marked, tmp_path, checker):
    """People of a panel agree and fail the first test. One passes the second, labels and comments; one fails again.

    Extra lessons are on what they confused. People continue in another browser, after lessons and within a test, and
    leave only when the server has their answers. Everything is exported, then deleted, while the server runs.
    """
    out, course, key = marked
    ends = {"--completion-url": "https://panel.example/done?cc=C0DE", "--screen-out-url": "https://panel.example/out"}
    about = [{"PROLIFIC_PID": name, "STUDY_ID": "s1", "SESSION_ID": "t1"} for name in ("5f3a9", "60b")]
    rivals = {one["label"]: one["answer"] for one in course["extra"]} | {
        one["answer"]: one["label"] for one in course["extra"]
    }
    resize(browser, DESKTOP)
    person = Person(browser, course)

    def arrive(number):
        browser.get(f"{server.address}?{urlencode(about[number])}")
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        person.click("I agree")
        begin_at(person, f"{server.address}?{urlencode(about[number])}")

    def sent():
        person.until(lambda: None, lambda: not person.state["unsent"], "sending")
        return person.trials

    def take_test(right, who=None):
        """Answers `right` pictures right, and the others with a rival of their class; returns the mistakes."""
        mistakes = []
        person.click("Start the test")
        for number in range(4):
            if number == 2 and who is not None and sent():
                arrive(who)
            person.sees(f"Test picture {number + 1} of 4")
            label = key["images"][person.shown()[0]]["label"]
            mistakes += [{label, rivals[label]}] if number >= right else []
            person.answer(label if number < right else rivals[label])
        return mistakes

    def take_extra_lessons(mistakes, numbers):
        for number in numbers:
            person.sees(f"Lesson {number} of 3")
            (image,) = person.shown()
            (lesson,) = (one for one in course["extra"] if one["image"] == image)
            seen = {trial["stimulus"] for trial in person.trials}
            left = [{one["label"], one["answer"]} for one in course["extra"] if one["image"] not in seen]
            assert {lesson["label"], lesson["answer"]} in mistakes or not [pair for pair in left if pair in mistakes]
            person.answer(lesson["label"])
            person.click("Finish" if number == 3 else "Next")

    def exported():
        return json.loads(server.request("GET", f"/export.json?token={server.token}")[1])["participants"]

    with serving(out, tmp_path, *sum(ends.items(), ())) as server:
        arrive(0)
        person.take_lessons()
        mistakes = take_test(right=2)  # 75 % are needed
        person.sees("You named 2 of 4 test pictures right. You need 75 %.")
        at_all_widths(person, "extra_intro", checker)
        person.click("Continue")
        take_extra_lessons(mistakes, [1, 2])
        person.sees("Lesson 3 of 3")
        trials, shown = sent(), person.shown()
        arrive(0)
        person.sees("Lesson 3 of 3")
        assert person.trials == trials and person.shown() == shown
        take_extra_lessons(mistakes, [3])
        take_test(right=3, who=0)
        person.click("Start labeling")
        person.sees("0 pictures labeled")
        server.stop(signal.SIGKILL)
        person.answer(1)
        person.sees("cannot be reached")
        person.until(person.all("main button")[1].click, lambda: person.state["screen"] == "end", "Stop here")
        person.sees("cannot be reached")
        assert not person.all("main a")  # nobody leaves before the answers have arrived
        server.start()
        person.click("Try again")
        person.sees("Your code for the study site: C0DE")
        answers, code = [person.trials], person.state["deletion"]
        assert f"send this code to the people who run the study: {code}" in person.text()
        at_all_widths(person, "end_of_a_study", checker)
        (box,), (link,) = person.all("main textarea"), person.all("main a.primary")
        box.send_keys("Two\nlines")
        link.click()
        person.until(lambda: None, lambda: exported()[0].get("comment"), "comment")
        assert browser.current_url == ends["--completion-url"] and violated(browser) == []
        arrive(1)
        person.take_lessons()
        mistakes = take_test(right=0)
        person.click("Continue")
        take_extra_lessons(mistakes, [1, 2, 3])
        take_test(right=2)
        for _ in range(2):  # also on another device
            person.sees("too few right answers in the test")
            at_all_widths(person, "screened_out", checker)
            assert [link.get_attribute("href") for link in person.all("main a.primary")] == [ends["--screen-out-url"]]
            assert "abel pictures" not in person.text() and "labeled" not in person.text()
            answers[1:] = [person.trials]
            arrive(1)
        found = exported()
        assert [one["parameters"] for one in found] == about and [one["trials"] for one in found] == answers
        assert [(one["passed"], one.get("comment")) for one in found] == [(True, "Two\nlines"), (False, None)]
        assert {one["consent"]["sha256"] for one in found} == {course["consent"]["sha256"]}
        assert [len(one["trials"]) for one in found] == [5 + 4 + 3 + 4 + 1, 5 + 4 + 3 + 4]
        for status, says in ((0, f"Deleted p0001: {len(answers[0])} answers"), (2, "nobody in")):
            done = call("collect", "--out", server.page.out, "--delete", code, cwd=server.page.out)
            assert done.status == status and says in done.out + done.err and (done.out + done.err).count("\n") == 1
        assert exported() == found[1:]
        assert not [path for path in server.page.out.glob("answers.sqlite*") if b"5f3a9" in path.read_bytes()]


def test_each_person_sees_one_of_two_pages(browser, course, out, tools, tmp_path):
    """With and without borders. Who comes back sees the same page; the next person on the computer the other one."""
    few = ["--test-images", TESTED, "--label-images", LABELLED, "--data-root", out.parent / "data", "--workers", 1]
    plain = ["--course-folder", "toy", "--out", "plain", "--no-explanations", "--pretrained", "none"]
    assert tools.call("teach", "--dataset", "toy", *few, *plain, cwd=out.parent).status == 0
    resize(browser, DESKTOP)
    pages, person = [], Person(browser, course)
    with serving(out, tmp_path, "--pages", tmp_path / "out", out.parent / "plain") as server:
        for _ in range(2):
            begin_at(person, server.address)
            person.answer(0)
            person.sees("Next lesson")
            pages.append(browser.current_url)
            assert ("What tells" in person.text()) is (course["build_id"] in pages[-1])
            person.until(lambda: None, lambda: not person.state["unsent"], "sending")
            browser.get(server.address)
            person.sees("Next lesson")
            assert browser.current_url == pages[-1]
            person.start_again()
            person.sees("answers go to the server of this study")
        assert pages[0] != pages[1]
        exported = json.loads(server.request("GET", f"/export.json?token={server.token}")[1])["participants"]
    assert {one["condition"] for one in exported} == {str(tmp_path / "out"), str(out.parent / "plain")}
    assert [len(one["trials"]) for one in exported[:2]] == [1, 1]


@pytest.fixture
def marketplace(out):
    """Imitates Mechanical Turk: shows the course in a frame of another origin and accepts its form.

    Pictures are delayed by `delay` seconds. `paths` lists the requests, `submitted` the fields of the forms.
    """
    standin = SimpleNamespace(delay=0.0, paths=[], submitted=[])

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            standin.paths.append(path)
            if path == "/hit":
                return self.reply(f'<iframe src="{standin.page}?{query}" width="1000" height="700"></iframe>')
            time.sleep(standin.delay * path.startswith("/images/"))
            super().do_GET()

        def do_POST(self):
            standin.paths.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            standin.submitted.append(parse_qs(body, keep_blank_values=True))
            self.reply("<p>Handed in.")

        def reply(self, text):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            SimpleHTTPRequestHandler.end_headers(self)
            self.wfile.write(f"<!doctype html><title>Turk</title>{text}".encode())

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=out / "course_page"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    standin.turk = f"http://127.0.0.1:{server.server_port}"
    standin.page = f"http://localhost:{server.server_port}/index.html"
    yield standin
    server.shutdown()
    server.server_close()


def open_hit(browser, marketplace, assignment):
    """Opens the page as a worker does."""
    resize(browser, DESKTOP)
    fields = {"assignmentId": assignment, "hitId": "HIT1", "workerId": "W1", "turkSubmitTo": marketplace.turk}
    browser.switch_to.default_content()
    browser.get(f"{marketplace.turk}/hit?{urlencode(fields)}")
    browser.switch_to.frame(0)


def test_a_worker_previews_accepts_and_submits(browser, course, marketplace):
    """The preview cannot be started. An accepted assignment is submitted as the form of an ExternalQuestion."""
    open_hit(browser, marketplace, "ASSIGNMENT_ID_NOT_AVAILABLE")
    worker = Person(browser, course)
    worker.sees("This is a preview")
    assert not worker.all("main button.primary")[0].is_enabled() and worker.state is None
    open_hit(browser, marketplace, "3ASSIGNMENT&<\"'")
    worker.sees("Learn to tell")
    worker.click("Start the first lesson")
    worker.take_lessons()
    trials, ended = worker.trials, {**worker.state, "screen": "end"}  # skips test and labelling
    keep_state(browser, ended, ":3ASSIGNMENT&<\"'")
    open_hit(browser, marketplace, "3ASSIGNMENT&<\"'")  # as after a crash: nothing is lost
    worker.sees("3 answers will be handed in")
    worker.all("textarea")[0].send_keys('"Nice",\nmoths')
    worker.all("form button")[0].click()
    worker.until(lambda: None, lambda: marketplace.submitted, "the form")
    (fields,) = marketplace.submitted
    assert "/mturk/externalSubmit" in marketplace.paths and "/api/hello" not in marketplace.paths
    assert set(fields) == {"assignmentId", "build_id", "trials", "comment"}
    assert fields["comment"] == ['"Nice",\r\nmoths']
    assert fields["assignmentId"] == ["3ASSIGNMENT&<\"'"] and fields["build_id"] == [course["build_id"]]
    assert json.loads(fields["trials"][0]) == trials and len(trials) == 3


@pytest.mark.parametrize("target", ["javascript:alert(1)", "https://mturk.com.evil.example"])
def test_answers_are_submitted_to_mechanical_turk_only(browser, course, marketplace, target):
    """The form is sent only to Mechanical Turk over https, or to this computer."""
    browser.get(f"{marketplace.page}?{urlencode({'assignmentId': 'A', 'turkSubmitTo': target})}")
    worker = Person(browser, course)
    worker.sees("Learn to tell")
    ended = {"participant": "0" * 32, "server": False, "screen": "end", "trials": [], "unsent": [], "keys": True}
    show_state(worker, ended, ":A")
    worker.sees("does not say where to hand in")
    assert not worker.all("form button")[0].is_enabled()
    browser.execute_script("localStorage.clear()")


def test_rt_counts_from_when_the_picture_is_seen(browser, course, marketplace):
    """Pictures take 0.6 s to arrive. A plain web server collects nothing."""
    marketplace.delay = 0.6
    browser.switch_to.default_content()
    browser.get(marketplace.page)
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    person = Person(browser, course)
    person.sees("answers stay in this browser")
    began = time.monotonic()
    person.click("Start the first lesson")
    person.sees("Which kind")
    trial = person.answer(0, by_key=True)
    assert 400 <= trial["rt"] < 1000 * (time.monotonic() - began) - 400
    assert trial["time_elapsed"] > trial["rt"] and person.state["server"] is False
