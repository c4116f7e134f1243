"""The answers database: an SQLite file with the images of a study, its participants, their trials and their leases.

Constraints and triggers keep it consistent, also if other programs write to it. Answers are committed with
`synchronous=FULL` before they are acknowledged, so they survive a killed process and a power cut. The least certain
images are handed out first. Without certainties, those with the most labels are: a study that ends early has complete
images.
"""

import contextlib
import json
import math
import re
import secrets
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from utils.base.errors import InputError
from utils.people.page_key import KEY_PHASES, Key

SCHEMA_VERSION = 4
SCHEMA = (
    "CREATE TABLE page (build_id TEXT PRIMARY KEY, dataset TEXT NOT NULL, condition TEXT NOT NULL)",
    # wanted: number of labels an image should get; NULL if the class is known: everybody may answer.
    # certainty: probability of the label; 0 for all images if they are asked evenly.
    """CREATE TABLE image (
        id TEXT PRIMARY KEY,
        phase TEXT NOT NULL CHECK (phase IN ('lesson', 'test', 'label', 'gold')),
        wanted INTEGER CHECK ((wanted IS NOT NULL) = (phase = 'label')),
        answers INTEGER NOT NULL DEFAULT 0 CHECK (answers >= 0 AND (wanted IS NULL OR answers <= wanted)),
        certainty REAL NOT NULL DEFAULT 0)""",
    "CREATE INDEX open_image ON image (certainty, answers DESC, id) WHERE answers < wanted",
    "CREATE INDEX gold_image ON image (answers, id) WHERE phase = 'gold'",
    # Names of images on pages that name them differently.
    """CREATE TABLE alias (build_id TEXT, image TEXT NOT NULL REFERENCES image (id), name TEXT NOT NULL,
        PRIMARY KEY (build_id, image), UNIQUE (build_id, name)) WITHOUT ROWID""",
    # AUTOINCREMENT: the number of a deleted participant is not used again.
    # seen: last sign of life, in seconds since 1970; infinity for those who finished.
    """CREATE TABLE participant (
        number INTEGER PRIMARY KEY AUTOINCREMENT, secret TEXT NOT NULL UNIQUE,
        build_id TEXT NOT NULL REFERENCES page (build_id), seen REAL NOT NULL)""",
    # About people; it can be deleted without touching answers. identity: a marketplace's id. code: to ask for deletion.
    """CREATE TABLE visitor (
        participant INTEGER PRIMARY KEY REFERENCES participant (number),
        identity TEXT UNIQUE,
        parameters TEXT NOT NULL,
        consent_time TEXT, consent_sha256 TEXT,
        comment TEXT, passed INTEGER CHECK (passed IN (0, 1)), finished TEXT,
        code TEXT NOT NULL UNIQUE)""",
    """CREATE TABLE trial (
        trial_id TEXT PRIMARY KEY CHECK (length(trial_id) = 32 AND trial_id NOT GLOB '*[^0-9a-f]*'),
        participant INTEGER NOT NULL REFERENCES participant (number),
        trial_index INTEGER NOT NULL CHECK (typeof(trial_index) = 'integer' AND trial_index >= 0),
        time_elapsed NUMERIC NOT NULL CHECK (typeof(time_elapsed) IN ('integer', 'real') AND time_elapsed >= 0),
        rt NUMERIC NOT NULL CHECK (typeof(rt) IN ('integer', 'real') AND rt >= 0),
        stimulus TEXT NOT NULL REFERENCES image (id),
        response INTEGER NOT NULL CHECK (typeof(response) = 'integer' AND response >= 0),
        correct INTEGER CHECK (correct IN (0, 1)),
        UNIQUE (participant, stimulus))""",
    "CREATE INDEX trial_of_image ON trial (stimulus)",
    """CREATE TRIGGER count_answer AFTER INSERT ON trial
        BEGIN UPDATE image SET answers = answers + 1 WHERE id = NEW.stimulus; END""",
    """CREATE TRIGGER uncount_answer AFTER DELETE ON trial
        BEGIN UPDATE image SET answers = answers - 1 WHERE id = OLD.stimulus; END""",
    # Until `expires` (seconds since 1970), one label of an image is reserved for a participant.
    """CREATE TABLE lease (
        participant INTEGER PRIMARY KEY REFERENCES participant (number),
        image TEXT NOT NULL REFERENCES image (id),
        expires REAL NOT NULL)""",
    "CREATE INDEX lease_of_image ON lease (image)",
    # Deleting a participant deletes the rest too, in any program: SQLite's shell ignores foreign keys.
    """CREATE TRIGGER forget BEFORE DELETE ON participant BEGIN
        DELETE FROM visitor WHERE participant = OLD.number;
        DELETE FROM lease WHERE participant = OLD.number;
        DELETE FROM trial WHERE participant = OLD.number;
        END""",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# WAL: exports read during writes. fullfsync: `synchronous=FULL` needs it on macOS. secure_delete: overwrites the text.
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON", "foreign_keys = ON", "secure_delete = ON")
# Finds the least certain open image that the person has not answered; of equals, that with the most labels. The index
# gives the order. The second value is the number of people who may see an image at once.
NEXT_IMAGE = """SELECT id FROM image WHERE answers < wanted AND certainty < ?
    AND (SELECT count(*) FROM lease WHERE lease.image = image.id) < min(wanted - answers, ?)
    AND NOT EXISTS (SELECT 1 FROM trial WHERE participant = ? AND stimulus = image.id)
    ORDER BY certainty, answers DESC, id LIMIT 1"""
# Finds a gold image that the person has not answered, if the next label should be to one.
NEXT_GOLD = """SELECT id FROM image WHERE phase = 'gold'
    AND (SELECT count(*) + 1 FROM trial JOIN image AS labeled ON labeled.id = stimulus
        WHERE participant = ?1 AND labeled.phase IN ('label', 'gold')) % ?2 = 0
    AND NOT EXISTS (SELECT 1 FROM trial WHERE participant = ?1 AND stimulus = image.id)
    ORDER BY answers, id LIMIT 1"""
HAS_ROOM = """SELECT wanted IS NULL OR wanted > answers
        + (SELECT count(*) FROM lease WHERE image = id AND participant <> ? AND expires > ? AND expires <= ?)
    FROM image WHERE id = ?"""
AGREE = """UPDATE visitor SET consent_time = coalesce(consent_time, ?), consent_sha256 = coalesce(consent_sha256, ?)
    WHERE participant = ?"""
FINISH = """UPDATE visitor SET comment = coalesce(nullif(?, ''), comment), passed = coalesce(passed, ?),
    finished = coalesce(finished, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) WHERE participant = ?"""

LOCK_TIMEOUT = 4.0  # seconds to wait for another program
NOT_NEEDED = "this image has its labels already"  # course.js knows this reason: nothing is lost

# Fields of a trial, with jsPsych's names, in the order of exports. `time_elapsed` (since the person began, without the
# time in which the page was closed) and `rt` (since the image appeared) are milliseconds; only lessons have `correct`.
FIELDS = tuple("trial_id trial_index trial_type phase time_elapsed rt stimulus response correct build_id".split())
SECRET_ID = re.compile("[0-9a-f]{32}")
IDENTITIES = ("PROLIFIC_PID", "workerId")  # parameters with a person's id; placeholders that nobody filled in are not
LONGEST = 1e12  # milliseconds, 31 years: people may come back to an open page

Fields = Mapping[str, str] | None
REMEDIES = {
    sqlite3.SQLITE_BUSY: "Another program holds it; close it (database browser, backup, second server) and try again.",
    sqlite3.SQLITE_CORRUPT: "Keep a copy, then restore a backup or run `sqlite3 FILE .recover` (docs/people.md).",
}
REMEDY = "Check --out and the disk, and that you may write to the file and its folder."


class DatabaseTrouble(InputError):
    """The answers database cannot be used. `code` is SQLite's primary result code."""

    def __init__(self, path: Path, problem: object, code: int):
        self.code = code
        super().__init__(f"{path} cannot be used: {problem}. {REMEDIES.get(code, REMEDY)}")


class UnknownParticipant(Exception):
    """Nobody joined under this id."""


def is_secret_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and SECRET_ID.fullmatch(value) is not None


def is_time(value: object) -> TypeGuard[int | float]:
    """True for a number of milliseconds in 0 .. `LONGEST`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def refusal(trial: dict, key: Key) -> str:
    """Returns the reason to refuse a trial, or "". The reason repeats nothing that was sent."""
    lesson, classes = trial.get("phase") == "lesson", len(key.classes)
    expected = [name for name in FIELDS if lesson or name != "correct"]
    if set(trial) != set(expected):
        return f"a trial of this phase has exactly the fields {', '.join(expected)}"
    stimulus, index, response = trial["stimulus"], trial["trial_index"], trial["response"]
    image = key.images.get(stimulus) if isinstance(stimulus, str) else None
    is_class = type(response) is int and 0 <= response < classes
    right = image is not None and response == image.label
    rules = (
        ("trial_id", is_secret_id(trial["trial_id"]), "must be 32 hexadecimal digits"),
        ("trial_index", type(index) is int and 0 <= index <= 1_000_000, "must be a whole number from 0"),
        ("trial_type", trial["trial_type"] == trial["phase"], "must be the phase"),
        ("time_elapsed", is_time(trial["time_elapsed"]), "must be a number of milliseconds from 0"),
        ("rt", is_time(trial["rt"]), "must be a number of milliseconds from 0"),
        ("stimulus", image is not None and image.part == trial["phase"], "must be an image of this phase"),
        ("response", is_class, f"must be a class, 0 .. {classes - 1}"),
        ("build_id", trial["build_id"] == key.build_id, "must be that of the page; reload it"),
        ("correct", not lesson or trial["correct"] is right, "must say if the response is right"),
    )
    return next((f"{name} {demand}" for name, valid, demand in rules if not valid), "")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an SQLite error about the file `path` into a DatabaseTrouble. Errors of our own statements pass through."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without the extended part
        raise DatabaseTrouble(path, error, code) from error


def connect(path: Path) -> sqlite3.Connection:
    """Opens a connection without implicit transactions. The path is absolute, as SQLite reads `file:...` as a URI."""
    return sqlite3.connect(path.absolute(), timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)


def read_study(database: sqlite3.Connection, path: Path) -> list[str]:
    """Checks a database; returns the build ids of its pages, sorted; [] if it is empty.

    Raises InputError if it belongs to another program or version, and DatabaseTrouble if a page is damaged.
    """
    if not _value(database, "SELECT count(*) FROM sqlite_master"):
        return []
    version = _value(database, "PRAGMA user_version")
    if version != SCHEMA_VERSION:
        problem = f"{path} is not an answers database of this version (schema {version}, expected {SCHEMA_VERSION})"
        raise InputError(f"{problem}. Check --out, or use the version of this program that wrote it.")
    if _value(database, "PRAGMA quick_check(1)") != "ok":
        raise DatabaseTrouble(path, "a page of the file is damaged", sqlite3.SQLITE_CORRUPT)
    return [row[0] for row in database.execute("SELECT build_id FROM page ORDER BY build_id")]


@contextlib.contextmanager
def existing(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the database of a study that a server may use at the same time. Raises InputError if there is none."""
    if not path.is_file():
        raise InputError(f"{path} not found: no answers were collected there. Check --out.")
    with explained(path), contextlib.closing(connect(path)) as database:
        if not read_study(database, path):
            raise InputError(f"{path} is empty: no study was started there. Check --out.")
        yield database


def read_trials(database: sqlite3.Connection, where: str = "TRUE", *values: object) -> dict[int, list[dict]]:
    """Returns trials by participant, each as the page sent it."""
    part = "replace(phase, 'gold', 'label')"
    query = f"""SELECT participant, trial_id, trial_index, {part}, {part}, time_elapsed, rt, coalesce(name, stimulus),
    response, correct, participant.build_id FROM trial JOIN image ON id = stimulus
    JOIN participant ON number = participant LEFT JOIN alias AS own
    ON image = stimulus AND own.build_id = participant.build_id WHERE {where} ORDER BY 1, 3, trial.rowid"""
    people = defaultdict[int, list[dict]](list)
    for person, *row in database.execute(query, values):
        trial = {name: value for name, value in zip(FIELDS, row, strict=True) if value is not None}
        people[person].append(trial | ({"correct": bool(trial["correct"])} if "correct" in trial else {}))
    return people


def delete_person(path: Path, code: str) -> str:
    """Deletes everything about the person with a deletion code. Returns a sentence that says what was deleted."""
    with existing(path) as database:
        database.execute("PRAGMA secure_delete = ON")
        database.execute("BEGIN IMMEDIATE")
        number = _value(database, "SELECT participant FROM visitor WHERE code = ?", code.strip().lower())
        if number is None:
            raise InputError(f"--delete {code}: nobody in {path} has this code. Check it and --out.")
        answers = _value(database, "SELECT count(*) FROM trial WHERE participant = ?", number)
        database.execute("DELETE FROM participant WHERE number = ?", (number,))
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log still contains it
    return f"Deleted p{number:04d}: {answers} answers, parameters and comment. Delete earlier exports and backups too."


class Store:
    """The database of one study. Safe to use from several threads; every method is one transaction.

    The file is created if it is missing, readable for its owner only. If the database is damaged, `damage` contains
    the error, all other methods raise it, and nothing is written. `cfg` are the settings of collect.py. `clock` returns
    seconds since 1970. If `heard` is set, it updates certainties in each transaction that stores answers.

    Raises DatabaseTrouble if the file cannot be used, and InputError if it belongs to other builds or another program,
    or has more labels per image than wanted.
    """

    def __init__(self, path: Path, key: Key, cfg, clock: Callable[[], float] = time.time):
        self.path, self.cfg = path, cfg
        self._conditions = {page.build_id: page.condition for page in key.pages}
        self.heard: Callable[[sqlite3.Connection], None] | None = None
        self.damage: DatabaseTrouble | None = None
        self._clock, self._lock = clock, threading.Lock()
        path.touch(mode=0o600)
        self._database = connect(path)
        try:
            with explained(path):
                found = read_study(self._database, path)  # before anything is written into another program's database
                for pragma in PRAGMAS:
                    self._database.execute(f"PRAGMA {pragma}")
            with self.transaction() as database:
                self._prepare(database, key, found)
        except DatabaseTrouble as trouble:
            if trouble.code != sqlite3.SQLITE_CORRUPT:
                raise
            self.damage = trouble

    def _prepare(self, database: sqlite3.Connection, key: Key, found: list[str]) -> None:
        """Creates the tables of a new database, or checks the builds of an existing one. Sets the wanted labels."""
        wanted, builds = self.cfg.labels_per_image, sorted(self._conditions)
        if not found:
            for statement in SCHEMA:
                database.execute(statement)
            pages = [(page.build_id, page.dataset, page.condition) for page in key.pages]
            database.executemany("INSERT INTO page VALUES (?, ?, ?)", pages)
            phases = [(name, image.phase) for name, image in key.images.items()]
            rows = [(name, phase, wanted if phase == "label" else None) for name, phase in phases]
            database.executemany("INSERT INTO image (id, phase, wanted) VALUES (?, ?, ?)", rows)
            shared = key.asked()
            names = [(page.build_id, shared[what], name) for page in key.pages for what, name in page.asked().items()]
            database.executemany("INSERT INTO alias VALUES (?, ?, ?)", [row for row in names if row[1] != row[2]])
        elif found != builds:
            was, now = (", ".join(some) for some in (found, builds))
            problem = f"{self.path} contains answers to build {was} of the course page, but the page is build {now}"
            raise InputError(f"{problem}. Export them (--export) and move the file away, or build the old page again.")
        try:
            database.execute("UPDATE image SET wanted = ?, certainty = 0 WHERE phase = 'label'", (wanted,))
        except sqlite3.IntegrityError:
            problem = f"--labels-per-image {wanted} is less than some images have in {self.path}"
            raise InputError(f"{problem}. Raise it.") from None

    def close(self) -> None:
        """Closes the database. Every transaction is on the disk already."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """One transaction, rolled back on any error."""
        with self._lock, explained(self.path):
            if self.damage:
                raise self.damage.with_traceback(None)
            self._database.execute(begin)
            try:
                yield self._database
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def join(self, parameters: Fields = None, consent: Fields = None, build_id: str = "", browser: str = "") -> str:
        """Returns the secret id of a participant; "" if the study is full, or the person has another page.

        `browser` is the id that a browser kept. Without `build_id`, new people get a page with the fewest people.
        """
        secret, given, agreed = secrets.token_hex(16), parameters or {}, consent or {}
        identity = next((given[name] for name in IDENTITIES if re.fullmatch(r"[\w.-]+", given.get(name, ""))), None)
        about = (identity, json.dumps(given), agreed.get("time"), agreed.get("sha256"), secrets.token_hex(6))
        known = "SELECT secret FROM participant LEFT JOIN visitor ON participant = number WHERE "
        known += "identity = ?" if identity else "secret = ?"
        with self.transaction() as database:
            if found := _value(database, known, identity or browser):
                person, page = _person(database, found, self._clock())
                database.execute(AGREE, (agreed.get("time"), agreed.get("sha256"), person))
                return found if build_id in ("", page) else ""
            people = self._people(database)
            if sum(people.values()) >= self.cfg.max_participants:
                return ""
            fewest = [page for page, count in people.items() if count == min(people.values())]
            row = None, secret, build_id or secrets.choice(fewest), self._clock()
            number = database.execute("INSERT INTO participant VALUES (?, ?, ?, ?)", row).lastrowid
            database.execute("INSERT INTO visitor VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL, ?)", (number, *about))
        return secret

    def _people(self, database: sqlite3.Connection) -> dict[str, int]:
        """Returns how many people finished or are active, by page."""
        counts = "SELECT build_id, count(*) FROM participant WHERE seen > ? GROUP BY build_id"
        oldest = self._clock() - self.cfg.silent_seconds if len(self._conditions) > 1 else -math.inf
        found = database.execute(counts, (oldest,)).fetchall()
        return dict.fromkeys(self._conditions, 0) | dict(found)

    def place(self, secret: str) -> tuple[str, list[dict], str]:
        """Returns a person's deletion code, trials so far, and the build id of the page."""
        with self.transaction("BEGIN") as database:
            person, build_id = _person(database, secret)
            code = _value(database, "SELECT code FROM visitor WHERE participant = ?", person)
            return code, read_trials(database, "participant = ?", person)[person], build_id

    def finish(self, secret: str, passed: bool, comment: str) -> tuple[str, bool]:
        """Stores the first end of a person and the last comment. Returns the deletion code and the first `passed`."""
        with self.transaction() as database:
            person, _ = _person(database, secret, math.inf)
            comment = comment.encode(errors="replace").decode()  # SQLite refuses half of a surrogate pair
            database.execute(FINISH, (comment, passed, person))
            found = database.execute("SELECT code, passed FROM visitor WHERE participant = ?", (person,))
            return found.fetchone() or ("", passed)

    def next_image(self, secret: str) -> str | None:
        """Returns the image that a person labels next, reserved for `--lease-seconds`; None if nothing is left.

        It stays the same until it is answered or its lease expires. Answers and leases together never exceed the
        wanted number of labels.
        """
        with self.transaction() as database:
            now = self._clock()  # no request that waits has an earlier time
            person, build_id = _person(database, secret, now)
            # Deleted, not only ignored: a clock that is set back must not revive an expired lease. A clock that was
            # ahead must not reserve labels for longer than a lease lasts.
            latest = now + self.cfg.lease_seconds
            database.execute("DELETE FROM lease WHERE expires <= ? OR expires > ?", (now, latest))
            image = _value(database, "SELECT image FROM lease WHERE participant = ?", person)
            if image is None:
                # By certainty, people see different images while there are enough.
                for most in (1, self.cfg.labels_per_image) if self.heard else (self.cfg.labels_per_image,):
                    image = image or _value(database, NEXT_IMAGE, self.cfg.certainty, most, person)
                image = image and (_value(database, NEXT_GOLD, person, self.cfg.gold_every) or image)
            if image is not None:
                database.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?)", (person, image, latest))
            own = "SELECT name FROM alias WHERE build_id = ? AND image = ?"
            return _value(database, own, build_id, image) or image

    def add_trials(self, secret: str, trials: Mapping[str, dict | str]) -> tuple[list[str], dict[str, str]]:
        """Stores a person's trials in one transaction.

        A trial that is already stored is left unchanged and counts as stored. A label is accepted if its image is
        reserved for this person, or if the image needs more labels than others have given or reserved. `trials`
        contains trials, or the reasons to refuse them, by trial id. Returns the ids of the trials that are stored
        now, and the reasons for the others.
        """
        with self.transaction() as database:
            person = _person(database, secret, self._clock())
            reasons = {name: self._add(database, *person, name, trial) for name, trial in trials.items()}
            if self.heard:
                self.heard(database)
        stored = [name for name, reason in reasons.items() if not reason]
        return stored, {name: reason for name, reason in reasons.items() if reason}

    def _add(self, database: sqlite3.Connection, person: int, build_id: str, trial_id: str, trial: dict | str) -> str:
        """Stores one trial; returns the reason if it cannot be stored, else ""."""
        owner = _value(database, "SELECT participant FROM trial WHERE trial_id = ?", trial_id)
        if owner is not None:
            return "" if owner == person else "trial_id is taken; draw another"
        if isinstance(trial, str):
            return trial
        if trial["build_id"] != build_id:
            return "build_id must be that of this person's page"
        shared = "SELECT image FROM alias WHERE build_id = ? AND name = ?"
        trial = trial | {"stimulus": _value(database, shared, build_id, trial["stimulus"]) or trial["stimulus"]}
        if _value(database, "SELECT 1 FROM trial WHERE participant = ? AND stimulus = ?", person, trial["stimulus"]):
            return "this person answered this image already"
        now = self._clock()
        room = _value(database, HAS_ROOM, person, now, now + self.cfg.lease_seconds, trial["stimulus"])
        database.execute("DELETE FROM lease WHERE participant = ? AND image = ?", (person, trial["stimulus"]))
        if not room:
            return NOT_NEEDED
        database.execute(
            "INSERT INTO trial VALUES"
            " (:trial_id, :person, :trial_index, :time_elapsed, :rt, :stimulus, :response, :correct)",
            {"correct": None, **trial, "person": person},
        )
        return ""

    def progress(self) -> dict[str, int]:
        """Returns the state of the study: each number with its name."""
        queries = {
            "people who opened the course": "SELECT count(*) FROM participant",
            "people who answered": "SELECT count(DISTINCT participant) FROM trial",
            "people who finished": "SELECT count(*) FROM visitor WHERE passed",
            "people who were screened out": "SELECT count(*) FROM visitor WHERE NOT passed",
            **{f"answers, {name}": f"SELECT total(answers) FROM image WHERE phase = '{name}'" for name in KEY_PHASES},
            "images to label": "SELECT count(*) FROM image WHERE phase = 'label'",
            "images that are certain or have all their labels": "SELECT count(*) FROM image"
            f" WHERE phase = 'label' AND (answers = wanted OR certainty >= {self.cfg.certainty})",
        }
        with self.transaction("BEGIN") as database:
            people = {self._conditions[page]: count for page, count in self._people(database).items()}
            numbers = {name: int(_value(database, query)) for name, query in queries.items()}
        return numbers | {f"people in {condition}": count for condition, count in people.items() if condition}


def _person(database: sqlite3.Connection, secret: str, seen: float = 0) -> tuple[int, str]:
    """Returns the number and the page of a participant, who gave a sign of life at `seen`, if not 0."""
    found = database.execute("SELECT number, build_id FROM participant WHERE secret = ?", (secret,)).fetchone()
    if found is None:
        raise UnknownParticipant
    if seen:
        database.execute("UPDATE participant SET seen = max(seen, ?) WHERE number = ?", (seen, found[0]))
    return found


def _value(database: sqlite3.Connection, query: str, *values: object):
    """The first value of the first row that `query` finds, or None."""
    row = database.execute(query, values).fetchone()
    return None if row is None else row[0]
