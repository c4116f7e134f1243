"""The answers database: constraints, leases (against a second implementation), and files it cannot open."""

import json
import random
import re
import secrets
import sqlite3
import stat
import time
from collections import Counter
from contextlib import closing
from datetime import datetime

import pytest

from tests.helpers.collecting import CONSENT, REPOSITORY, SECRET, build_page, opened, rows_of, stored_trial
from utils.base.errors import InputError
from utils.people import export
from utils.people import store as stores
from utils.people.store import DatabaseTrouble


def test_answers_are_synced_and_private(store):
    store.join()
    names = ("journal_mode", "synchronous", "foreign_keys")
    pragmas = {name: store._database.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2: FULL
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.path.parent.glob("answers.sqlite*")} == {0o600}


def test_surplus_labels_are_refused_with_a_reason_that_the_page_knows(store, page):
    refused = [store.add_trials(store.join(), stored_trial(page, page.label[0]))[1] for _ in range(3)]
    assert [list(reasons.values()) for reasons in refused] == [[], [], [stores.NOT_NEEDED]]
    assert f'const NOT_NEEDED = "{stores.NOT_NEEDED}";' in (REPOSITORY / "utils/people/page/course.js").read_text()


def test_a_trial_is_stored_once_and_keeps_its_first_content(store, page):
    a, b = store.join(), store.join()
    first, again = stored_trial(page, page.test[0], 1, SECRET), stored_trial(page, page.test[1], 2, SECRET)
    for trials in (first, first, again):
        assert store.add_trials(a, trials) == ([SECRET], {})
    assert store.add_trials(b, first) == ([], {SECRET: "trial_id is taken; draw another"})
    twice = stored_trial(page, page.test[0])
    assert list(store.add_trials(a, twice)[1].values()) == ["this person answered this image already"]
    found = rows_of(store.path, "SELECT trial_id, participant, stimulus, response FROM trial")
    assert found == [(SECRET, 1, page.test[0], 1)]


BREACHES = {
    "one label too many": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, 0, '{label}', 0, NULL)",
    "an image twice by one person": "INSERT INTO trial VALUES ('{id}', 1, 0, 0, 0, '{test}', 0, NULL)",
    "a trial id twice": "INSERT INTO trial VALUES ('{used}', 3, 0, 0, 0, '{test}', 0, NULL)",
    "an invalid response": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, 0, '{test}', 'x', NULL)",
    "a negative time": "INSERT INTO trial VALUES ('{id}', 3, 0, 0, -1, '{test}', 0, NULL)",
    "fewer labels wanted than there are": "UPDATE image SET wanted = 1 WHERE id = '{label}'",
}


@pytest.mark.parametrize("breach", BREACHES)
def test_the_schema_refuses(store, page, breach):
    a, b, _ = (store.join() for _ in range(3))
    store.add_trials(a, {**stored_trial(page, page.label[0], trial_id=SECRET), **stored_trial(page, page.test[0])})
    store.add_trials(b, stored_trial(page, page.label[0]))
    statement = BREACHES[breach].format(id=secrets.token_hex(16), used=SECRET, label=page.label[0], test=page.test[0])
    valid = f"INSERT INTO trial VALUES ('{secrets.token_hex(16)}', 3, 0, 0, 0, '{page.test[0]}', 0, NULL)"
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
        database.execute(valid)


class PlainLeases:
    """Leases in plain lists and loops; by certainty, nobody else's lease is shared while there are other images."""

    def __init__(self, images, wanted, seconds, by_certainty, gold, gold_every):
        self.labelled = {image: [] for image in images + gold}
        self.gold, self.gold_every = gold, gold_every
        self.leases, self.wanted, self.seconds = {}, wanted, seconds
        self.by_certainty, self.certainty = by_certainty, dict.fromkeys(images, 0)

    def taken(self, image, now, without):
        """Labels and valid leases of an image."""
        valid = [who for who, (what, until) in self.leases.items() if what == image and until > now and who != without]
        return len(self.labelled[image]) + len(valid)

    def next(self, person, now):
        image, until = self.leases.pop(person, (None, 0))
        if until <= now:
            mine = [image for image in self.labelled if person not in self.labelled[image]]
            given = len(self.labelled) - len(mine)
            due = [image for image in self.gold if image in mine and given % self.gold_every == self.gold_every - 1]
            free = [image for image in mine if image not in self.gold and self.taken(image, now, person) < self.wanted]
            free = [image for image in free if self.certainty[image] < 0.95]
            if self.by_certainty:
                free = [image for image in free if self.taken(image, now, person) == len(self.labelled[image])] or free
            image = min(
                free, key=lambda image: (self.certainty[image], -len(self.labelled[image]), image), default=None
            )
            if image and due:
                image = min(due, key=lambda image: (len(self.labelled[image]), image))
        if image is not None:
            self.leases[person] = (image, now + self.seconds)
        return image

    def answer(self, person, image, now):
        if person in self.labelled[image]:
            return False
        if self.leases.get(person, (None,))[0] == image:
            self.leases.pop(person)
        if image not in self.gold and self.taken(image, now, person) >= self.wanted:
            return False
        self.labelled[image].append(person)
        return True


@pytest.mark.parametrize("by_certainty", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_leases_equal_a_plain_second_implementation(tmp_path, monkeypatch, seed, by_certainty):
    """People answer, wait, leave, ask twice and send unasked labels in random order; the server restarts.

    Certainties are drawn.
    """
    monkeypatch.setattr(stores, "PRAGMAS", ("journal_mode = MEMORY", "synchronous = OFF"))
    draw, now = random.Random(seed), 1000.0

    def clock():
        return now

    page = build_page(tmp_path, labels=draw.randint(1, 8), gold=seed)
    wanted, seconds, every = draw.randint(1, 4), draw.choice([1, 10, 100]), draw.randint(1, 3)

    def restarted():
        store = opened(page, wanted, seconds, clock=clock, gold_every=every)
        model.certainty = dict.fromkeys(page.label, 0)
        store.heard = judge if by_certainty else None
        return store

    def judge(database):
        """Draws the certainties of all images; some are equal."""
        for image in page.label:
            model.certainty[image] = draw.choice([0.3, 0.5, 0.7, 0.94, 0.95, 0.99])
            database.execute("UPDATE image SET certainty = ? WHERE id = ?", (model.certainty[image], image))

    model = PlainLeases(page.label, wanted, seconds, by_certainty, page.gold, every)
    store = restarted()
    people, shown = [store.join() for _ in range(8)], {}
    for _ in range(400):
        now += draw.choice([0, 0.5, 1, 9, 40, 150]) * draw.random()
        person = draw.choice(people)
        action = draw.choices(["next", "answer", "push", "restart"], [5, 5, 1, 0.2])[0]
        if action == "next":
            shown[person] = store.next_image(person)
            assert shown[person] == model.next(person, now)
        elif action == "restart":
            store.close()
            store = restarted()
        else:
            image = draw.choice(page.label + page.gold) if action == "push" else shown.get(person)
            if image is not None:
                stored, _ = store.add_trials(person, stored_trial(page, image))
                assert bool(stored) == model.answer(person, image, now)
    store.close()
    by_certainty, store = False, restarted()
    for person in people:  # until all labels are given, in even order
        now += seconds
        while image := store.next_image(person):
            assert store.add_trials(person, stored_trial(page, image))[1] == {}
    store.close()
    labels = rows_of(store.path, "SELECT stimulus, participant FROM trial")
    assert Counter(image for image, _ in labels if image not in page.gold) == dict.fromkeys(page.label, wanted)
    assert len(set(labels)) == len(labels)


def everything(path):
    """All rows of all tables; images without their number of answers."""
    tables = [name for (name,) in rows_of(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: sorted(rows_of(path, f"SELECT * FROM {name}"), key=repr) for name in tables}
    return rows | {"image": [row[:3] for row in rows["image"]]}


@pytest.mark.parametrize("seed", range(3))
def test_a_deleted_person_leaves_nothing(page, seed):
    """The database equals that of a study without the person, and its files do not contain their texts.

    The server runs; counts of images equal the answers.
    """
    draw = random.Random(seed)
    with closing(opened(page, labels_per_image=9)) as store:
        people = [store.join({"PROLIFIC_PID": f"person{number}"}, CONSENT) for number in range(4)]
        for _ in range(40):
            number = draw.randrange(4)
            store.add_trials(people[number], stored_trial(page, draw.choice([*page.lesson, *page.test, *page.label])))
            store.next_image(people[number])
            if draw.random() < 0.3:
                store.finish(people[number], draw.random() < 0.5, f"remark of person{number} " * draw.randint(1, 90))
        gone = draw.randrange(4)
        before, (code, trials, _) = everything(store.path), store.place(people[gone])
        with pytest.raises(InputError, match="--delete abc: nobody in .* has this code"):
            stores.delete_person(store.path, "abc")
        assert everything(store.path) == before
        said = stores.delete_person(store.path, f" {code.upper()} ")
        assert f"Deleted p{gone + 1:04d}: {len(trials)} answers" in said
        person = {"trial": 1, "lease": 0, "visitor": 0, "participant": 0}
        kept = {
            name: [row for row in rows if name not in person or row[person[name]] != gone + 1]
            for name, rows in before.items()
        }
        assert everything(store.path) == kept
        answers = Counter(row[5] for row in kept["trial"])
        assert dict(rows_of(store.path, "SELECT id, answers FROM image")) == {
            name: answers[name] for name, *_ in kept["image"]
        }
        for file in store.path.parent.glob("answers.sqlite*"):
            assert f"person{gone}".encode() not in file.read_bytes(), file
        for some in (store.next_image, store.place, lambda secret: store.finish(secret, True, "")):
            with pytest.raises(stores.UnknownParticipant):
                some(people[gone])
        assert store.join({"PROLIFIC_PID": f"person{gone}"}) != people[gone]


def test_what_is_known_about_people_can_be_deleted_alone(store, page):
    """The answers stay, and people continue. Without foreign keys, a deleted participant takes the rest along."""
    people = [store.join({"workerId": f"W{number}"}) for number in range(2)]
    for person in people:
        store.add_trials(person, stored_trial(page, page.label[0]) | stored_trial(page, page.test[0]))
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("DELETE FROM visitor WHERE participant = 1")
    assert store.finish(people[0], False, "") == ("", False) and len(store.place(people[0])[1]) == 2
    assert store.join({"workerId": "W0"}) not in people
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("DELETE FROM participant WHERE number = 2")
    assert rows_of(store.path, "SELECT participant FROM visitor") == [(3,)]
    exported = json.loads(export.export_text(store.path, ".json"))["participants"]
    assert [(one["participant"], len(one["trials"])) for one in exported] == [("p0001", 2), ("p0003", 0)]


def test_an_identity_leads_to_one_participant(page):
    """Also when the study is full and after a restart. Empty ids and placeholders are no identity."""
    with closing(opened(page, max_participants=7)) as store:
        someone = store.join({"PROLIFIC_PID": "a1", "STUDY_ID": "s"}, CONSENT)
        code = store.place(someone)[0]
        worker = store.join({"workerId": "b1", "PROLIFIC_PID": ""})
        nobodies = [{}, {}, {"PROLIFIC_PID": ""}, *({"PROLIFIC_PID": "{{%PROLIFIC_PID%}}"} for _ in range(2))]
        secrets_of = [someone, worker, *map(store.join, nobodies)]
        assert len({*secrets_of}) == 7 and "" not in secrets_of and store.join({"PROLIFIC_PID": "c1"}) == ""
    assert re.fullmatch("[0-9a-f]{12}", code)
    with closing(opened(page, max_participants=7)) as store:
        assert store.join({"PROLIFIC_PID": "a1", "SESSION_ID": "other"}) == someone and store.place(someone)[0] == code
        assert store.join({"workerId": "b1"}) == worker
    (row,) = rows_of(store.path, "SELECT * FROM visitor WHERE participant = 1")
    about = (1, "a1", '{"PROLIFIC_PID": "a1", "STUDY_ID": "s"}', *CONSENT.values(), None, None, None, code)
    assert row == about and len(rows_of(store.path, "SELECT DISTINCT code FROM visitor")) == 7


def test_the_first_end_counts_and_the_last_comment(store):
    person = store.join()
    code = store.place(person)[0]
    for passed, comment in ((False, ""), (True, "thanks"), (True, ""), (False, "a \ud83d b")):
        assert store.finish(person, passed, comment) == (code, False)
    (row,) = rows_of(store.path, "SELECT comment, passed, finished FROM visitor")
    assert row[:2] == ("a ? b", 0) and abs(datetime.fromisoformat(row[2]).timestamp() - time.time()) < 60


def test_an_existing_database_is_continued(page):
    with closing(opened(page)) as store:
        person = store.join()
        image = store.next_image(person)
    with closing(opened(page, labels_per_image=3)) as store:
        assert store.next_image(person) == image
        assert store.add_trials(person, stored_trial(page, image))[1] == {}
    build_page(page.out, build="1")
    with pytest.raises(InputError, match="contains answers to build"):
        opened(page)


def test_other_databases_are_left_unchanged(page):
    path = page.out / "answers.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(InputError, match="is not an answers database of this version"):
        opened(page)
    assert path.read_bytes() == before


def test_a_locked_database_is_named(page, monkeypatch):
    opened(page).close()
    monkeypatch.setattr(stores, "LOCK_TIMEOUT", 0.1)
    with closing(sqlite3.connect(page.out / "answers.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseTrouble, match="Another program holds it"):
            opened(page)


def test_a_damaged_database_takes_nothing_and_exports_nothing(page):
    """The root page of the table of trials is overwritten. The message says what to do."""
    with closing(opened(page)) as store:
        person = store.join()
        store.add_trials(person, stored_trial(page, page.test[0]))
    path = page.out / "answers.sqlite"
    size = rows_of(path, "PRAGMA page_size")[0][0]
    root = rows_of(path, "SELECT rootpage FROM sqlite_master WHERE name = 'trial'")[0][0]
    with open(path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\x55" * size)
    with closing(opened(page)) as store:
        assert ".recover" in str(store.damage)
        with pytest.raises(DatabaseTrouble, match="docs/people.md"):
            store.join()
    with pytest.raises(DatabaseTrouble, match="docs/people.md"):
        export.write_export(path, page.out / "a.json")
    assert not (page.out / "a.json").exists()
