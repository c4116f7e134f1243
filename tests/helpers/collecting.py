"""Pages with fake pictures, trials and server processes for the tests of the collecting server."""

import hashlib
import http.client
import itertools
import json
import re
import secrets
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import collect
from utils.data.outputs import Layout
from utils.people import server
from utils.people.page_key import read_page_key
from utils.people.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = ["Monarch", "Queen", "Viceroy"]
SECRET = "0123456789abcdef" * 2
CONSENT = {"time": "2026-11-30T12:00:00.000Z", "sha256": 4 * "fedcba9876543210"}


def opaque(*parts):
    """An opaque picture name, 16 hexadecimal digits."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def build_page(out, lessons=3, tests=4, labels=6, truth=0, build="0", gold=0):
    """Writes a course page and its key as teach.py does, with bytes for pictures; `truth` changes labels and paths."""
    counts = {"lesson": lessons, "test": tests, "label": labels, "gold": gold}
    ids = {phase: sorted(opaque(build, phase, number) for number in range(count)) for phase, count in counts.items()}
    images = {}
    for phase, names in ids.items():
        for number, name in enumerate(names):
            label = (number if phase == "lesson" else number + truth) % len(CLASSES)
            path = f"./datasets/butterflies_crop/images/{CLASSES[label]}/original_{label}_{number}_{phase}.png"
            images[name] = {"phase": phase, "path": path, "label": label, "index": number}
    build_id = opaque(build)
    head = {"build_id": build_id, "dataset": "butterflies_s300", "classes": CLASSES}
    key = {**head, "images": images}
    lessons = [{"image": name, "label": images[name]["label"]} for name in ids["lesson"]]
    course = {**head, "lessons": lessons, "test": ids["test"], "label": sorted(ids["label"] + ids["gold"])}
    folder = out / "course_page"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in images:
        ending, begins = ("jpg", b"\xff\xd8\xff\xe0") if name in ids["lesson"] else ("png", b"\x89PNG\r\n\x1a\n")
        (folder / f"images/{name}.{ending}").write_bytes(begins + name.encode())
    (folder / "index.html").write_text('<!doctype html><script src="data.js"></script>')
    (folder / "course.js").write_text("'use strict';\n")
    (folder / "style.css").write_text("body { color: black }\n")
    (folder / "data.js").write_text(f"window.COURSE = {json.dumps(course)};\n")
    (out / "course_page_key.json").write_text(json.dumps(key))
    return SimpleNamespace(out=out, folder=folder, key=key, build_id=build_id, **ids)


def opened(page, labels_per_image=2, lease_seconds=60.0, max_participants=100, clock=time.time, **more):
    """Opens the answers database of a page."""
    some = {"labels_per_image": labels_per_image, "lease_seconds": lease_seconds, "max_participants": max_participants}
    cfg = replace(collect.Config(), **some, **more)
    return Store(page.out / "answers.sqlite", read_page_key(Layout(page.out)), cfg, clock)


def client_of(page, store):
    """Test client of the server."""
    links = {"screen_out": "https://example.org/out", "completion": "https://example.org/in?cc=CODE"}
    return server.create_app(read_page_key(Layout(page.out)), store, SECRET, links).test_client()


def sent_trial(page, shown, answer=0, name=None, index=0, **changes):
    """A trial as the page sends it."""
    image = page.key["images"][shown]
    trial = {"trial_id": name or secrets.token_hex(16), "trial_index": index}
    phase = image["phase"].replace("gold", "label")
    trial |= {"trial_type": phase, "phase": phase, "time_elapsed": 1500 + index, "rt": 731.5}
    trial |= {"stimulus": shown, "response": answer, "build_id": page.build_id}
    if image["phase"] == "lesson":
        trial["correct"] = answer == image["label"]
    return {**trial, **changes}


def stored_trial(page, stimulus, response=0, trial_id=None):
    """The same trial by its id, as the store takes it."""
    trial = sent_trial(page, stimulus, response, trial_id)
    return {trial["trial_id"]: trial}


def rows_of(path, query):
    """Result of an SQL query, through a separate connection."""
    with closing(sqlite3.connect(Path(path).absolute())) as database:
        return database.execute(query).fetchall()


def joined(client):
    """A new person's id."""
    return client.post("/api/join", json={}).get_json()["participant"]


def post_trials(client, participant, *trials):
    """Sends trials; returns status and JSON of the answer."""
    answer = client.post("/api/trials", json={"participant": participant, "trials": trials})
    return answer.status_code, answer.get_json()


HEADERS = {"Content-Type": "application/json"}


class Process:
    """`python collect.py` as a process. After a stop, `start` uses the same port again."""

    def __init__(self, page, *settings):
        self.page, self.settings, self.port = page, settings, 0
        self.start()

    def start(self):
        words = [sys.executable, REPOSITORY / "collect.py", "--out", self.page.out, "--port", self.port, *self.settings]
        self.running = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = "".join(itertools.takewhile(lambda line: "Stop with Ctrl-C" not in line, self.running.stdout))
        self.address, self.port = re.search(r"(http://127\.0\.0\.1:(\d+)/)\n", said).groups()
        self.token = re.search(r"/progress\?token=([0-9a-f]{32})\n", said)[1]

    def stop(self, number):
        """Sends a signal; returns exit status and output since the start."""
        self.running.send_signal(number)
        said = self.running.communicate(timeout=20)[0]
        return self.running.returncode, said

    def request(self, method, address, body=None):
        """Status and body of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, address, None if body is None else json.dumps(body).encode(), HEADERS)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, address, **body):
        status, content = self.request("POST", address, body)
        assert status == 200, (status, content)
        return json.loads(content)
