"""`python collect.py` as a process: many people at once, and signals."""

import http.client
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.helpers.collecting import Process, build_page, rows_of, sent_trial


def test_ctrl_c_and_sigterm_stop_it_cleanly(page):
    for count, number in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
        process = Process(page, "--order", "even")
        person = process.post("/api/join")["participant"]
        image = process.post("/api/next", participant=person)["image"]
        process.post("/api/trials", participant=person, trials=[sent_trial(page, image)])
        said = f"Stopped. {page.out}/answers.sqlite contains {count} answers of {count} people.\n"
        assert process.stop(number) == (0, said)


class Taker:
    """One of many people: takes the course, labels images, and resends answers that were not acknowledged."""

    def __init__(self, process, number, acknowledged):
        self.process, self.acknowledged, self.draw = process, acknowledged, random.Random(number)

    def insist(self, address, **body):
        """Repeats a request until it is answered, as the page does."""
        for _ in range(2000):
            try:
                return self.process.post(address, **body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02 + 0.08 * self.draw.random())
        raise AssertionError("the server did not come back")

    def send(self, person, images):
        """Sends answers to images, some of them twice."""
        trials = [sent_trial(self.process.page, image, self.draw.randrange(3)) for image in images]
        for _ in range(self.draw.choice([1, 1, 2])):
            said = self.insist("/api/trials", participant=person, trials=trials)
            stored = [trial for trial in trials if trial["trial_id"] in said["stored"]]
            self.acknowledged.update({trial["trial_id"]: (person, trial) for trial in stored})

    def take_the_course(self):
        person = self.insist("/api/join")["participant"]
        self.send(person, [*self.process.page.lesson, *self.process.page.test])
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < 50 * 4 + 40 * 5 and time.monotonic() < deadline:
            image = self.insist("/api/next", participant=person)["image"]
            if image is None:  # until a lease expires
                time.sleep(0.4)
            else:
                self.send(person, [image])


def test_fifty_people_at_once_and_a_server_that_is_killed(tmp_path):
    """Every acknowledged answer is stored once, and every image has five labels from five people."""
    page = build_page(tmp_path / "out", lessons=2, tests=2, labels=40)
    process, acknowledged = Process(page, "--labels-per-image", 5, "--certainty", 1, "--lease-seconds", 1), {}
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
    assert process.stop(signal.SIGINT)[0] == 0
