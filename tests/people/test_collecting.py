"""`python collect.py` as a process: many people at once, hostile bytes, and its end."""

import http.client
import itertools
import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest

from tests.helpers.collecting import HEADERS, REPOSITORY, build_page, rows_of, sent_trial
from utils.people import server


class Process:
    """`python collect.py` as a process of its own."""

    def __init__(self, page, *settings):
        self.page, self.settings, self.port = page, settings, 0
        self.start()

    def start(self):
        words = [sys.executable, REPOSITORY / "collect.py", "--out", self.page.out, "--port", self.port, *self.settings]
        self.running = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = list(itertools.islice(self.running.stdout, 3))
        assert len(self.said) == 3, self.said
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/\n", self.said[0])[1])
        self.token = re.search(r"/progress\?token=([0-9a-f]{32})\n", self.said[1])[1]

    def stop(self, number):
        """Ends it by a signal; returns its exit status and its output since the start."""
        self.running.send_signal(number)
        said = self.running.communicate(timeout=20)[0]
        return self.running.returncode, said

    def request(self, method, address, body=None):
        """Status and body of the answer. The address is sent as it is."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, address, None if body is None else json.dumps(body).encode(), HEADERS)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, address, **body):
        """The JSON of the answer."""
        status, content = self.request("POST", address, body)
        assert status == 200, (status, content)
        return json.loads(content)


@pytest.fixture
def process(page):
    started = Process(page)
    yield started
    started.running.kill()
    started.running.communicate()


def test_ctrl_c_and_sigterm_end_it_well(process):
    for count, number in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
        person = process.post("/api/join")["participant"]
        image = process.post("/api/next", participant=person)["image"]
        process.post("/api/trials", participant=person, trials=[sent_trial(process.page, image)])
        status, said = process.stop(number)
        assert status == 0
        assert said == f"Stopped. {process.page.out}/answers.sqlite contains {count} answers of {count} people.\n"
        process.start()


def raw(port, sent):
    """The answer to bytes that need not be HTTP."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        with suppress(OSError):  # it closes the connection if somebody sends too much
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        answered = b""
        with suppress(ConnectionError):
            while received := connection.recv(65536):
                answered += received
        return answered


HOSTILE = (
    b"GET\r\n\r\n",
    b"\x00\xff\x16\x03\x01" * 100,
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
    b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}",
    b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / X",
    b"POST /api/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b" " * server.LONGEST_BODY,
)


def test_the_process_survives_hostile_bytes(process):
    for path in ("/../answers.token", "/%2e%2e/answers.sqlite", "//etc/passwd", "/..%5canswers.token"):
        assert process.request("GET", path)[0] == 404
    for sent in HOSTILE:
        answered = raw(process.port, sent)
        assert not answered or re.match(rb"HTTP/1\.[01] (4\d\d|501)", answered), answered[:200]
        assert b"Traceback" not in answered and b"Server:" not in answered
    silent = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(100)]
    assert json.loads(process.request("GET", "/api/hello")[1]) == {"build_id": process.page.build_id}
    for connection in silent:
        connection.close()
    status, said = process.stop(signal.SIGINT)
    assert status == 0 and "Traceback" not in said and "contains 0 answers of 0 people" in said


class Taker:
    """One of many people at once: takes the course, labels, sends again what was not acknowledged, or leaves."""

    def __init__(self, process, number, results):
        self.process, self.number, self.results = process, number, results
        self.draw = random.Random(number)

    def insist(self, address, **body):
        """Sends until there is an answer, as the page does."""
        for _ in range(400):
            try:
                return self.process.post(address, **body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02 + 0.08 * self.draw.random())
        raise AssertionError("the server did not come back")

    def send(self, person, trials):
        """Sends trials, sometimes twice with other content; returns and keeps what was acknowledged."""
        said = self.insist("/api/trials", participant=person, trials=trials)
        by_id = {trial["trial_id"]: trial for trial in trials}
        self.results.acknowledged.update({name: (person, by_id[name]) for name in said["stored"]})
        if self.draw.random() >= 0.1:
            return said["stored"]
        changed = [{**some, "response": (some["response"] + 1) % 3} for some in trials if some["phase"] != "lesson"]
        again = self.insist("/api/trials", participant=person, trials=changed)
        assert not set(said["stored"]) & set(again["refused"])
        # A refused label may find room the second time: that of somebody who left, whose lease has expired meanwhile.
        new = {*again["stored"]} - {*said["stored"]}
        late = {trial["trial_id"]: (person, trial) for trial in changed if trial["trial_id"] in new}
        self.results.acknowledged.update(late)
        return [*said["stored"], *late]

    def take_the_course(self):
        page = self.process.page
        person = self.insist("/api/join")["participant"]
        images = enumerate(self.draw.sample([*page.lesson, *page.test], len(page.lesson) + len(page.test)))
        self.send(person, [sent_trial(page, image, self.draw.randrange(3), index=index) for index, image in images])
        while len(self.results.labels) < self.results.goal and time.monotonic() < self.results.deadline:
            image = self.insist("/api/next", participant=person)["image"]
            if image is None:  # nothing for now; the lease of someone who left may expire
                time.sleep(0.4)
            elif self.number < 8 and self.draw.random() < 0.3:
                return  # closes the page with an image on the screen
            else:
                self.results.labels.update(self.send(person, [sent_trial(page, image, self.draw.randrange(3))]))


def test_fifty_people_at_once_and_a_server_that_is_killed(tmp_path):
    """Every acknowledged answer is there once; every image has its K labels from K people."""
    page = build_page(tmp_path / "out", lessons=2, tests=2, labels=40)
    process = Process(page, "--labels-per-image", 5, "--lease-seconds", 1)
    results = SimpleNamespace(acknowledged={}, labels=set(), goal=40 * 5, deadline=time.monotonic() + 60)
    takers = [Taker(process, number, results) for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(taker.take_the_course) for taker in takers]
        for count in (40, 150, 270):
            deadline = time.monotonic() + 30
            while len(results.acknowledged) < count and time.monotonic() < deadline:
                time.sleep(0.002)
            process.stop(signal.SIGKILL)
            process.start()
        for future in futures:
            future.result()
    query = "SELECT trial_id, secret, stimulus, response, rt FROM trial JOIN participant ON number = participant"
    rows = rows_of(page.out / "answers.sqlite", query)
    stored = {row[0]: row[1:] for row in rows}
    assert len(stored) == len(rows) == 50 * 4 + 40 * 5 and set(stored) == set(results.acknowledged)
    for name, (person, trial) in results.acknowledged.items():
        assert stored[name] == (person, trial["stimulus"], trial["response"], trial["rt"])
    labels = [(image, person) for person, image, *_ in stored.values() if image in page.label]
    assert Counter(image for image, _ in labels) == dict.fromkeys(page.label, 5)
    assert len(set(labels)) == len(labels)
    assert rows_of(page.out / "answers.sqlite", "PRAGMA integrity_check") == [("ok",)]
    status, content = process.request("GET", f"/export.json?token={process.token}")
    exported = [trial["trial_id"] for one in json.loads(content)["participants"] for trial in one["trials"]]
    assert status == 200 and sorted(exported) == sorted(stored)
    assert process.stop(signal.SIGINT)[0] == 0


def test_the_server_starts_without_torch(page):
    """It may run on a small machine, and starts again at once."""
    code = (
        "import collect as script, sys\n"
        "try: script.launch(script.main, script.Config, script.__doc__)\n"
        "finally: print(sorted({'torch', 'torchvision', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "--export", "answers.json", "--out", str(page.out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "[]\n") and "no answers were collected there" in done.stderr
    assert sorted(path.name for path in page.out.iterdir()) == ["course_page", "course_page_key.json"]
