"""`python collect.py` as a process: many people at once, and its end."""

import http.client
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.helpers.collecting import HEADERS, REPOSITORY, build_page, rows_of, sent_trial


class Process:
    def __init__(self, page, *settings):
        self.page, self.settings, self.port = page, settings, 0
        self.start()

    def start(self):
        words = [sys.executable, REPOSITORY / "collect.py", "--out", self.page.out, "--port", self.port, *self.settings]
        self.running = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = list(itertools.islice(self.running.stdout, 3))
        assert len(said) == 3, said
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/\n", said[0])[1])
        self.token = re.search(r"/progress\?token=([0-9a-f]{32})\n", said[1])[1]

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


class Taker:
    """One of many people at once: takes the course, labels, and sends again what was not acknowledged."""

    def __init__(self, process, number, acknowledged):
        self.process, self.acknowledged, self.draw = process, acknowledged, random.Random(number)

    def insist(self, address, **body):
        """Sends until there is an answer, as the page does."""
        for _ in range(400):
            try:
                return self.process.post(address, **body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02 + 0.08 * self.draw.random())
        raise AssertionError("the server did not come back")

    def send(self, person, trials):
        """Sends trials, sometimes twice."""
        for _ in range(1 + (self.draw.random() < 0.1)):
            said = self.insist("/api/trials", participant=person, trials=trials)
            by_id = {trial["trial_id"]: trial for trial in trials}
            self.acknowledged.update({name: (person, by_id[name]) for name in said["stored"]})

    def take_the_course(self):
        page = self.process.page
        person = self.insist("/api/join")["participant"]
        images = enumerate([*page.lesson, *page.test])
        self.send(person, [sent_trial(page, image, self.draw.randrange(3), index=index) for index, image in images])
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < 50 * 4 + 40 * 5 and time.monotonic() < deadline:
            image = self.insist("/api/next", participant=person)["image"]
            if image is None:  # a lease may expire
                time.sleep(0.4)
            else:
                self.send(person, [sent_trial(page, image, self.draw.randrange(3))])


def test_fifty_people_at_once_and_a_server_that_is_killed(tmp_path):
    """Every acknowledged answer is there once; every image has its K labels from K people."""
    page = build_page(tmp_path / "out", lessons=2, tests=2, labels=40)
    process, acknowledged = Process(page, "--labels-per-image", 5, "--lease-seconds", 1), {}
    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(Taker(process, number, acknowledged).take_the_course) for number in range(50)]
        for count in (40, 150, 270):
            deadline = time.monotonic() + 30
            while len(acknowledged) < count and time.monotonic() < deadline:
                time.sleep(0.002)
            process.stop(signal.SIGKILL)
            process.start()
        for future in futures:
            future.result()
    query = "SELECT trial_id, secret, stimulus, response, rt FROM trial JOIN participant ON number = participant"
    stored = {row[0]: row[1:] for row in rows_of(page.out / "answers.sqlite", query)}
    assert len(stored) == 50 * 4 + 40 * 5 and set(stored) == set(acknowledged)
    for name, (person, trial) in acknowledged.items():
        assert stored[name] == (person, trial["stimulus"], trial["response"], trial["rt"])
    labels = {(image, person) for person, image, *_ in stored.values() if image in page.label}
    assert Counter(image for image, _ in labels) == dict.fromkeys(page.label, 5)
    assert rows_of(page.out / "answers.sqlite", "PRAGMA integrity_check") == [("ok",)]
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
