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
from utils.people.server import PAGE_POLICY  # noqa: E402


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

    A third person is turned away. Then the first one is deleted from the database.
    """
    resize(browser, DESKTOP)
    first = Person(browser, course)
    begin_at(first, collecting.address)
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
    assert not [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


def begin_at(person, address):
    person.browser.get(address)
    person.sees("answers go to the server of this study")
    person.click("Start the first lesson")
    assert person.state["server"] is True


def test_a_study_from_arrival_to_deletion(browser, marked, tmp_path, checker):
    """People of a panel agree and fail the first test. One passes the second, labels and comments; one fails again.

    Extra lessons are on what they confused, also in another browser. Everything is exported, then deleted.
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

    def take_test(right):
        """Answers `right` pictures right, and the others with a rival of their class; returns the mistakes."""
        mistakes = []
        person.click("Start the test")
        for number in range(4):
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
        person.sees("You were right in 2 of 4 test pictures. You need 75 %.")
        at_all_widths(person, "extra_intro", checker)
        person.click("Continue")
        take_extra_lessons(mistakes, [1, 2])
        person.sees("Lesson 3 of 3")
        person.until(lambda: None, lambda: not person.state["unsent"], "sending")
        trials, shown = person.trials, person.shown()
        arrive(0)
        person.sees("Lesson 3 of 3")
        assert person.trials == trials and person.shown() == shown
        take_extra_lessons(mistakes, [3])
        take_test(right=3)
        person.click("Start labeling")
        person.answer(1)
        person.sees("1 picture labeled")
        person.click("Stop here")
        person.sees("Your code for the study site: C0DE")
        person.all("textarea")[0].send_keys("Two\nlines")
        person.all("main h1")[0].click()
        person.until(lambda: None, lambda: "comment" in exported()[0], "comment")
        assert [link.get_attribute("href") for link in person.all("main a.primary")] == [ends["--completion-url"]]
        sent, code = [person.trials], person.state["deletion"]
        assert f"send this code to the people who run the study: {code}" in person.text()
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
            sent[1:] = [person.trials]
            arrive(1)
        found = exported()
        assert [one["parameters"] for one in found] == about and [one["trials"] for one in found] == sent
        assert [(one["passed"], one.get("comment")) for one in found] == [(True, "Two\nlines"), (False, None)]
        assert {one["consent"]["sha256"] for one in found} == {course["consent"]["sha256"]}
        assert [len(one["trials"]) for one in found] == [5 + 4 + 3 + 4 + 1, 5 + 4 + 3 + 4]
        done = call("collect", "--out", server.page.out, "--delete", code, cwd=server.page.out)
        assert done.status == 0 and exported() == found[1:]


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
            person.all("#menu summary")[0].click()
            person.until(lambda: None, lambda: "Start again" in person.text("#menu"), "menu")
            time.sleep(0.5)
            next(some for some in person.all("#menu button") if "Start again" in some.text).click()
            browser.switch_to.alert.accept()
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


@pytest.fixture
def study(out, course):
    """Imitates the server of a study: the same PROLIFIC_PID gets the same participant and the trials so far.

    `sent` lists path and body of the requests, `people` has participant and trials by PROLIFIC_PID.
    """
    standin = SimpleNamespace(sent=[], people={}, url="", broken=False)

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            self.reply(
                {"build_id": course["build_id"], "study": True}
            ) if self.path == "/api/hello" else super().do_GET()

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            standin.sent.append((self.path, body))
            if standin.broken:
                self.send_error(503)
            elif self.path == "/api/join":
                empty = {"participant": f"{len(standin.people):032x}", "code": "DELETE-ME", "trials": []}
                self.reply(standin.people.setdefault(body["parameters"].get("PROLIFIC_PID"), empty))
            elif self.path == "/api/trials":
                (someone,) = (some for some in standin.people.values() if some["participant"] == body["participant"])
                someone["trials"] += body["trials"]
                self.reply({"stored": [trial["trial_id"] for trial in body["trials"]], "refused": {}})
            else:
                self.reply({"url": standin.url, "code": "DELETE-ME"})

        def reply(self, content):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def end_headers(self):
            self.send_header("Content-Security-Policy", PAGE_POLICY)
            super().end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=out / "course_page"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    standin.address = f"http://127.0.0.1:{server.server_port}/index.html"
    yield standin
    server.shutdown()
    server.server_close()


def arrive(browser, course, study, **parameters):
    """Opens the page of a study in a browser without stored answers."""
    resize(browser, DESKTOP)
    browser.get(study.address)
    browser.execute_script("localStorage.clear()")
    browser.get(f"{study.address}?{urlencode(parameters)}")
    return Person(browser, course)


def test_people_of_a_panel_continue_on_another_device(browser, course, study):
    """They are who their link says. Stored answers come back with them; nobody takes over another person's."""
    ids = {"PROLIFIC_PID": "5f", "STUDY_ID": "s<1>", "SESSION_ID": "a&b=c", "empty": ""}
    person = arrive(browser, course, study, x="y" * 201, **ids, **{f"more{n}": "z" * 200 for n in range(20)})
    person.sees("what your link says about you: PROLIFIC_PID, STUDY_ID, SESSION_ID, empty, more0")
    person.click("Start the first lesson")
    expected = ids | {f"more{n}": "z" * 200 for n in range(16)}
    assert study.sent == [("/api/join", {"parameters": expected, "consent": None})]
    person.take_lessons(2)
    first = person.state
    assert first["parameters"] == expected
    browser.get(f"{study.address}?PROLIFIC_PID=60")  # in the same browser
    person.sees("Learn to tell")
    person = arrive(browser, course, study, PROLIFIC_PID="5f", SESSION_ID="later")  # on another device
    person.click("Start the first lesson")
    person.sees("Lesson 3 of 3")
    assert (person.state["participant"], person.trials) == (first["participant"], first["trials"])
    person.take_lessons()
    person.sees("right in 3 of 3 lessons")
    person.click("Start the test")
    person.answer(0)
    person.answer(0)
    seen = [trial["stimulus"] for trial in person.trials]
    person.until(lambda: None, lambda: person.state["unsent"] == [], "answers sent")
    person = arrive(browser, course, study, PROLIFIC_PID="5f")
    person.click("Start the first lesson")
    person.sees("Test picture 3 of 5")
    assert person.shown()[0] not in seen
    assert [trial["trial_index"] for trial in study.people["5f"]["trials"]] == list(range(5))
    assert not [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


def test_a_study_ends_where_its_server_says(browser, course, study, checker):
    """Nobody is sent away before the answers have arrived. A comment arrives although people leave at once."""
    study.url = f"{study.address}?cc=C0DE"
    person = arrive(browser, course, study, PROLIFIC_PID="5f")
    person.click("Start the first lesson")
    person.take_lessons(1)
    study.broken = True
    person.sees("Which kind")
    person.answer(1)
    person.sees("What tells")
    show_state(person, {**person.state, "screen": "end"}, ":5f")
    person.sees("The server cannot be reached")
    assert not person.all("main a") and "/api/finish" not in [path for path, _ in study.sent]
    study.broken = False
    person.sees("Your code for the study site: C0DE")  # by itself
    assert "All 2 answers have reached the server." in person.text()
    assert "To have your answers deleted, send this code to the people who run the study: DELETE-ME" in person.text()
    at_all_widths(person, "end_of_a_study", checker)
    assert [trial["stimulus"] for trial in study.people["5f"]["trials"]] == [
        trial["stimulus"] for trial in person.trials
    ]
    (box,), (link,) = person.all("main textarea"), person.all("main a.button")
    box.send_keys("Nice birds")
    link.click()
    person.until(lambda: None, lambda: browser.current_url == study.url, "the next page")
    person.until(lambda: None, lambda: len([path for path, _ in study.sent if path == "/api/finish"]) == 2, "comment")
    ends = [body for path, body in study.sent if path == "/api/finish"]
    own = {"participant": "0" * 32, "passed": True}
    assert ends == [own | {"comment": ""}, own | {"comment": "Nice birds"}]
    assert not [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


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
