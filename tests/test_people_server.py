"""The collecting server: no acknowledged answer is lost, doubled or one too many; nothing hostile gets in, nothing secret gets out."""

import csv
import errno
import hashlib
import http.client
import io
import itertools
import json
import random
import re
import secrets
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import collect_labels
from utils.base.errors import InputError, RunError
from utils.people import database as databases
from utils.people import export, server
from utils.people import store as stores
from utils.people.built_page import read_built_page
from utils.people.database import DatabaseTrouble
from utils.people.store import Store, Study
from utils.people.trials import FIELDS, Trial

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = ["Monarch", "Queen", "Viceroy"]
SECRET = "0123456789abcdef" * 2
WRONG_INPUT = 2


def opaque(*parts):
    """16 hexadecimal digits for a picture."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def build_page(out, lessons=3, tests=4, labels=6, truth=0, build="0", classes=CLASSES, dataset="butterflies_s300"):
    """A course page and its key as the builder leaves them, with bytes for pictures; `truth` deals labels and paths anew.

    Returns:
        The build id, the ids per phase, the key, and the folder.
    """
    counts = {"lesson": lessons, "test": tests, "label": labels}
    ids = {phase: sorted(opaque(build, phase, number) for number in range(count)) for phase, count in counts.items()}
    images = {}
    for phase, names in ids.items():
        for number, name in enumerate(names):
            label = (number if phase == "lesson" else number + truth) % len(classes)
            path = f"./datasets/butterflies_crop/images/{classes[label]}/original_{label}_{number}_{phase}.png"
            images[name] = {"phase": phase, "path": path, "label": label, "index": number}
    key = {"build_id": opaque(build), "dataset": dataset, "classes": classes, "images": images}
    course = {
        **{name: key[name] for name in ("build_id", "dataset", "classes")},
        "lessons": [{"image": name, "label": images[name]["label"]} for name in ids["lesson"]],
        **{phase: ids[phase] for phase in ("test", "label")},
    }
    folder = out / "course_page"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in images:
        (folder / f"images/{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    (folder / "index.html").write_text('<!doctype html><script src="data.js"></script>')
    (folder / "course.js").write_text("'use strict';\n")
    (folder / "style.css").write_text("body { color: black }\n")
    (folder / "data.js").write_text(f"window.COURSE = {json.dumps(course)};\n")
    (out / "course_page_key.json").write_text(json.dumps(key))
    return SimpleNamespace(out=out, folder=folder, key=key, build_id=key["build_id"], **ids)


class Clock:
    """Time that passes when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def study_of(page, labels_per_image=2, lease_seconds=60.0, max_participants=100):
    """What is collected with a page."""
    phases = {name: image["phase"] for name, image in page.key["images"].items()}
    return Study(page.build_id, page.key["dataset"], phases, labels_per_image, lease_seconds, max_participants)


def sent_trial(page, shown, answer=0, name=None, index=0, **changes):
    """A trial as the page sends it."""
    image = page.key["images"][shown]
    trial = {
        "trial_id": name or secrets.token_hex(16),
        "trial_index": index,
        "trial_type": image["phase"],
        "phase": image["phase"],
        "time_elapsed": 1500 + index,
        "rt": 731.5,
        "stimulus": shown,
        "response": answer,
        "build_id": page.build_id,
    }
    if image["phase"] == "lesson":
        trial["correct"] = answer == image["label"]
    return {**trial, **changes}


def stored_trial(page, stimulus, response=0, trial_id=None):
    """The same trial as the store takes it: by its id."""
    trial = sent_trial(page, stimulus, response, trial_id)
    return {trial["trial_id"]: Trial(**{"correct": None, **trial})}


@pytest.fixture
def page(tmp_path):
    return build_page(tmp_path / "out")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(page, clock):
    with closing(Store(page.out / "answers.sqlite", study_of(page), clock)) as opened:
        yield opened


def rows_of(path, query):
    """What an SQL query finds, read by a connection of its own."""
    with closing(sqlite3.connect(Path(path).absolute())) as database:
        return database.execute(query).fetchall()


# ---------------------------------------------------------------- the store


def test_answers_are_synced_before_they_are_acknowledged(store):
    pragmas = {name: store._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2: FULL


def test_nobody_else_on_the_machine_reads_the_database(store):
    store.join()
    files = sorted(store.path.parent.glob("answers.sqlite*"))
    assert [path.name for path in files] == ["answers.sqlite", "answers.sqlite-shm", "answers.sqlite-wal"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_an_image_goes_to_as_many_people_as_it_needs_labels(store, page):
    people = [store.join() for _ in range(5)]
    assert len(set(people)) == 5 and all(re.fullmatch("[0-9a-f]{32}", person) for person in people)
    first, second, third = page.label[:3]
    assert [store.next_image(person) for person in people] == [first, first, second, second, third]
    assert [store.next_image(person) for person in people] == [first, first, second, second, third]


def test_a_lease_expires_and_its_place_goes_to_another(store, page, clock):
    a, b, c, d = (store.join() for _ in range(4))
    image = page.label[0]
    assert [store.next_image(person) for person in (a, b, c)] == [image, image, page.label[1]]
    clock.now += 59
    assert store.next_image(b) == image  # b asks again, which renews b's lease
    clock.now += 1
    assert store.next_image(d) == image  # a's has expired
    assert store.next_image(a) != image


def test_the_images_with_most_labels_come_first(store, page, clock):
    a, b = store.join(), store.join()
    chosen = page.label[4]
    assert store.add_trials(a, stored_trial(page, chosen)) and store.next_image(b) == chosen


def test_a_late_answer_counts_while_there_is_room(store, page, clock):
    a, b, c, d = (store.join() for _ in range(4))
    image = store.next_image(a)
    clock.now += 100
    assert store.add_trials(a, stored_trial(page, image))[1] == {}  # nobody else wanted the place
    for person in (b, c):
        assert store.next_image(person) == (image if person is b else page.label[1])
    clock.now += 100
    assert store.next_image(d) == image  # b's place went to d
    late, in_time = stored_trial(page, image), stored_trial(page, image)
    assert list(store.add_trials(b, late)[1].values()) == ["this image has its labels already"]
    assert store.add_trials(d, in_time) == ([*in_time], {})


def test_everybody_who_holds_a_lease_may_answer(store, page):
    """However many others send labels for an image that was never given to them."""
    a, b = store.join(), store.join()
    image = store.next_image(a)
    pushers = [store.join() for _ in range(4)]
    results = [store.add_trials(person, stored_trial(page, image))[1] for person in pushers]
    assert [len(refused) for refused in results] == [0, 1, 1, 1]
    assert store.next_image(b) != image
    assert store.add_trials(a, stored_trial(page, image))[1] == {}


def test_nothing_is_left_for_someone_who_labelled_all(store, page):
    person = store.join()
    for _ in page.label:
        assert store.add_trials(person, stored_trial(page, store.next_image(person)))[1] == {}
    assert store.next_image(person) is None
    assert store.next_image(store.join()) == page.label[0]


def test_a_trial_is_stored_once_and_its_first_content_stays(store, page):
    a, b = store.join(), store.join()
    first, again = stored_trial(page, page.test[0], 1, SECRET), stored_trial(page, page.test[1], 2, SECRET)
    for trials in (first, first, again, {SECRET: "a reason"}):
        assert store.add_trials(a, trials) == ([SECRET], {})
    assert store.add_trials(b, first) == ([], {SECRET: "trial_id is taken; draw another"})
    twice = stored_trial(page, page.test[0])
    assert list(store.add_trials(a, twice)[1].values()) == ["this person answered this image already"]
    assert rows_of(store.path, "SELECT trial_id, participant, stimulus, response FROM trial") == [(SECRET, 1, page.test[0], 1)]


def test_strangers_and_people_beyond_the_number_are_turned_away(page, clock):
    with closing(Store(page.out / "answers.sqlite", study_of(page, max_participants=2), clock)) as store:
        store.join(), store.join()
        with pytest.raises(stores.StudyFull):
            store.join()
        with pytest.raises(stores.UnknownParticipant):
            store.next_image(SECRET)
        with pytest.raises(stores.UnknownParticipant):
            store.add_trials(SECRET, stored_trial(page, page.test[0]))
    assert rows_of(page.out / "answers.sqlite", "SELECT count(*) FROM trial") == [(0,)]


BREACHES = {
    "one label too many": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, 0, '{label}', 0, NULL)",
    "an image twice by one person": "INSERT INTO trial VALUES ('{id}', 1, 0, 0, 0, '{test}', 0, NULL)",
    "a trial id twice": "INSERT INTO trial VALUES ('{used}', 3, 0, 0, 0, '{test}', 0, NULL)",
    "a trial id that is none": "INSERT INTO trial VALUES ('{id}'' OR 1', 3, 0, 0, 0, '{test}', 0, NULL)",
    "an unknown image": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, 0, 'ffffffffffffffff', 0, NULL)",
    "an unknown person": "INSERT INTO trial VALUES ('{id}', 9, 0, 0, 0, '{test}', 0, NULL)",
    "a response that is none": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, 0, '{test}', 'x', NULL)",
    "a negative time": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, -1, '{test}', 0, NULL)",
    "a second study": "INSERT INTO study VALUES (2, 'x', 'y')",
    "fewer labels wanted than there are": "UPDATE image SET wanted = 1 WHERE id = '{label}'",
}


@pytest.mark.parametrize("breach", BREACHES)
def test_the_database_itself_refuses(store, page, breach):
    """Whatever program writes to it."""
    a, b, _ = (store.join() for _ in range(3))
    store.add_trials(a, {**stored_trial(page, page.label[0], trial_id=SECRET), **stored_trial(page, page.test[0])})
    store.add_trials(b, stored_trial(page, page.label[0]))
    statement = BREACHES[breach].format(id=secrets.token_hex(16), used=SECRET, label=page.label[0], test=page.test[0])
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
        database.execute(f"INSERT INTO trial VALUES ('{secrets.token_hex(16)}', 3, 0, 0, 0, '{page.test[0]}', 0, NULL)")  # a proper one


def test_answers_deleted_at_someones_wish_make_room_again(store, page):
    a, b, c = (store.join() for _ in range(3))
    for person in (a, b):
        store.add_trials(person, stored_trial(page, page.label[0]))
    assert store.next_image(c) == page.label[1]
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        database.execute("DELETE FROM trial WHERE participant = 1")
    assert store.add_trials(c, stored_trial(page, page.label[0]))[1] == {}


def test_a_transaction_that_fails_leaves_nothing_and_the_store_usable(store, page):
    person = store.join()
    good, bad = stored_trial(page, page.test[0]), stored_trial(page, page.test[1])
    broken = {name: replace(trial, response="x") for name, trial in bad.items()}
    with pytest.raises(sqlite3.IntegrityError):
        store.add_trials(person, {**good, **broken})
    assert store.progress().answers["test"] == 0
    assert store.add_trials(person, good)[1] == {}


def test_asking_for_the_next_image_sorts_nothing(store):
    """It walks an index to the first image that will do, however many images there are."""
    plan = " / ".join(row[-1] for row in store._database.execute(f"EXPLAIN QUERY PLAN {stores.NEXT_IMAGE}", (1,)))
    assert plan.startswith("SCAN image USING") and "INDEX open_image" in plan and "TEMP B-TREE" not in plan, plan


# ---------------------------------------------------------------- leases against a plain second implementation


class PlainLeases:
    """Who labels what, by lists and loops."""

    def __init__(self, images, wanted, seconds):
        self.labelled = {image: [] for image in images}
        self.leases = {}
        self.wanted, self.seconds = wanted, seconds

    def taken(self, image, now, without=None):
        """Labels and living leases of an image."""
        living = [who for who, (what, until) in self.leases.items() if what == image and until > now and who != without]
        return len(self.labelled[image]) + len(living)

    def next(self, person, now):
        image, until = self.leases.get(person, (None, 0))
        if until <= now:
            free = [image for image in self.labelled if person not in self.labelled[image] and self.taken(image, now, person) < self.wanted]
            image = min(free, key=lambda image: (-len(self.labelled[image]), image), default=None)
        self.leases.pop(person, None)
        if image is not None:
            self.leases[person] = (image, now + self.seconds)
        return image

    def answer(self, person, image, now):
        if person in self.labelled[image]:
            return False
        if self.leases.get(person, (None,))[0] == image:
            if self.leases.pop(person)[1] > now:
                assert len(self.labelled[image]) < self.wanted, "someone with a lease is turned away"
        if self.taken(image, now, person) >= self.wanted:
            return False
        self.labelled[image].append(person)
        return True


@pytest.mark.parametrize("seed", range(12))
def test_leases_are_those_of_a_plain_second_implementation(tmp_path, monkeypatch, seed):
    """People who answer, dawdle, leave, ask twice and push labels, in random order, over restarts."""
    monkeypatch.setattr(stores, "PRAGMAS", ("journal_mode = MEMORY", "synchronous = OFF", "foreign_keys = ON"))  # for speed
    draw, clock = random.Random(seed), Clock()
    page = build_page(tmp_path, labels=draw.randint(1, 8))
    study = study_of(page, labels_per_image=draw.randint(1, 4), lease_seconds=draw.choice([1, 10, 100]))
    store, model = Store(tmp_path / "answers.sqlite", study, clock), PlainLeases(page.label, study.labels_per_image, study.lease_seconds)
    people, shown = [store.join() for _ in range(8)], {}
    for _ in range(400):
        clock.now += draw.choice([0, 0.5, 1, 9, 40, 150]) * draw.random()
        person = draw.choice(people)
        action = draw.choices(["next", "answer", "push", "restart"], [5, 5, 1, 0.2])[0]
        if action == "next":
            shown[person] = store.next_image(person)
            assert shown[person] == model.next(person, clock.now)
        elif action == "restart":
            store.close()
            store = Store(tmp_path / "answers.sqlite", study, clock)
        else:
            image = draw.choice(page.label) if action == "push" else shown.get(person)
            if image is not None:
                stored, _ = store.add_trials(person, stored_trial(page, image))
                assert bool(stored) == model.answer(person, image, clock.now)
    for person in people:  # everybody stays to the end
        clock.now += study.lease_seconds
        while image := store.next_image(person):
            assert store.add_trials(person, stored_trial(page, image))[1] == {}
    store.close()
    labels = rows_of(tmp_path / "answers.sqlite", "SELECT stimulus, participant FROM trial")
    assert Counter(image for image, _ in labels) == dict.fromkeys(page.label, study.labels_per_image)
    assert len(set(labels)) == len(labels)
    assert {row[0] for row in rows_of(tmp_path / "answers.sqlite", "SELECT answers FROM image WHERE phase = 'label'")} == {
        study.labels_per_image
    }


def test_a_clock_that_is_set_back_gives_no_place_away_twice(store, page, clock):
    a, b, c = (store.join() for _ in range(3))
    assert store.next_image(a) == store.next_image(b) == page.label[0]
    clock.now += 100
    assert store.next_image(c) == page.label[0]
    clock.now -= 90  # a's and b's leases would hold again
    for person in (c, a, b):
        store.add_trials(person, stored_trial(page, page.label[0]))
    assert len(rows_of(store.path, "SELECT * FROM trial")) == 2


# ---------------------------------------------------------------- opening what is there


def test_an_opened_database_goes_on(page, clock):
    path = page.out / "answers.sqlite"
    with closing(Store(path, study_of(page), clock)) as store:
        person = store.join()
        image = store.next_image(person)
    with closing(Store(path, study_of(page, labels_per_image=3), clock)) as store:
        assert store.next_image(person) == image
        assert store.add_trials(person, stored_trial(page, image))[1] == {}
        assert len(store.progress().images_by_labels) == 4


def test_a_start_that_is_killed_leaves_no_half_made_database(page, monkeypatch):
    path = page.out / "answers.sqlite"
    monkeypatch.setattr(stores, "SCHEMA", (*stores.SCHEMA[:4], "NO SQL"))
    with pytest.raises(InputError):
        Store(path, study_of(page))
    monkeypatch.undo()
    Store(path, study_of(page)).close()


def run(monkeypatch, capsys, *arguments):
    """Exit status and stderr of collect_labels.py, in this process, where it must stop before it serves."""
    monkeypatch.setattr("waitress.server.BaseWSGIServer.run", lambda _: pytest.fail("it serves"))
    monkeypatch.setattr("sys.argv", ["collect_labels.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        collect_labels.launch(collect_labels.main, collect_labels.Config, "")
    return stop.value.code, capsys.readouterr().err


def other_build(page):
    Store(page.out / "answers.sqlite", study_of(page)).close()
    build_page(page.out, build="1")


def fewer_labels(page):
    with closing(Store(page.out / "answers.sqlite", study_of(page, labels_per_image=4))) as store:
        for _ in range(4):
            store.add_trials(store.join(), stored_trial(page, page.label[0]))


def other_schema(page):
    Store(page.out / "answers.sqlite", study_of(page)).close()
    with closing(sqlite3.connect(page.out / "answers.sqlite")) as database:
        database.execute("PRAGMA user_version = 7")


def foreign_database(page):
    with closing(sqlite3.connect(page.out / "answers.sqlite")) as database:
        database.executescript(f"CREATE TABLE notes (text); PRAGMA user_version = {stores.SCHEMA_VERSION}")


def rewrite(path, before, after):
    path.write_text(path.read_text().replace(before, after))


WRONG_STARTS = {
    "another build": (other_build, "holds answers to build"),
    "fewer labels than there are": (fewer_labels, "--labels-per-image 3 is less than some images have"),
    "another schema": (other_schema, "it has schema version 7, this program 1"),
    "another program's database": (
        foreign_database,
        "answers.sqlite is a database of another program (its tables: notes)",
    ),
    "no database": (lambda page: (page.out / "answers.sqlite").write_bytes(b"x" * 5000), "answers.sqlite is no SQLite database"),
    "no page": (lambda page: (page.folder / "index.html").unlink(), "course_page/index.html does not exist; build the course page first"),
    "no key": (lambda page: (page.out / "course_page_key.json").unlink(), "course_page_key.json does not exist"),
    "a cut key": (lambda page: (page.out / "course_page_key.json").write_text('{"build_id": '), "course_page_key.json cannot be read"),
    "a key of another kind": (lambda page: (page.out / "course_page_key.json").write_text("[]"), "holds no JSON object"),
    "a lesson without its label": (
        lambda page: (page.out / "course_page_key.json").write_text(
            json.dumps(page.key | {"images": page.key["images"] | {page.lesson[0]: page.key["images"][page.lesson[0]] | {"label": None}}})
        ),
        "course_page_key.json is damaged (around 'label')",
    ),
    "a page without a build": (
        lambda page: (page.folder / "data.js").write_text("window.COURSE = {};\n"),
        "course_page/data.js is damaged (around 'build_id')",
    ),
    "a key without images": (lambda page: (page.out / "course_page_key.json").write_text("{}"), "is damaged (around 'images')"),
    "a key of another build": (lambda page: rewrite(page.folder / "data.js", page.build_id, "f" * 16), f"is build {'f' * 16}, but"),
    "an id that is a path": (
        lambda page: rewrite(page.out / "course_page_key.json", page.test[0], "../../etc/passwd"),
        "the image '../../etc/passwd' has no proper id or phase",
    ),
    "a spoilt token": (lambda page: (page.out / "answers.token").write_text("\n"), "answers.token holds no token; remove it"),
}


@pytest.mark.parametrize("case", WRONG_STARTS)
def test_a_start_that_cannot_be_says_why(page, monkeypatch, capsys, case):
    spoil, words = WRONG_STARTS[case]
    spoil(page)
    status, said = run(monkeypatch, capsys, "--out", page.out, "--port", 0)
    assert status == WRONG_INPUT and words in said and said.count("\n") == 1, said


def test_settings_that_cannot_be_say_why(page, monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, words in (
            (["--export", "answers.xlsx"], "--export answers.xlsx must end with .json or .csv"),
            (["--export", page.out / "a.csv"], "answers.sqlite does not exist: no answers were collected there"),
            (["--port", port], f"--port {port}: cannot listen there"),
            (["--host", "no.such.host.invalid"], "cannot listen there"),
            (["--port", 70000], "must lie in 0 .. 65535"),
            (["--labels-per-image", 0], "must be 1 or more"),
        ):
            status, said = run(monkeypatch, capsys, "--out", page.out, *arguments)
            assert status == WRONG_INPUT and words in said and said.count("\n") == 1, said
            assert not (page.out / "a.csv").exists()
    status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "no/a.csv")
    assert status == WRONG_INPUT and "no does not exist; make it" in said


def test_ctrl_c_before_it_serves_is_said_in_a_sentence(page, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(collect_labels, "serve", stopped)
    assert run(monkeypatch, capsys, "--out", page.out) == (130, "collect_labels.py: error: stopped by Ctrl-C.\n")


def test_a_full_disk_is_no_reason_to_go_on(page, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(collect_labels, "serve", full)
    assert run(monkeypatch, capsys, "--out", page.out) == (1, "collect_labels.py: error: [Errno 28] No space left on device\n")


def test_a_missing_page_makes_no_folder(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--out", tmp_path / "typo")[0] == WRONG_INPUT
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- requests, without a network


@pytest.fixture
def client(page, store):
    """The application as its clients see it."""
    return server.create_app(read_built_page(page.out), store, SECRET).test_client()


def joined(client):
    """A new person's id."""
    return client.post("/api/join", json={}).get_json()["participant"]


def post_trials(client, participant, *trials):
    """Status and JSON that trials are answered with."""
    answer = client.post("/api/trials", json={"participant": participant, "trials": trials})
    return answer.status_code, answer.get_json()


def test_a_person_takes_the_course(client, page, clock):
    assert client.get("/").data == (page.folder / "index.html").read_bytes()
    assert client.get("/api/hello").get_json() == {"build_id": page.build_id}
    person = joined(client)
    trials = [sent_trial(page, name, 1, index=index) for index, name in enumerate([*page.lesson, *page.test])]
    assert post_trials(client, person, *trials) == (200, {"stored": [trial["trial_id"] for trial in trials], "refused": {}})
    for image in page.label:
        following = client.post("/api/next", json={"participant": person})
        assert following.get_json() == {"image": image, "lease_seconds": 60.0}
        assert post_trials(client, person, sent_trial(page, image))[1]["refused"] == {}
    assert client.post("/api/next", json={"participant": person}).get_json()["image"] is None


def test_every_file_of_the_page_is_served_with_its_type_and_policy(client, page):
    files = [path for path in page.folder.rglob("*") if path.is_file()]
    assert len(files) == 4 + 13
    types = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
    for path in files:
        answer = client.get(f"/{path.relative_to(page.folder)}")
        assert (answer.status_code, answer.data) == (200, path.read_bytes())
        assert answer.headers["Content-Type"] == types.get(path.suffix, "image/png")
        policy = answer.headers["Content-Security-Policy"]
        for directive in ("default-src 'none'", "img-src 'self'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
            assert directive in policy.split("; ")
        for directive in ("form-action https://*.mturk.com", "frame-ancestors 'self' https://*.mturk.com", "base-uri 'none'"):
            assert directive in policy.split("; ")
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-cache" and "Last-Modified" not in answer.headers
        again = client.get(f"/{path.relative_to(page.folder)}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_a_page_built_anew_beside_the_server_is_noticed(client, page):
    (page.folder / f"images/{page.test[0]}.png").unlink()
    answer = client.get(f"/images/{page.test[0]}.png")
    assert answer.status_code == 503 and "must be started again" in answer.get_json()["error"]


def test_every_answer_has_the_closed_headers(client):
    person = joined(client)
    answers = [
        client.get("/api/hello"),
        client.post("/api/join", json={}),
        client.post("/api/next", json={"participant": person}),
        client.post("/api/trials", json={"participant": person, "trials": []}),
        client.get(f"/progress?token={SECRET}"),
        client.get(f"/export.json?token={SECRET}"),
        client.get("/nothing"),
        client.put("/api/join"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 200, 200, 404, 405]
    for answer in answers:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert answer.headers["Cache-Control"] == "no-store"


def test_only_built_files_are_served(client, page):
    """Not what else lies in the folder, links out of it, or beside it."""
    (page.folder / "images/notes.txt").write_text("Monarch")
    (page.folder / "images/ffffffffffffffff.png").symlink_to(page.out / "course_page_key.json")
    (page.folder / "images/Monarch_0.png").write_bytes(b"\x89PNG")
    (page.folder / ".index.html.part").write_text("half")
    again = server.create_app(read_built_page(page.out), None, SECRET).test_client()
    names = ["images", "images/", "images/notes.txt", "images/Monarch_0.png", "images/ffffffffffffffff.png", ".index.html.part"]
    names += ["index.html/", "INDEX.HTML"]
    names += ["course_page_key.json", "../course_page_key.json", "images/../../course_page_key.json", "%2e%2e/course_page_key.json"]
    names += ["..%2fcourse_page_key.json", "..\\course_page_key.json", "images/%00.png", "/etc/passwd", "//etc/passwd", "./index.html"]
    names += ["answers.sqlite", "answers.token", "static/x", "api", "api/", "api/join", "export.sqlite", "export", "%ff%fe", "x" * 5000]
    for name in names:
        for asked in (client, again):
            answer = asked.get(f"/{name}")
            wanted = 403 if name == "export.sqlite" else 404
            assert (answer.status_code, list(answer.get_json())) == (wanted, ["error"]), name
    assert again.get("/export.sqlite?token=" + SECRET).status_code == 404


HEADERS = {"Content-Type": "application/json"}
BAD_BODIES = {
    "empty": b"",
    "cut": b'{"participant": "',
    "not JSON": b"participant=1",
    "not UTF-8": b'{"participant": "\xff\xfe"}',
    "deep lists": b"[" * 30000 + b"]" * 30000,
    "deep objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "a list": b"[]",
    "a number": b"1" * 10000,
    "null": b"null",
    "no field": b"{}",
    "one field more": json.dumps({"participant": SECRET, "trials": [{"trial_id": SECRET}], "admin": True}).encode(),
    "a participant that is a number": b'{"participant": 1, "trials": [{}]}',
    "a participant that is an object": b'{"participant": {"$ne": 1}, "trials": [{}]}',
    "no trials": json.dumps({"participant": SECRET, "trials": []}).encode(),
    "trials that are text": json.dumps({"participant": SECRET, "trials": "x"}).encode(),
    "trials that are an object": json.dumps({"participant": SECRET, "trials": {"0": {}}}).encode(),
    "a trial that is no object": json.dumps({"participant": SECRET, "trials": [[]]}).encode(),
    "a trial without an id": json.dumps({"participant": SECRET, "trials": [{}]}).encode(),
    "a trial id that is script": json.dumps({"participant": SECRET, "trials": [{"trial_id": "<script>alert(1)</script>"}]}).encode(),
    "a trial id with a line's end": json.dumps({"participant": SECRET, "trials": [{"trial_id": SECRET + "\n"}]}).encode(),
    "too many trials": json.dumps({"participant": SECRET, "trials": [{"trial_id": SECRET}] * 51}).encode(),
    "a half character": b'{"participant": "\\ud800", "trials": [{}]}',
}


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_bad_body_is_refused_in_a_sentence(client, body):
    answer = client.post("/api/trials", data=BAD_BODIES[body], headers=HEADERS)
    said = answer.get_json()
    assert answer.status_code == 400 and list(said) == ["error"] and said["error"].endswith("."), said
    assert "script>" not in said["error"] and len(said["error"]) < 200


def test_bodies_are_limited_and_must_be_json(client, page, store):
    person = joined(client)
    trials = [sent_trial(page, page.test[0], time_elapsed=1e11 + 1 / 3, rt=1e11 + 1 / 3) for _ in range(50)]
    assert len(json.dumps({"participant": person, "trials": trials})) < server.LONGEST_BODY / 2  # what the page may send fits
    for address in ("/api/join", "/api/next", "/api/trials"):
        answer = client.post(address, data=b" " * (server.LONGEST_BODY + 1), headers=HEADERS)
        assert (answer.status_code, list(answer.get_json())) == (413, ["error"])
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
            answer = client.post(address, data=b"{}", content_type=kind)
            assert answer.status_code == 400 and "application/json" in answer.get_json()["error"]
    assert store.progress().joined == 1


def test_wrong_methods_are_refused(client):
    for method, address in itertools.product(("get", "put", "delete", "patch"), ("/api/join", "/api/next", "/api/trials")):
        assert getattr(client, method)(address, json={}).status_code == (404 if method == "get" else 405)  # no page of that name
    for method, address in itertools.product(
        ("post", "put", "delete", "patch"), ("/", "/api/hello", "/progress", "/export.csv", "/data.js")
    ):
        assert getattr(client, method)(address, json={}).status_code == 405


def strange_values():
    """What is neither text, number nor truth as a field wants it."""
    return [None, True, False, -1, 10**400, 1.5, 1e400, -0.5, "", "0", "x" * 20000, [], [0], {}, {"a": 1}, "=1+1", "\x00", "\ud800"]


FIELD_VALUES = [(field, value) for field in FIELDS if field != "trial_id" for value in strange_values()]


def test_every_field_is_checked_by_type_and_range(client, page, store):
    person, images = joined(client), [page.lesson[0], page.test[0], page.label[0]]
    proper = [("time_elapsed", 1.5, image) for image in images] + [("rt", 1.5, image) for image in images] + [("correct", True, images[0])]
    for (field, value), stimulus in itertools.product(FIELD_VALUES, images):
        trial = sent_trial(page, stimulus, **{field: value})
        body = json.dumps({"participant": person, "trials": [trial]})
        answer = client.post("/api/trials", data=body, headers=HEADERS)
        if (field, value, stimulus) in proper:
            continue
        reason = answer.get_json()["refused"].get(trial["trial_id"])
        assert answer.status_code == 200 and reason and len(reason) < 250, (field, value)
        assert field in reason or "exactly the fields" in reason
    assert {row[0] for row in rows_of(store.path, "SELECT DISTINCT stimulus FROM trial")} == set(images)


def forgeries(page):
    """Trials that are well-formed and wrong, with a word of the reason."""
    test, label, lesson = page.test[0], page.label[0], page.lesson[0]
    return [
        (sent_trial(page, test, phase="label", trial_type="label"), "stimulus"),  # a test image as a label
        (sent_trial(page, label, phase="test", trial_type="test"), "stimulus"),
        (sent_trial(page, test, phase=None, trial_type=None, stimulus="f" * 16), "stimulus"),
        (sent_trial(page, test, stimulus="f" * 16), "stimulus"),
        (sent_trial(page, test, stimulus="../" + test), "stimulus"),
        (sent_trial(page, test, stimulus=test.upper()), "stimulus"),
        (sent_trial(page, test, trial_type="label"), "trial_type"),
        (sent_trial(page, test, response=3), "response must be a class, 0 .. 2"),
        (sent_trial(page, test, trial_index=10**9), "trial_index"),
        (sent_trial(page, test, rt=1e13), "rt"),
        (sent_trial(page, test, build_id="f" * 16), "build_id"),
        (sent_trial(page, test, correct=True), "exactly the fields"),  # nobody may claim to know
        (sent_trial(page, label, correct=None), "exactly the fields"),
        (sent_trial(page, test, participant="p0001"), "exactly the fields"),
        (sent_trial(page, test, **{"<script>": 1}), "exactly the fields"),
        (sent_trial(page, lesson, response=0, correct=not sent_trial(page, lesson, 0)["correct"]), "correct"),
        ({name: value for name, value in sent_trial(page, test).items() if name != "rt"}, "exactly the fields"),
    ]


def test_forged_trials_are_refused_beside_good_ones(client, page, store):
    person = joined(client)
    good, forged = sent_trial(page, page.test[1]), forgeries(page)
    status, said = post_trials(client, person, *(trial for trial, _ in forged), good)
    assert (status, said["stored"]) == (200, [good["trial_id"]])
    assert len(said["refused"]) == len(forged)
    for trial, words in forged:
        assert words in said["refused"][trial["trial_id"]]
    assert "script" not in json.dumps(said) and store.progress().answers == {"lesson": 0, "test": 1, "label": 0}


def test_not_a_number_and_infinity_are_refused(client, page, store):
    person = joined(client)
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        trial = json.dumps(sent_trial(page, page.test[0])).replace("731.5", word)
        said = client.post("/api/trials", data=f'{{"participant": "{person}", "trials": [{trial}]}}', headers=HEADERS).get_json()
        assert said["stored"] == [] and list(said["refused"].values()) == ["rt must be a number of milliseconds from 0"]
    assert store.progress().answers["test"] == 0


def test_replays_are_answered_as_the_first_time(client, page, store):
    person = joined(client)
    first = sent_trial(page, page.test[0], 1)
    for trial in (first, {**first, "response": 2}, {**first, "response": "x"}, {"trial_id": first["trial_id"]}):
        assert post_trials(client, person, trial, trial) == (200, {"stored": [first["trial_id"]], "refused": {}})
    assert rows_of(store.path, "SELECT response FROM trial") == [(1,)]


def test_a_trial_sent_twice_in_one_request_has_its_first_content(client, page, store):
    trial = sent_trial(page, page.test[0], 1)
    assert post_trials(client, joined(client), trial, {**trial, "response": 2})[1]["stored"] == [trial["trial_id"]]
    assert rows_of(store.path, "SELECT response FROM trial") == [(1,)]


def test_nobody_acts_for_another_or_learns_of_them(client, page, store):
    a, b = joined(client), joined(client)
    image = client.post("/api/next", json={"participant": a}).get_json()["image"]
    trial = sent_trial(page, image)
    assert post_trials(client, a, trial)[0] == 200
    status, said = post_trials(client, b, {**trial, "response": 2})
    assert (status, said["stored"]) == (200, []) and a not in json.dumps(said)
    for stranger in ("f" * 32, a[:-1] + ("0" if a[-1] != "0" else "1")):
        assert post_trials(client, stranger, sent_trial(page, page.test[0]))[0] == 403
        assert client.post("/api/next", json={"participant": stranger}).status_code == 403
    for malformed in (a.upper(), a + "0", a[:-1], f"{a}' OR '1'='1", "p0001", 1, None, [a], {"participant": a}):
        assert post_trials(client, malformed, sent_trial(page, page.test[0]))[0] == 400
        assert client.post("/api/next", json={"participant": malformed}).status_code == 400
    assert store.progress().answers == {"lesson": 0, "test": 0, "label": 1}


def test_a_full_disk_acknowledges_nothing_and_keeps_what_was(client, page, store, capsys):
    people, kept = [joined(client) for _ in range(30)], []
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    failed = None
    for person, image in itertools.product(people, page.test):
        trial = sent_trial(page, image)
        status, said = post_trials(client, person, trial)
        if status != 200:
            failed = person, trial
            break
        kept += said["stored"]
    assert (status, list(said)) == (503, ["error"]) and "cannot be written to: the disk is full" in capsys.readouterr().out
    assert sorted(row[0] for row in rows_of(store.path, "SELECT trial_id FROM trial")) == sorted(kept)
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert post_trials(client, *failed)[1]["stored"] == [failed[1]["trial_id"]]


def test_a_study_takes_only_so_many_people(page, clock):
    with closing(Store(page.out / "answers.sqlite", study_of(page, max_participants=1), clock)) as store:
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()
        joined(client)
        answer = client.post("/api/join", json={})
        assert (answer.status_code, answer.get_json()) == (403, {"error": "This study takes no more people."})


# ---------------------------------------------------------------- the researcher's side


@pytest.mark.parametrize("address", ["/progress", "/export.json", "/export.csv"])
def test_progress_and_exports_are_behind_the_token(client, address):
    for token in ("", "x", SECRET[:-1], SECRET + "0", SECRET.upper(), "é", "%00", "\ud800".encode("utf-8", "surrogatepass").hex()):
        answer = client.get(address, query_string={"token": token})
        assert (answer.status_code, list(answer.get_json())) == (403, ["error"]), token
    assert client.get(address).status_code == client.get(f"{address}?Token={SECRET}").status_code == 403
    assert client.get(f"{address}?token={SECRET}").status_code == 200


def test_the_token_is_made_once_for_its_owner_alone(tmp_path):
    token = server.access_token(tmp_path)
    assert re.fullmatch("[0-9a-f]{32}", token) and server.access_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / "answers.token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["answers.token"]


def test_progress_counts(client, page, store):
    people = [joined(client) for _ in range(4)]
    # two pairs of labels: one agrees; a third image has one label
    for person, answers in zip(people, [{0: 1, 1: 1}, {0: 1, 1: 2, 2: 0}], strict=False):
        post_trials(client, person, *(sent_trial(page, page.label[place], response) for place, response in answers.items()))
    post_trials(client, people[2], sent_trial(page, page.test[0]), sent_trial(page, page.lesson[0]), sent_trial(page, page.lesson[1]))
    now = store.progress()
    assert (now.joined, now.answered, now.answers) == (4, 3, {"lesson": 2, "test": 1, "label": 5})
    assert (now.images_by_labels, now.agreement) == ([3, 1, 2], 0.5)
    shown = client.get(f"/progress?token={SECRET}").get_data(as_text=True)
    cells = re.findall(r"<tr><th scope=\"row\">(.*?)</th>\s*<td>(.*?)</td></tr>", shown)
    assert dict(cells) == {
        "people who opened the course": "4",
        "people who answered": "3",
        "answers, lesson": "2",
        "answers, test": "1",
        "answers, label": "5",
        "images with all their labels": "2 of 6",
        "images with 0 labels": "3",
        "images with 1 labels": "1",
        "images with 2 labels": "2",
        "pairs of labels of one image that agree": "50.0 %",
    }


def test_script_in_names_stays_text(tmp_path, clock):
    name = "<script>alert('x')</script>"
    page = build_page(tmp_path, dataset=name, classes=[name, '"><img src=x onerror=alert(1)>'])
    with closing(Store(tmp_path / "answers.sqlite", study_of(page), clock)) as store:
        client = server.create_app(read_built_page(tmp_path), store, SECRET).test_client()
        shown = client.get(f"/progress?token={SECRET}").get_data(as_text=True)
        assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
        assert client.get(f"/export.json?token={SECRET}").get_json()["dataset"] == name


def test_no_cell_is_a_formula():
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', 'a,"b"\n=c']
    (row,) = csv.reader(io.StringIO(export.csv_line((*hostile, -1, 1.5, None, True)), newline=""))
    assert row == [*(f"'{text}" for text in hostile[:-1]), hostile[-1], "-1", "1.5", "", "true"]
    assert not [cell for cell in row[: len(hostile)] if cell.startswith(export.FORMULA_SIGNS)]


def collect_some(client, page):
    """Answers of three people, the second of whom answers nothing; what the export must hold."""
    wanted = []
    for number in range(3):
        person = joined(client)
        if number != 1:
            images = [page.lesson[0], page.test[number], page.label[number]]
            trials = [sent_trial(page, image, number % 3, index=index) for index, image in enumerate(images)]
            post_trials(client, person, *reversed(trials))
            wanted.append({"participant": f"p{number + 1:04d}", "trials": trials})
    return wanted


def as_csv(participants):
    """The rows that a CSV must have, as text."""
    return [
        {"participant": one["participant"], **{field: "" if trial.get(field) is None else str(trial[field]) for field in FIELDS}}
        for one in participants
        for trial in one["trials"]
    ]


def test_exports_hold_what_was_sent(client, page, store, monkeypatch, capsys):
    wanted = collect_some(client, page)
    expected = {"build_id": page.build_id, "dataset": "butterflies_s300", "participants": wanted}
    downloads = {suffix: client.get(f"/export{suffix}?token={SECRET}") for suffix in (".json", ".csv")}
    got = downloads[".json"].get_json()
    assert got == expected
    assert [list(trial) for one in got["participants"] for trial in one["trials"]] == [
        [field for field in FIELDS if field in trial] for one in wanted for trial in one["trials"]
    ]
    table = list(csv.DictReader(io.StringIO(downloads[".csv"].get_data(as_text=True))))
    assert [{**row, "correct": row["correct"].capitalize()} for row in table] == as_csv(wanted)
    assert list(table[0]) == ["participant", *FIELDS]
    for suffix, download in downloads.items():
        assert download.headers["Content-Disposition"] == f'attachment; filename="answers{suffix}"'
        monkeypatch.setattr("sys.argv", ["collect_labels.py", "--out", str(page.out), "--export", str(page.out / f"a{suffix}")])
        collect_labels.launch(collect_labels.main, collect_labels.Config, "")
        assert (page.out / f"a{suffix}").read_bytes() == download.data
    assert not list(page.out.glob(".*")) and "Answers: " in capsys.readouterr().out


def test_an_export_holds_no_secret(client, page, store):
    people = [row[0] for row in (collect_some(client, page), rows_of(store.path, "SELECT secret FROM participant"))[1]]
    for suffix in (".json", ".csv"):
        text = client.get(f"/export{suffix}?token={SECRET}").get_data(as_text=True)
        assert len(people) == 3 and not [person for person in people if person in text]
        assert SECRET not in text


def test_an_empty_study_exports_nothing_but_its_name(client, page):
    assert client.get(f"/export.json?token={SECRET}").get_json()["participants"] == []
    assert client.get(f"/export.csv?token={SECRET}").get_data(as_text=True) == ",".join(["participant", *FIELDS]) + "\r\n"


# ---------------------------------------------------------------- a database in a bad state


def answered(page, people=60):
    """A closed database of many answers: `people` times the test. Returns its path and its answers as (trial id, response)."""
    path = page.out / "answers.sqlite"
    with closing(Store(path, study_of(page))) as store:
        for number in range(people):
            person = store.join()
            trials = [stored_trial(page, image, (number + place) % 3) for place, image in enumerate(page.test)]
            store.add_trials(person, {name: trial for one in trials for name, trial in one.items()})
    return path, set(rows_of(path, "SELECT trial_id, response FROM trial"))


def root_of(path, name):
    """Number and size of the first page of a table or index."""
    return rows_of(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")[0][0], rows_of(path, "PRAGMA page_size")[0][0]


def overwrite(path, number, size, content=b"\x55"):
    """Damages one page."""
    with open(path, "r+b") as file:
        file.seek((number - 1) * size)
        file.write(content * size)


def leaves(path, size):
    """The pages that hold trials: table leaves with many rows."""
    content = path.read_bytes()
    pages = [content[start : start + size] for start in range(0, len(content), size)]
    trials = {trial.encode() for (trial,) in rows_of(path, "SELECT trial_id FROM trial")}
    held = {number: sum(trial in page for trial in trials) for number, page in enumerate(pages, start=1) if page[0] == 0x0D}
    return {number: count for number, count in held.items() if count}


@contextmanager
def held(path, *statements):
    """Another program has the database open, in the midst of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
        yield


def exported(path, target, page=None):
    """What a damaged database's export says, and the answers in it."""
    with pytest.raises(RunError) as said:
        export.write_export(path, target, page)
    trials = [trial for one in json.loads(target.read_text())["participants"] for trial in one["trials"]]
    return str(said.value), {(trial["trial_id"], trial["response"]) for trial in trials}


def test_of_a_damaged_leaf_all_other_answers_are_exported(page):
    path, answers = answered(page)
    _, size = root_of(path, "trial")
    found = leaves(path, size)
    lost = min(found)
    assert len(found) > 2
    overwrite(path, lost, size)
    said, kept = exported(path, page.out / "a.json")
    assert kept < answers and len(kept) == len(answers) - found[lost] > 100
    assert f"{len(kept)} answers could be read and are in {page.out}/a.json, {found[lost]} not" in said
    with pytest.raises(RunError):
        export.write_export(path, page.out / "a.csv", None)
    assert len((page.out / "a.csv").read_text().splitlines()) == len(kept) + 1


@pytest.mark.parametrize(
    "name", ["trial", "sqlite_autoindex_trial_1", "sqlite_autoindex_trial_2", "trial_of_image", "lease", "participant"]
)
def test_where_only_the_way_to_them_is_damaged_all_answers_are_exported(page, name):
    """The page that the rows are found by; the rows themselves are on others."""
    path, answers = answered(page)
    overwrite(path, *root_of(path, name))
    said, kept = exported(path, page.out / "a.json")
    assert kept == answers and f"{len(answers)} answers could be read" in said and ", 0 not;" in said


@pytest.mark.parametrize("name", ["study", "image", "sqlite_autoindex_image_1"])
def test_what_the_page_s_key_knows_need_not_be_readable(page, name):
    path, answers = answered(page)
    overwrite(path, *root_of(path, name))
    assert exported(path, page.out / "a.json", read_built_page(page.out))[1] == answers
    assert json.loads((page.out / "a.json").read_text())["build_id"] == page.build_id


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_of_a_file_that_was_cut_short_the_rest_is_exported(page, share):
    """As by a copy that was broken off: the answers on the pages that are left, and the number of the others."""
    path, answers = answered(page)
    size = root_of(path, "trial")[1]
    held = leaves(path, size)
    pages = int(path.stat().st_size * share) // size
    rest = sum(count for number, count in held.items() if number <= pages)
    with open(path, "r+b") as file:
        file.truncate(pages * size)
    said, kept = exported(path, page.out / "a.json", read_built_page(page.out))
    assert kept < answers and len(kept) == rest > 0 and f"a.json, {len(answers) - rest} not" in said


def test_deleted_answers_stay_deleted_in_an_export_of_what_can_be_read(page):
    """Pages out of use keep what was deleted from them."""
    path, _ = answered(page)
    _, size = root_of(path, "trial")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM trial WHERE participant <= 30")
    answers = set(rows_of(path, "SELECT trial_id, response FROM trial"))
    overwrite(path, *root_of(path, "trial"))
    assert exported(path, page.out / "a.json")[1] == answers and len(answers) == 30 * len(page.test)


@pytest.mark.parametrize("number", [1, 2])
def test_where_nothing_can_be_read_nothing_is_written(page, monkeypatch, capsys, number):
    path, _ = answered(page, 1)
    size = root_of(path, "trial")[1]
    if number == 1:
        with open(path, "r+b") as file:
            file.seek(100)  # after the header: the schema
            file.write(b"\x55" * (size - 100))
    else:
        overwrite(path, *root_of(path, "trial"))
    status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "a.json")
    assert status == WRONG_INPUT and "is damaged, and no answer in it can be read" in said and said.count("\n") == 1
    assert not (page.out / "a.json").exists()


def test_a_damaged_database_takes_no_more_and_keeps_the_page_waiting(page, capsys):
    path, _ = answered(page)
    overwrite(path, min(leaves(path, root_of(path, "trial")[1])), root_of(path, "trial")[1])
    before = path.read_bytes()
    with closing(Store(path, study_of(page))) as store:
        assert "is damaged" in str(store.damage)
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()
        assert client.get("/").status_code == client.get("/api/hello").status_code == 200
        sends = [
            ("/api/join", {}),
            ("/api/next", {"participant": SECRET}),
            ("/api/trials", {"participant": SECRET, "trials": [{"trial_id": SECRET}]}),
        ]
        for address, body in sends:
            answer = client.post(address, json=body)
            assert (answer.status_code, answer.get_json()) == (503, {"error": "The server cannot store answers now; try again later."})
        for address in ("/progress", "/export.json", "/export.csv"):
            answer = client.get(f"{address}?token={SECRET}")
            assert answer.status_code == 503 and "answers.sqlite is damaged" in answer.get_json()["error"]
        with pytest.raises(DatabaseTrouble, match="is damaged"):
            store.progress()
    assert path.read_bytes() == before
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["damaged", "moved"])
def test_the_end_tells_of_it_too(page, monkeypatch, capsys, trouble):
    path, _ = answered(page)
    if trouble == "damaged":
        overwrite(path, *root_of(path, "image"))
    monkeypatch.setattr(collect_labels, "serve", lambda *_: path.rename(page.out / "elsewhere"))
    monkeypatch.setattr("sys.argv", ["collect_labels.py", "--out", str(page.out)])
    with pytest.raises(SystemExit) as stop:
        collect_labels.launch(collect_labels.main, collect_labels.Config, "")
    said = capsys.readouterr()
    assert stop.value.code == WRONG_INPUT and said.err.count("\n") == 1 and "Stopped" not in said.out
    assert f"answers.sqlite {'is damaged' if trouble == 'damaged' else 'was moved, replaced or removed'}" in said.err
    assert ("Until then no answers are taken" in said.out) == (trouble == "damaged")


def test_damage_that_shows_while_the_server_runs_is_remembered(client, page, store):
    person = joined(client)
    store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    number, size = root_of(store.path, "trial")
    overwrite(store.path, number, size)
    store._database.execute("PRAGMA shrink_memory")
    assert post_trials(client, person, sent_trial(page, page.test[0]))[0] == 503
    overwrite(store.path, number, size, b"\x0d")
    assert client.post("/api/join", json={}).status_code == 503


LOCKS = {"unsaved changes": ["BEGIN IMMEDIATE"], "an exclusive lock": ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"]}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_database_that_another_program_holds_is_left_alone(page, monkeypatch, capsys, lock):
    path, _ = answered(page, 1)
    monkeypatch.setattr(databases, "LOCK_TIMEOUT", 0.1)
    with held(path, *LOCKS[lock]):
        status, said = run(monkeypatch, capsys, "--out", page.out, "--port", 0)
        assert status == WRONG_INPUT and "another program holds it" in said and "leave the file where it is" in said
        assert "move it away" not in said and said.count("\n") == 1
        if lock == "an exclusive lock":
            status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "a.json")
            assert status == WRONG_INPUT and "another program holds it" in said and not (page.out / "a.json").exists()
        else:
            export.write_export(path, page.out / "a.json", None)  # who only reads need not wait
    Store(path, study_of(page)).close()


def test_a_lock_while_the_server_runs_passes(page, monkeypatch, capsys):
    monkeypatch.setattr(databases, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(stores, "TURN_TIMEOUT", 0.1)
    with closing(Store(page.out / "answers.sqlite", study_of(page))) as store:
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()
        person, trial = joined(client), sent_trial(page, page.test[0])
        with held(store.path, "BEGIN IMMEDIATE"):
            assert post_trials(client, person, trial)[0] == 503
            assert client.get(f"/progress?token={SECRET}").status_code == client.get(f"/export.csv?token={SECRET}").status_code == 200
        assert post_trials(client, person, trial)[1]["stored"] == [trial["trial_id"]]
        with store._lock:  # a request that waits for another program has the turn
            assert post_trials(client, person, trial)[0] == 503
    assert "another program holds it" in capsys.readouterr().out
    assert databases.LOCK_TIMEOUT < 1


def test_the_page_is_told_before_its_patience_ends():
    patience = int(re.search(r"PATIENCE = (\d+);", (REPOSITORY / "utils/people/page/course.js").read_text())[1]) / 1000
    assert databases.LOCK_TIMEOUT + stores.TURN_TIMEOUT < patience


@pytest.mark.parametrize("change", ["moved", "replaced", "removed", "its log removed"])
def test_a_database_that_loses_its_name_is_entrusted_nothing(client, page, store, change):
    """SQLite goes on writing to a file that nobody finds again."""
    person = joined(client)
    path = page.out / ("answers.sqlite-wal" if change == "its log removed" else "answers.sqlite")
    path.rename(page.out / "elsewhere")
    if change == "replaced":
        path.write_bytes((page.out / "elsewhere").read_bytes())
    status, _ = post_trials(client, person, sent_trial(page, page.test[0]))
    assert status == 503 and "was moved, replaced or removed" in client.get(f"/progress?token={SECRET}").get_json()["error"]
    (page.out / "elsewhere").rename(path)
    assert post_trials(client, person, sent_trial(page, page.test[0]))[0] == 200


def test_an_empty_file_is_begun_and_exports_nothing(page, monkeypatch, capsys):
    path = page.out / "answers.sqlite"
    for make in (path.touch, lambda: sqlite3.connect(path).executescript("VACUUM")):
        path.unlink(missing_ok=True)
        make()
        status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "a.json")
        assert status == WRONG_INPUT and "answers.sqlite is empty" in said and not (page.out / "a.json").exists()
        with closing(Store(path, study_of(page))) as store:
            assert store.join()


def test_an_emptied_file_whose_log_holds_answers_is_left_alone(page, monkeypatch, capsys):
    """SQLite would remove the log."""
    path, log = page.out / "answers.sqlite", page.out / "answers.sqlite-wal"
    path.touch()
    log.write_bytes(b"answers")
    for arguments in (["--port", 0], ["--export", page.out / "a.json"]):
        status, said = run(monkeypatch, capsys, "--out", page.out, *arguments)
        assert status == WRONG_INPUT and "answers.sqlite-wal" in said and "still holds data" in said
    assert (path.read_bytes(), log.read_bytes()) == (b"", b"answers")


def make_folder(page):
    (page.out / "answers.sqlite").mkdir()


def make_dangling_link(page):
    (page.out / "answers.sqlite").symlink_to(page.out / "no/answers.sqlite")


BAD_FILES = {
    "a folder": (make_folder, "is a folder", "is a folder"),
    "a link to nowhere": (make_dangling_link, "cannot be opened (No such file or directory)", "does not exist"),
    "another program's database": (foreign_database, "is a database of another program", "is a database of another program"),
    "another version": (other_schema, "use the version that made it", "use the version that made it"),
    "no database": (lambda page: (page.out / "answers.sqlite").write_text("x" * 5000), "is no SQLite database", "is no SQLite database"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_database_of_ours_is_told_alike_and_not_touched(page, monkeypatch, capsys, case):
    spoil, at_start, at_export = BAD_FILES[case]
    spoil(page)
    path = page.out / "answers.sqlite"
    before = path.read_bytes() if path.is_file() else None
    for arguments, words in ((["--port", 0], at_start), (["--export", page.out / "a.json"], at_export)):
        status, said = run(monkeypatch, capsys, "--out", page.out, *arguments)
        assert status == WRONG_INPUT and words in said and said.count("\n") == 1, said
        assert (path.read_bytes() if path.is_file() else None) == before and not (page.out / "a.json").exists()


def errors_of_sqlite(path):
    """Errors as SQLite raises them, with the state that each tells."""

    def raised(name, *statements, content=None):
        if content is not None:
            (path / name).write_bytes(content)
        with closing(sqlite3.connect(path / name, isolation_level=None, timeout=0)) as database:
            with pytest.raises(sqlite3.Error) as error:
                for statement in statements:
                    database.execute(statement).fetchall()
        return error.value

    full = ("PRAGMA max_page_count = 2", "CREATE TABLE t (a)", "INSERT INTO t VALUES (zeroblob(99999))")
    with held(path / "locked", "CREATE TABLE t (a)", "BEGIN EXCLUSIVE"):
        yield databases.LOCKED, raised("locked", "SELECT * FROM t")
    yield databases.FULL, raised("full", *full)
    yield databases.NO_DATABASE, raised("text", "SELECT * FROM t", content=b"x" * 5000)
    yield databases.READ_ONLY, raised("locked", "PRAGMA query_only = ON", "INSERT INTO t VALUES (1)")
    yield databases.FOREIGN, raised("locked", "SELECT * FROM study")
    yield databases.FOREIGN, raised("locked", "SELECT build_id FROM t")
    yield databases.DAMAGED, raised("locked", "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))", "SELECT a FROM t")
    yield databases.OTHER, raised("locked", "SELECT nothing(1)")
    (path / "locked").unlink()
    (path / "locked").mkdir()
    yield databases.CANNOT_OPEN, sqlite3.OperationalError("unable to open database file")


def test_states_are_told_by_code_and_without_one_by_message(tmp_path):
    """Python 3.10 does not hand SQLite's codes on."""
    told = list(errors_of_sqlite(tmp_path))
    assert len(told) == 9
    for state, error in told:
        assert databases.state_of(error) is databases.state_of(type(error)(str(error))) is state, error


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (5 | 2 << 8, "LOCKED"),
        (1032, "MOVED"),
        (8 | 1 << 8, "READ_ONLY"),
        (10 | 3 << 8, "FAULTY_DISK"),
        (11 | 1 << 8, "DAMAGED"),
        (7, "OTHER"),
    ],
)
def test_extended_codes_are_of_the_kind_of_their_primary_ones(code, state):
    error = sqlite3.OperationalError("words that tell nothing")
    error.sqlite_errorcode = code
    assert databases.state_of(error) is getattr(databases, state)


def test_every_state_has_a_sentence_of_its_own_with_a_remedy():
    states = [value for value in vars(databases).values() if isinstance(value, databases.State)]
    assert len({state.what for state in states}) == len(states) and len({state.remedy for state in states}) == len(states)
    for state in states:
        said = str(DatabaseTrouble(state, Path("out/answers.sqlite"), "why"))
        assert said.startswith("out/answers.sqlite ") and said.endswith(".") and said.count("(why); ") == 1 and "{" not in said
    assert "move" not in databases.LOCKED.remedy


def test_exports_are_as_private_as_the_database(page):
    path, _ = answered(page, 1)
    for name in ("a.json", "a.csv"):
        (page.out / name).write_text("an older export")
        (page.out / name).chmod(0o644)
        export.write_export(path, page.out / name, None)
        assert stat.S_IMODE((page.out / name).stat().st_mode) == 0o600
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        (page.out / "b.json").mkdir()
        export.write_export(path, page.out / "b.json", None)


def test_names_that_mean_something_to_sqlite_are_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a?mode=memory", "b#c", "file:d", "%41"):
        page = build_page(Path(name))
        path, answers = answered(page, 1)
        export.write_export(path, Path("a.json"), None)
        assert len(json.loads(Path("a.json").read_text())["participants"]) == 1
        assert path.is_file() and len(answers) == len(page.test)


@pytest.mark.parametrize("logged", [False, True])
def test_where_nothing_can_be_written_beside_the_database_a_copy_is_read(page, monkeypatch, logged):
    """As in a read-only folder, where SQLite cannot open a database of this kind."""
    path, answers = answered(page, 2)
    begin, seen = export._begin, []

    def only_elsewhere(database, of, pragmas):
        (opened,) = [row[2] for row in database.execute("PRAGMA database_list")]
        seen.append(Path(opened))
        if Path(opened) == path:
            raise DatabaseTrouble(databases.CANNOT_OPEN, of)
        begin(database, of, pragmas)

    with closing(Store(path, study_of(page))) as store:
        if logged:
            store.add_trials(store.join(), stored_trial(page, page.test[0]))
        monkeypatch.setattr(export, "_begin", only_elsewhere)
        export.write_export(path, page.out / "a.json", None)
    assert json.loads((page.out / "a.json").read_text())["participants"][-1]["participant"] == ("p0003" if logged else "p0002")
    assert len(seen) == 2 and not seen[1].exists()


# ---------------------------------------------------------------- nothing leaks


def conversation(page, clock, monkeypatch):
    """Everything that the server sends in a course with good, late and forged answers: status, headers and bodies."""
    numbers = itertools.count()
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    heard = []
    with closing(Store(page.out / "answers.sqlite", study_of(page), clock)) as store:
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()

        def hear(answer):
            heard.append((answer.status_code, sorted(item for item in answer.headers if item[0] != "Date"), answer.data))
            return answer.get_json(silent=True)

        for path in sorted(page.folder.rglob("*")):
            hear(client.get(f"/{path.relative_to(page.folder)}"))
        for asked in ("/", "/api/hello", "/nothing", "/progress", "/../course_page_key.json"):
            hear(client.get(asked))
        for number in range(3):
            person = hear(client.post("/api/join", json={}))["participant"]
            images = [*page.lesson, *page.test]
            hear(client.post("/api/trials", json={"participant": person, "trials": [sent_trial(page, image, number) for image in images]}))
            while image := hear(client.post("/api/next", json={"participant": person}))["image"]:
                hear(client.post("/api/trials", json={"participant": person, "trials": [sent_trial(page, image, number)]}))
                clock.now += 40
            wrong = [trial for trial, _ in forgeries(page)] + [sent_trial(page, image, number) for image in page.label]
            hear(client.post("/api/trials", json={"participant": person, "trials": wrong}))
        for asked in ("/progress", "/export.json", "/export.csv"):
            hear(client.get(f"{asked}?token={SECRET}"))
    monkeypatch.undo()
    return heard


def test_what_is_sent_does_not_depend_on_the_truth(tmp_path, monkeypatch):
    """The same people, the same answers, other true labels and files of the test and labelling images: the same bytes."""
    one, other = (build_page(tmp_path / str(truth), truth=truth) for truth in (0, 1))
    assert one.key != other.key and one.lesson == other.lesson
    first, second = (conversation(page, Clock(), monkeypatch) for page in (one, other))
    assert len(first) > 60 and first == second


def test_what_is_sent_names_no_class_file_or_folder(page, clock, monkeypatch):
    data, *others = sorted((body for _, _, body in conversation(page, clock, monkeypatch)), key=lambda body: b"window.COURSE" not in body)
    for image in page.key["images"].values():
        path = Path(image["path"])
        for word in (image["path"], path.name, path.stem, path.parts[1], str(page.out), "course_page_key"):
            assert word.encode() not in data and not [body for body in others if word.encode() in body]
    assert not [body for body in others for name in CLASSES if name.encode() in body]
    course = json.loads(data.decode().removeprefix("window.COURSE = ").rstrip(";\n"))
    assert (course["test"], course["label"]) == (page.test, page.label)


# ---------------------------------------------------------------- the process


class Process:
    """`python collect_labels.py` as a process of its own."""

    def __init__(self, page, *settings, port=0):
        self.page, self.settings, self.port = page, settings, port
        self.start()

    def start(self):
        words = [sys.executable, REPOSITORY / "collect_labels.py", "--out", self.page.out, "--port", self.port, *self.settings]
        self.running = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = list(itertools.islice(self.running.stdout, 3))
        assert len(self.said) == 3, self.said
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/\n", self.said[0])[1])
        self.token = re.search(r"/progress\?token=([0-9a-f]{32})\n", self.said[1])[1]

    def stop(self, number):
        """Ends it by a signal; returns its exit status and what it said since its start."""
        self.running.send_signal(number)
        said = self.running.communicate(timeout=20)[0]
        return self.running.returncode, said

    def request(self, method, address, body=None, headers=None, timeout=20):
        """Status and body of the answer. The address is sent as it is."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request(method, address, content, HEADERS if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, address, **body):
        """The JSON that a request is answered with."""
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
    for number in (signal.SIGINT, signal.SIGTERM):
        person = process.post("/api/join")["participant"]
        image = process.post("/api/next", participant=person)["image"]
        process.post("/api/trials", participant=person, trials=[sent_trial(process.page, image)])
        status, said = process.stop(number)
        assert status == 0 and "Traceback" not in said
        held = 1 if number == signal.SIGINT else 2
        assert said == f"Stopped. {process.page.out}/answers.sqlite holds {held} answers of {held} people.\n"
        process.start()


def raw(port, sent):
    """What the server answers to bytes that need not be HTTP."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        with suppress(ConnectionError):  # it closes the line on those who send too much
            connection.sendall(sent)
        with suppress(OSError):  # closed already
            connection.shutdown(socket.SHUT_WR)
        answered = b""
        with suppress(ConnectionError):
            while received := connection.recv(65536):
                answered += received
        return answered


def test_the_process_stands_hostile_bytes(process):
    page, port = process.page, process.port
    for path in ("/../answers.token", "/images/../../answers.token", "/%2e%2e/answers.sqlite", "//etc/passwd", "/..%5canswers.token"):
        assert process.request("GET", path)[0] == 404
    for sent in (
        b"GET\r\n\r\n",
        b"\x00\xff\x16\x03\x01" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"POST /api/join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        answered = raw(port, sent)
        assert not answered or re.match(rb"HTTP/1\.[01] (4\d\d|501)", answered), answered[:200]
        assert b"Traceback" not in answered and b"Server:" not in answered
    for size, kind in ((server.LONGEST_BODY + 1, b"application/json"), (50_000_000, b"-")):
        head = b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, size)
        assert raw(port, head + b" " * min(size, server.LONGEST_BODY + 1)).startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    answered = raw(port, head + chunk * 20 + b"0\r\n\r\n")
    assert not answered or b" 413 " in answered
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]  # say nothing and keep the line
    assert json.loads(process.request("GET", "/api/hello")[1]) == {"build_id": page.build_id}
    for connection in silent:
        connection.close()
    status, said = process.stop(signal.SIGINT)
    assert status == 0 and "Traceback" not in said and "holds 0 answers of 0 people" in said


class Taker:
    """One of many people at once: takes the course, labels, sends again whatever was not acknowledged; or leaves in the middle."""

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
        """Sends trials, sometimes twice, the second time with other content; keeps, and returns, what was acknowledged."""
        said = self.insist("/api/trials", participant=person, trials=trials)
        by_id = {trial["trial_id"]: trial for trial in trials}
        self.results.acknowledged.update({name: (person, by_id[name]) for name in said["stored"]})
        if self.draw.random() < 0.1:
            changed = [{**trial, "response": (trial["response"] + 1) % 3} for trial in trials if trial["phase"] != "lesson"]
            again = self.insist("/api/trials", participant=person, trials=changed)
            assert not set(said["stored"]) & set(again["refused"])
        return said["stored"]

    def take_the_course(self):
        page = self.process.page
        person = self.insist("/api/join")["participant"]
        images = [*page.lesson, *page.test]
        self.draw.shuffle(images)
        self.send(person, [sent_trial(page, image, self.draw.randrange(3), index=index) for index, image in enumerate(images)])
        while len(self.results.labels) < self.results.goal and time.monotonic() < self.results.deadline:
            image = self.insist("/api/next", participant=person)["image"]
            if image is None:  # nothing for now; the lease of someone who left may expire
                time.sleep(0.4)
            elif self.number < 8 and self.draw.random() < 0.3:
                return  # closes the page with the image before the eyes
            else:
                self.results.labels.update(self.send(person, [sent_trial(page, image, self.draw.randrange(3))]))


def test_fifty_people_at_once_and_a_server_that_is_killed(tmp_path):
    """The heart of it: every acknowledged answer is there once, every image has its K labels from K people."""
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
    database = page.out / "answers.sqlite"
    rows = rows_of(database, "SELECT trial_id, secret, stimulus, response, rt FROM trial JOIN participant ON number = participant")
    stored = {row[0]: row[1:] for row in rows}
    assert len(stored) == len(rows) == 50 * 4 + 40 * 5 and set(stored) == set(results.acknowledged)  # everybody asked until told
    for name, (person, trial) in results.acknowledged.items():
        assert stored[name] == (person, trial["stimulus"], trial["response"], trial["rt"])
    labels = [(image, person) for person, image, *_ in stored.values() if image in page.label]
    assert Counter(image for image, _ in labels) == dict.fromkeys(page.label, 5)
    assert len(set(labels)) == len(labels)
    assert rows_of(database, "PRAGMA integrity_check") == [("ok",)]
    status, content = process.request("GET", f"/export.json?token={process.token}")
    exported = [trial["trial_id"] for one in json.loads(content)["participants"] for trial in one["trials"]]
    assert status == 200 and sorted(exported) == sorted(stored)
    assert process.stop(signal.SIGINT)[0] == 0


def test_exports_work_beside_a_server(process):
    """An export beside a server that writes sees whole transactions: each person's two answers, or none."""
    page, stop = process.page, threading.Event()

    def write():
        while not stop.is_set():
            person = process.post("/api/join")["participant"]
            process.post("/api/trials", participant=person, trials=[sent_trial(page, image) for image in page.test[:2]])

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        for number in range(3):
            target = page.out / f"{number}.json"
            export.write_export(page.out / "answers.sqlite", target, None)
            assert {len(one["trials"]) for one in json.loads(target.read_text())["participants"]} <= {2}
            time.sleep(0.1)
        stop.set()
        for writer in writers:
            writer.result()
    assert json.loads(target.read_text())["participants"]


def test_the_server_starts_without_torch(page):
    """It may run on a small machine, and starts again at once."""
    code = (
        "import collect_labels as script, sys\n"
        "try: script.launch(script.main, script.Config, script.__doc__)\n"
        "finally: print(sorted({'torch', 'torchvision', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "--export", "answers.json", "--out"]
    done = subprocess.run([*command, str(page.out)], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (WRONG_INPUT, "[]\n") and "no answers were collected there" in done.stderr
    assert sorted(path.name for path in page.out.iterdir()) == ["course_page", "course_page_key.json"]  # no record either
