"""The answers on disk: an SQLite database that keeps every acknowledged answer, once, and knows who is to label what.

What must always be true is written into the schema, so that no fault in this program and no second process can break it. Answers
are committed with `synchronous=FULL` before they are acknowledged: they survive a killed process and a power cut.

Images that have most labels already are handed out first: a study that ends early then leaves whole images, each with the labels
that majority and Dawid-Skene need, rather than one label on everything, and agreement can be watched from the first hour on.
"""

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.data.outputs import Layout
from utils.people.database import (
    CANNOT_OPEN,
    DAMAGED,
    EMPTY,
    LOCKED,
    MOVED,
    DatabaseTrouble,
    Whereabouts,
    check_file,
    check_whole,
    connect,
    explained,
    study_of,
    whereabouts,
)
from utils.people.schema import SCHEMA
from utils.people.trials import Trial

# Walks an index from the images with most labels to those with none, and stops at the first that has room and is new to the person.
NEXT_IMAGE = """SELECT id FROM image WHERE answers < wanted
    AND answers + (SELECT count(*) FROM lease WHERE lease.image = image.id) < wanted
    AND NOT EXISTS (SELECT 1 FROM trial WHERE participant = ? AND stimulus = image.id)
    ORDER BY answers DESC, id LIMIT 1"""
# WAL: exports read while answers are written. fullfsync: what `synchronous=FULL` needs on macOS.
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON", "foreign_keys = ON")
TURN_TIMEOUT = 5.0  # seconds that a request waits for its turn
NOT_NEEDED = "this image has its labels already"  # the page knows this reason: nothing is lost by it


class UnknownParticipant(Exception):
    """Nobody joined under this id."""


class StudyFull(Exception):
    """As many people as the study takes have joined."""


@dataclass(frozen=True)
class Study:
    """What is collected.

    Attributes:
        build_id: the build of the page that people see.
        dataset: the dataset's name.
        phases: the phase of each image, by its id.
        labels_per_image: K; each image of the labelling part gets that many labels, from as many people.
        lease_seconds: how long an image stays reserved for the person who sees it.
        max_participants: how many may join.
    """

    build_id: str
    dataset: str
    phases: Mapping[str, str]
    labels_per_image: int
    lease_seconds: float
    max_participants: int


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        joined: people who opened the course.
        answered: people of whom there is an answer.
        answers: number of answers per phase.
        images_by_labels: at index n, how many images of the labelling part have n labels (0 .. K).
        agreement: share of pairs of labels of one image that agree; None while no image has two.
    """

    joined: int
    answered: int
    answers: dict[str, int]
    images_by_labels: list[int]
    agreement: float | None


class Store:
    """The database of one study. Safe to use from several threads; every method is one transaction."""

    def __init__(self, path: str | Path, study: Study, clock: Callable[[], float] = time.time):
        """Opens the database at `path`, or makes it, readable for its owner alone. An empty file is taken for one that is to be made.

        Of a damaged database, `damage` then says what is the matter, and every other method raises: nothing more is written to it.

        Args:
            path: the file.
            study: what is collected; its build must be the one that the database was made for.
            clock: seconds since 1970.

        Raises:
            DatabaseTrouble: the file is no such database, is held by another program, or cannot be written to.
            InputError: it belongs to another build, or holds more labels per image than are wanted.
        """
        self.path = Path(path)
        self.study, self._clock, self._lock = study, clock, threading.Lock()
        self.damage: DatabaseTrouble | None = None
        self._whereabouts: Whereabouts | None = None
        check_file(self.path)
        try:
            self.path.touch(mode=0o600)
        except OSError as error:
            raise DatabaseTrouble(CANNOT_OPEN, self.path, error.strerror) from error
        self._database = connect(self.path)
        try:
            self._open()
        except BaseException:
            if not self.damage:
                self.close()
                raise

    def _open(self) -> None:
        """Looks before anything is written: a database of another program stays as it is."""
        with self._noting_damage(), explained(self.path):
            try:
                study_of(self._database, self.path)
                check_whole(self._database, self.path)
            except DatabaseTrouble as trouble:
                if trouble.state is not EMPTY:
                    raise
            for pragma in PRAGMAS:
                self._database.execute(f"PRAGMA {pragma}")
            with self._transaction() as database:
                self._prepare(database)
            self._whereabouts = whereabouts(self.path)

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Makes the tables of an empty database; checks those of another; sets the wanted number of labels."""
        study = self.study
        if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in SCHEMA:
                database.execute(statement)
            database.execute("INSERT INTO study VALUES (1, ?, ?)", (study.build_id, study.dataset))
            rows = [
                (name, phase, study.labels_per_image if phase == "label" else None)
                for name, phase in study.phases.items()
            ]
            database.executemany("INSERT INTO image (id, phase, wanted) VALUES (?, ?, ?)", rows)
        build_id = study_of(database, self.path)[0]
        if build_id != study.build_id:
            raise InputError(
                f"{self.path} holds answers to build {build_id} of the course page, but {Layout(self.path.parent).course_page} is build "
                f"{study.build_id}; export them (--export) and move the database away, or build the old page again."
            )
        try:
            wanted = study.labels_per_image
            database.execute("UPDATE image SET wanted = ? WHERE phase = 'label' AND wanted <> ?", (wanted, wanted))
        except sqlite3.IntegrityError:
            raise InputError(
                f"--labels-per-image {wanted} is less than some images have in {self.path}; choose more."
            ) from None

    def close(self) -> None:
        """Closes the database. Nothing waits to be written: every transaction is on the disk when it ends."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """One transaction, begun with the right to write; undone if anything in it raises."""
        with self._turn(), self._noting_damage(), explained(self.path):
            self._check()
            self._database.execute(begin)
            try:
                yield self._database
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One thread after the other. While another program holds the database, nobody waits longer than the page does."""
        if not self._lock.acquire(timeout=TURN_TIMEOUT):
            raise DatabaseTrouble(LOCKED, self.path, f"other requests have waited for it for {TURN_TIMEOUT:g} seconds")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _noting_damage(self) -> Iterator[None]:
        """Remembers that the database is damaged, so that nothing more is entrusted to it."""
        try:
            yield
        except DatabaseTrouble as trouble:
            if trouble.state is DAMAGED:
                self.damage = self.damage or trouble
            raise

    def _check(self) -> None:
        """What SQLite does not notice by itself: answers to a file that has lost its name would be lost with it."""
        if self.damage:
            raise DatabaseTrouble(DAMAGED, self.path, self.damage.detail)
        if self._whereabouts is not None and self._whereabouts != whereabouts(self.path):
            raise DatabaseTrouble(MOVED, self.path)

    def join(self) -> str:
        """Takes in a new person.

        Returns:
            The person's id, a secret between this person's page and the server.

        Raises:
            StudyFull: as many as may have joined.
        """
        secret = secrets.token_hex(16)
        with self._transaction() as database:
            if database.execute("SELECT count(*) FROM participant").fetchone()[0] >= self.study.max_participants:
                raise StudyFull
            database.execute("INSERT INTO participant (secret) VALUES (?)", (secret,))
        return secret

    def next_image(self, secret: str) -> str | None:
        """The image that a person is to label next: the same one until it is answered or its lease has expired.

        Answers and leases that hold together never exceed the wanted number of labels.

        Returns:
            The image's id, reserved for this person from now on for `lease_seconds`; None where nothing is left for this person.

        Raises:
            UnknownParticipant: nobody joined under this id.
        """
        now = self._clock()
        with self._transaction() as database:
            person = _number_of(database, secret)
            # Deleted, not only ignored: a clock that is set back must not bring a lease to life whose place was given away. Nor may one
            # that was ahead for a moment reserve places for longer than a lease lasts.
            span = {"now": now, "lease_seconds": self.study.lease_seconds}
            database.execute("DELETE FROM lease WHERE expires <= :now OR expires > :now + :lease_seconds", span)
            image = _value(database, "SELECT image FROM lease WHERE participant = ?", person)
            if image is None:
                image = _value(database, NEXT_IMAGE, person)
            if image is not None:
                expires = now + self.study.lease_seconds
                database.execute(
                    "INSERT OR REPLACE INTO lease (participant, image, expires) VALUES (?, ?, ?)",
                    (person, image, expires),
                )
        return image

    def add_trials(self, secret: str, trials: Mapping[str, Trial | str]) -> tuple[list[str], dict[str, str]]:
        """Stores a person's trials, all in one transaction.

        A trial that is stored already stays as it is and counts as stored. A label counts if its place is reserved for this
        person, or, without a lease, while there is room beside the labels and the leases of others.

        Args:
            secret: the person's id.
            trials: by trial id the trial, or the reason why what was sent under that id cannot be taken.

        Returns:
            The ids of the trials that are stored now, and the reasons of those that are not, by their ids.

        Raises:
            UnknownParticipant: nobody joined under this id.
        """
        now = self._clock()
        stored, refused = [], {}
        with self._transaction() as database:
            person = _number_of(database, secret)
            for trial_id, trial in trials.items():
                reason = _add(database, person, trial_id, trial, now, now + self.study.lease_seconds)
                if reason is None:
                    stored.append(trial_id)
                else:
                    refused[trial_id] = reason
        return stored, refused

    def progress(self) -> Progress:
        """How far the study is."""
        with self._transaction("BEGIN") as database:
            joined, answered = (
                database.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
                for what in ("participant", "(SELECT DISTINCT participant FROM trial)")
            )
            answers = dict(database.execute("SELECT phase, sum(answers) FROM image GROUP BY phase"))
            counts = dict(
                database.execute("SELECT answers, count(*) FROM image WHERE phase = 'label' GROUP BY answers")
            )
            pairs = database.execute("SELECT sum(answers * (answers - 1)) FROM image WHERE phase = 'label'").fetchone()[
                0
            ]
            same = database.execute(
                """SELECT sum(n * (n - 1)) FROM (SELECT count(*) AS n FROM trial JOIN image ON image.id = stimulus
                   WHERE phase = 'label' GROUP BY stimulus, response)"""
            ).fetchone()[0]
        images_by_labels = [counts.get(number, 0) for number in range(self.study.labels_per_image + 1)]
        return Progress(joined, answered, answers, images_by_labels, same / pairs if pairs else None)


def _add(
    database: sqlite3.Connection, person: int, trial_id: str, trial: Trial | str, now: float, latest: float
) -> str | None:
    """Stores one trial; returns the reason where it cannot be. Leases hold that expire after `now`, and not after `latest`."""
    owner = _value(database, "SELECT participant FROM trial WHERE trial_id = ?", trial_id)
    if owner is not None:
        return None if owner == person else "trial_id is taken; draw another"
    if isinstance(trial, str):
        return trial
    if _value(database, "SELECT 1 FROM trial WHERE participant = ? AND stimulus = ?", person, trial.stimulus):
        return "this person answered this image already"
    room = _value(
        database,
        """SELECT wanted IS NULL OR wanted > answers
             + (SELECT count(*) FROM lease WHERE image = id AND participant <> ? AND expires > ? AND expires <= ?)
           FROM image WHERE id = ?""",
        person,
        now,
        latest,
        trial.stimulus,
    )
    database.execute("DELETE FROM lease WHERE participant = ? AND image = ?", (person, trial.stimulus))
    if not room:
        return NOT_NEEDED
    database.execute(
        "INSERT INTO trial VALUES (:trial_id, :person, :trial_index, :time_elapsed, :rt, :stimulus, :response, :correct)",
        {**vars(trial), "person": person},
    )
    return None


def _number_of(database: sqlite3.Connection, secret: str) -> int:
    """The person's number."""
    number = _value(database, "SELECT number FROM participant WHERE secret = ?", secret)
    if number is None:
        raise UnknownParticipant
    return number


def _value(database: sqlite3.Connection, query: str, *values: object):
    """The first value of the first row that `query` finds, or None."""
    row = database.execute(query, values).fetchone()
    return None if row is None else row[0]
