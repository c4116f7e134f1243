"""Answers as files: JSON and CSV of everything in a database of answers, in pieces, so that any number of them fits in memory."""

import contextlib
import csv
import io
import itertools
import json
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError, RunError
from utils.base.files import replacing
from utils.people.built_page import BuiltPage
from utils.people.database import (
    CANNOT_OPEN,
    DAMAGED,
    READ_ONLY,
    UNREADABLE,
    DatabaseTrouble,
    beside,
    check_file,
    check_whole,
    connect,
    explained,
    study_of,
)
from utils.people.salvage import Salvaged, salvage
from utils.people.trials import FIELDS

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
QUERY = """SELECT participant, trial_id, trial_index, phase AS trial_type, phase, time_elapsed, rt, stimulus, response, correct
    FROM trial JOIN image ON image.id = stimulus ORDER BY participant, trial_index, trial.rowid"""

DESPITE_DAMAGE = (
    "writable_schema = ON",
)  # lets SQLite read a file that was cut short; nothing is written (query_only)


@dataclass(frozen=True)
class Contents:
    """What an export holds.

    Attributes:
        build_id: the build of the page that was answered.
        dataset: the dataset's name.
        rows: the answers as `QUERY` gives them, those of a person one after the other.
    """

    build_id: str
    dataset: str
    rows: Iterable[tuple]

    def people(self) -> Iterator[tuple[str, list[dict]]]:
        """Everybody's name and trials, in the order in which they were answered."""
        for number, rows in itertools.groupby(self.rows, key=lambda row: row[0]):
            yield f"p{number:04d}", [_trial(row, self.build_id) for row in rows]


@contextlib.contextmanager
def reading(path: Path, pragmas: tuple[str, ...] = ()) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, in one transaction, beside a server that goes on writing.

    SQLite reads a database of this kind only where it may write files beside it. Where it may not (a folder that is read-only), a
    private copy is read.

    Args:
        path: the database.
        pragmas: further settings of the connection.

    Raises:
        DatabaseTrouble: as in `explained`; InputError: there is no database.
    """
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: no answers were collected there; correct --out.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(explained(path))
        database = stack.enter_context(contextlib.closing(connect(path)))
        try:
            _begin(database, path, pragmas)
        except DatabaseTrouble as trouble:
            if trouble.state not in (CANNOT_OPEN, READ_ONLY):
                raise
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="answers.")))
            database = stack.enter_context(contextlib.closing(connect(_copy(path, folder))))
            _begin(database, path, pragmas)
        yield database


def _begin(database: sqlite3.Connection, path: Path, pragmas: tuple[str, ...]) -> None:
    """Begins to read: from now on all that is read is of one moment."""
    with explained(path):
        for pragma in ("query_only = ON", *pragmas):
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _copy(path: Path, folder: Path) -> Path:
    """Copies a database, and the log that belongs to it, into `folder`."""
    try:
        shutil.copyfile(path, folder / path.name)
        if beside(path, "-wal").exists():
            shutil.copyfile(beside(path, "-wal"), folder / f"{path.name}-wal")
    except OSError as error:
        raise DatabaseTrouble(CANNOT_OPEN, path, error.strerror) from error
    return folder / path.name


@contextlib.contextmanager
def _contents(path: Path) -> Iterator[Contents]:
    """All answers, from a database that is whole."""
    with reading(path) as database:
        study = study_of(database, path)
        check_whole(database, path)
        yield Contents(*study, database.execute(QUERY))


def _trial(row: tuple, build_id: str) -> dict:
    """One row of the query as a trial; people's secret ids are no part of it."""
    *answer, correct = row[1:]
    values = (*answer, None if correct is None else bool(correct), build_id)
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}


def _json_pieces(contents: Contents) -> Iterator[str]:
    """The export as JSON text: build id, dataset, and the people with their trials, one person a line."""
    yield f'{{"build_id": {json.dumps(contents.build_id)}, "dataset": {json.dumps(contents.dataset)}, "participants": ['
    for number, (name, trials) in enumerate(contents.people()):
        yield (",\n" if number else "\n") + json.dumps({"participant": name, "trials": trials})
    yield "\n]}\n"


def _csv_pieces(contents: Contents) -> Iterator[str]:
    """The export as CSV text: one trial a row, its fields in the order of `Trial`, and the person in the first column."""
    yield csv_line(("participant", *FIELDS))
    for name, trials in contents.people():
        for trial in trials:
            yield csv_line((name, *(trial.get(field) for field in FIELDS)))


def csv_line(values: tuple) -> str:
    """One row of CSV. None is empty, truth is `true` or `false`, and no text can be taken for a formula by a spreadsheet."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value


FORMATS: dict[str, Callable[[Contents], Iterator[str]]] = {".json": _json_pieces, ".csv": _csv_pieces}


def pieces(database: Path, suffix: str) -> Iterator[str]:
    """All answers as text in the format of `suffix`.

    Raises:
        DatabaseTrouble: the database cannot be read, or is damaged; maybe after some text already.
    """
    with _contents(database) as contents:
        yield from FORMATS[suffix](contents)


def write_export(database: Path, target: Path, page: BuiltPage | None) -> None:
    """Writes all answers to `target`, whole or not at all, readable for its owner alone as the database is; its suffix says how.

    Of a damaged database, what can be read is written.

    Args:
        database: the answers' database.
        target: the file to write.
        page: the page that was answered, if it is still there: it knows what may be unreadable in a damaged database.

    Raises:
        InputError: the suffix is unknown, the target cannot be written, or there is no database that can be read.
        RunError: the database is damaged; the message says how many answers were read and written, and how many were not.
    """
    if target.suffix not in FORMATS:
        raise InputError(f"--export {target} must end with {' or '.join(FORMATS)}; correct it.")
    if not target.parent.is_dir():
        raise InputError(
            f"--export {target}: the folder {target.parent} does not exist; make it, or correct the setting."
        )
    try:
        _write_privately(target, pieces(database, target.suffix))
    except DatabaseTrouble as trouble:
        if trouble.state is not DAMAGED:
            raise
        saved = _salvaged(database, page, trouble)
        _write_privately(target, FORMATS[target.suffix](Contents(saved.build_id, saved.dataset, saved.rows)))
        raise RunError(
            f"{database} is damaged ({trouble.detail}): {len(saved.rows)} answers could be read and are in {target}, {saved.lost} not; "
            f"keep a copy of it and of {database.name}-wal and {database.name}-shm beside it, and restore a backup if there is one."
        ) from None


def _salvaged(database: Path, page: BuiltPage | None, trouble: DatabaseTrouble) -> Salvaged:
    """What can be read of a database that was found damaged."""
    try:
        with reading(database, DESPITE_DAMAGE) as source:
            return salvage(source, database, page, trouble)
    except DatabaseTrouble as again:
        state = UNREADABLE if again.state is DAMAGED else again.state  # not even its tables can be found
        raise DatabaseTrouble(state, database, again.detail) from None


def _write_privately(target: Path, text: Iterable[str]) -> None:
    """Writes `text` to `target`, whole or not at all, for its owner alone."""
    try:
        if target.is_dir():
            raise InputError(f"--export {target} is a folder; give the name of a file.")
        with (
            replacing(target) as temporary,
            open(temporary, "w", encoding="utf-8", newline="", opener=_private) as file,
        ):
            file.writelines(text)
    except OSError as error:
        raise InputError(
            f"--export {target} cannot be written ({error.strerror}); make room there, or choose another file."
        ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
