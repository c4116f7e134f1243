"""The store of the collecting server: its promises, its leases against a plain second implementation, and what it opens."""

import errno
import itertools
import json
import random
import re
import secrets
import socket
import sqlite3
import stat
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

import collect_labels
from tests.helpers.collecting import (
    REPOSITORY,
    SECRET,
    WRONG_INPUT,
    Clock,
    build_page,
    foreign_database,
    other_schema,
    rows_of,
    run,
    stored_trial,
    study_of,
)
from utils.base.errors import InputError
from utils.people import export
from utils.people import store as stores
from utils.people.store import Store


def test_answers_are_synced_before_they_are_acknowledged(store):
    pragmas = {
        name: store._database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
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


def test_the_page_knows_the_reason_by_which_nothing_is_lost():
    assert f'const NOT_NEEDED = "{stores.NOT_NEEDED}";' in (REPOSITORY / "utils/people/page/course.js").read_text()


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
    assert rows_of(store.path, "SELECT trial_id, participant, stimulus, response FROM trial") == [
        (SECRET, 1, page.test[0], 1)
    ]


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
        database.execute(
            f"INSERT INTO trial VALUES ('{secrets.token_hex(16)}', 3, 0, 0, 0, '{page.test[0]}', 0, NULL)"
        )  # a proper one


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


def steps_of_a_round(folder, labels):
    """How many instructions SQLite executes while three people join and label ten images each, of so many."""
    page, steps = build_page(folder, labels=labels), 0

    def count():
        nonlocal steps
        steps += 1

    with closing(Store(folder / "answers.sqlite", study_of(page, labels_per_image=3), Clock())) as store:
        store._database.set_progress_handler(count, 1)
        people = [store.join() for _ in range(3)]
        for number, person in itertools.product(range(10), people):
            image = store.next_image(person)
            trials = stored_trial(page, image, trial_id=f"{number}{people.index(person)}" * 16)
            assert store.add_trials(person, trials)[1] == {}
    return steps


def test_handing_out_and_taking_answers_cost_the_same_however_many_images_there_are(tmp_path):
    few, many = steps_of_a_round(tmp_path / "few", 30), steps_of_a_round(tmp_path / "many", 3000)
    assert 1000 < few == many


def test_no_statement_of_a_request_reads_all_images_or_answers(store, page):
    said = []
    store._database.set_trace_callback(said.append)
    person = store.join()
    for _ in range(3):
        store.add_trials(person, stored_trial(page, store.next_image(person)))
    store.add_trials(person, stored_trial(page, page.test[0]))
    store._database.set_trace_callback(None)
    asked = {text for text in said if text.split()[0] in ("SELECT", "INSERT", "DELETE", "UPDATE")}
    plans = [row[-1] for text in asked for row in store._database.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert len(asked) > 8 and any(plan.startswith("SEARCH image") for plan in plans)
    assert {plan for plan in plans if re.match(r"SCAN (image|trial)\b", plan)} <= {
        "SCAN image USING INDEX open_image"
    }, plans


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
            free = [
                image
                for image in self.labelled
                if person not in self.labelled[image] and self.taken(image, now, person) < self.wanted
            ]
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
    monkeypatch.setattr(
        stores, "PRAGMAS", ("journal_mode = MEMORY", "synchronous = OFF", "foreign_keys = ON")
    )  # for speed
    draw, clock = random.Random(seed), Clock()
    page = build_page(tmp_path, labels=draw.randint(1, 8))
    study = study_of(page, labels_per_image=draw.randint(1, 4), lease_seconds=draw.choice([1, 10, 100]))
    store, model = (
        Store(tmp_path / "answers.sqlite", study, clock),
        PlainLeases(page.label, study.labels_per_image, study.lease_seconds),
    )
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
    assert {
        row[0] for row in rows_of(tmp_path / "answers.sqlite", "SELECT answers FROM image WHERE phase = 'label'")
    } == {study.labels_per_image}


def test_a_clock_that_is_set_back_gives_no_place_away_twice(store, page, clock):
    a, b, c = (store.join() for _ in range(3))
    assert store.next_image(a) == store.next_image(b) == page.label[0]
    clock.now += 100
    assert store.next_image(c) == page.label[0]
    clock.now -= 90  # a's and b's leases would hold again
    for person in (c, a, b):
        store.add_trials(person, stored_trial(page, page.label[0]))
    assert len(rows_of(store.path, "SELECT * FROM trial")) == 2


@pytest.mark.parametrize("asks", [True, False])
def test_a_clock_that_was_ahead_reserves_no_place_for_longer_than_a_lease(store, page, clock, asks):
    """An hour ahead for a moment: two people are shown an image then, and leave. Whoever is there later asks for it, or just sends it."""
    a, b, c = (store.join() for _ in range(3))
    clock.now += 3600
    assert store.next_image(a) == store.next_image(b) == page.label[0]
    clock.now -= 3600
    image = store.next_image(c) if asks else page.label[0]
    assert image == page.label[0] and store.add_trials(c, stored_trial(page, image))[1] == {}
    assert store.add_trials(a, stored_trial(page, page.label[0]))[1] == {}  # there is room for one of the two
    assert list(store.add_trials(b, stored_trial(page, page.label[0]))[1].values()) == [
        "this image has its labels already"
    ]


def test_a_lease_of_this_moment_holds_to_its_end(store, page, clock):
    """The bound is no shorter than a lease: of 60 s, given now."""
    a, b, c = (store.join() for _ in range(3))
    assert store.next_image(a) == store.next_image(b) == page.label[0] != store.next_image(c)
    assert store.add_trials(c, stored_trial(page, page.label[0]))[0] == []


AT_ONCE = "DELETE FROM participant WHERE number = 7"
BY_THE_DOCUMENT = re.search(r"```sql\n(.*?)```", (REPOSITORY / "docs/people.md").read_text(encoding="utf-8"), re.S)[1]
EARLIER = f"DROP TRIGGER forget; {BY_THE_DOCUMENT}"  # a database of an earlier version


@pytest.mark.parametrize(
    "statements", [AT_ONCE, BY_THE_DOCUMENT, EARLIER], ids=["at once", "by the document", "earlier version"]
)
def test_somebody_who_is_deleted_takes_the_answers_along(store, page, statements):
    """By a program that does not look after foreign keys, beside the running server."""
    people = [store.join() for _ in range(3)]
    first, second = page.label[:2]
    for person in people[:2]:
        assert (
            store.add_trials(person, stored_trial(page, first))[1]
            == store.add_trials(person, stored_trial(page, page.test[0]))[1]
            == {}
        )
    assert store.next_image(people[1]) == second
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.executescript(statements.replace("= 7", "= 2"))
    exported = json.loads("".join(export.pieces(store.path, ".json")))["participants"]
    assert [(one["participant"], len(one["trials"])) for one in exported] == [("p0001", 2)]
    assert rows_of(store.path, "SELECT * FROM lease") == rows_of(store.path, "PRAGMA foreign_key_check") == []
    assert rows_of(store.path, f"SELECT answers FROM image WHERE id IN ('{first}', '{page.test[0]}')") == [(1,), (1,)]
    assert store.next_image(people[2]) == first  # there is room again
    with pytest.raises(stores.UnknownParticipant):
        store.next_image(people[1])
    store.join()
    assert [number for (number,) in rows_of(store.path, "SELECT number FROM participant")] == [1, 3, 4]


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


def other_build(page):
    Store(page.out / "answers.sqlite", study_of(page)).close()
    build_page(page.out, build="1")


def fewer_labels(page):
    with closing(Store(page.out / "answers.sqlite", study_of(page, labels_per_image=4))) as store:
        for _ in range(4):
            store.add_trials(store.join(), stored_trial(page, page.label[0]))


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
    "no database": (
        lambda page: (page.out / "answers.sqlite").write_bytes(b"x" * 5000),
        "answers.sqlite is no SQLite database",
    ),
    "no page": (
        lambda page: (page.folder / "index.html").unlink(),
        "course_page/index.html does not exist; build the course page first",
    ),
    "no key": (lambda page: (page.out / "course_page_key.json").unlink(), "course_page_key.json does not exist"),
    "a cut key": (
        lambda page: (page.out / "course_page_key.json").write_text('{"build_id": '),
        "course_page_key.json cannot be read",
    ),
    "a key of another kind": (
        lambda page: (page.out / "course_page_key.json").write_text("[]"),
        "holds no JSON object",
    ),
    "a lesson without its label": (
        lambda page: (page.out / "course_page_key.json").write_text(
            json.dumps(
                page.key
                | {
                    "images": page.key["images"]
                    | {page.lesson[0]: page.key["images"][page.lesson[0]] | {"label": None}}
                }
            )
        ),
        "course_page_key.json is damaged (around 'label')",
    ),
    "a page without a build": (
        lambda page: (page.folder / "data.js").write_text("window.COURSE = {};\n"),
        "course_page/data.js is damaged (around 'build_id')",
    ),
    "a key without images": (
        lambda page: (page.out / "course_page_key.json").write_text("{}"),
        "is damaged (around 'images')",
    ),
    "a key of another build": (
        lambda page: rewrite(page.folder / "data.js", page.build_id, "f" * 16),
        f"is build {'f' * 16}, but",
    ),
    "an id that is a path": (
        lambda page: rewrite(page.out / "course_page_key.json", page.test[0], "../../etc/passwd"),
        "the image '../../etc/passwd' has no proper id or phase",
    ),
    "a spoilt token": (
        lambda page: (page.out / "answers.token").write_text("\n"),
        "answers.token holds no token; remove it",
    ),
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
    assert run(monkeypatch, capsys, "--out", page.out) == (
        1,
        "collect_labels.py: error: [Errno 28] No space left on device\n",
    )


def test_a_missing_page_makes_no_folder(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--out", tmp_path / "typo")[0] == WRONG_INPUT
    assert list(tmp_path.iterdir()) == []
