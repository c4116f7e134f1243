"""The file that answers are kept in, and every bad state it can be in: one table from SQLite's complaint to a sentence and a remedy.

Whoever asks the database anything does so inside `explained`, so that a state reads the same at the start, in the server, in an export
and at the end, and never shows a traceback.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.people.schema import SCHEMA_VERSION, TABLES

LOCK_TIMEOUT = (
    4.0  # seconds to wait for another program; with the wait for a turn, less than the page waits for an answer (10)
)
BESIDE = ("-wal", "-journal")  # endings of the files in which SQLite keeps what is not in the database yet

Whereabouts = tuple[tuple[int, int] | None, ...]  # device and number of each file; None where there is none


@dataclass(frozen=True)
class State:
    """A bad state of the file.

    Attributes:
        what: what is the matter; goes on after the file's name.
        remedy: what to do; `{name}` stands for the file's name.
        codes: SQLite's result codes that tell this state: extended ones, or primary ones (below 256).
        words: parts of SQLite's messages that tell it; Python 3.10 does not hand the codes on.
    """

    what: str
    remedy: str
    codes: tuple[int, ...] = ()
    words: tuple[str, ...] = ()


LOCKED = State(
    "cannot be used now: another program holds it",
    "close the program that has it open (a database browser with unsaved changes, a backup, a second server), then try again, "
    "and leave the file where it is",
    (5, 6, 15),
    ("is locked", "locking protocol"),
)
DAMAGED = State(
    "is damaged",
    "stop the server, keep a copy of {name} and of the files {name}-wal and {name}-shm beside it, export what can still be read "
    "(collect_labels.py --export), and restore a backup, or move it away to begin anew",
    (11,),
    ("malformed", "Could not decode"),
)
UNREADABLE = State(
    "is damaged, and no answer in it can be read",
    "keep a copy of {name} and of the files {name}-wal and {name}-shm beside it, and restore a backup",
)
NO_DATABASE = State(
    "is no SQLite database",
    "restore a backup if it was the answers' database; otherwise give that file another name, or correct --out",
    (26,),
    ("is not a database", "is encrypted"),
)
FULL = State(
    "cannot be written to: the disk is full",
    "make room on the disk and try again; what was stored is safe",
    (13,),
    ("is full",),
)
MOVED = State(
    "was moved, replaced or removed while it was in use, or the files {name}-wal and {name}-shm beside it were",
    "stop the server with Ctrl-C, put the database back under its name, and start again",
    (1032,),  # a kind of READ_ONLY to SQLite, hence before it
)
READ_ONLY = State(
    "may be read but not written to",
    "give yourself the right to write to the file and its folder, or correct --out; --export works without",
    (8,),
    ("readonly database",),
)
CANNOT_OPEN = State(
    "cannot be opened",
    "see that it is a file that you may read and write, in a folder that you may write to, or correct --out",
    (3, 14, 23),
    ("unable to open", "permission denied", "not authorized"),
)
FAULTY_DISK = State(
    "cannot be read or written: the disk, or the network folder that it lies on, reports a fault",
    "copy the whole folder to a sound disk of this computer, and go on there",
    (10,),
    ("disk I/O error",),
)
FOREIGN = State(
    "is a database of another program",
    "leave it as it is: correct --out, or give that database another name",
    (17,),
    ("no such table", "no such column", "has no column"),
)
EMPTY = State(
    "is empty: it holds no answers and no study",
    "start the server without --export, which begins a study in it, or restore a backup, or correct --out",
)
EMPTIED = State(
    "is empty, but a file beside it, {name}-wal or {name}-journal, still holds data, which opening it would destroy",
    "keep a copy of both files and restore a backup, or move both away to begin anew",
)
FOLDER = State("is a folder, not a file", "give it another name, or correct --out")
OTHER_SCHEMA = State(
    "is of another version of this program", "use the version that made it, and leave the file where it is"
)
OTHER = State("cannot be used", "try again; if it stays so, keep a copy of it and restore a backup")

TOLD_BY_SQLITE = (LOCKED, DAMAGED, NO_DATABASE, FULL, MOVED, READ_ONLY, CANNOT_OPEN, FAULTY_DISK, FOREIGN)
OUR_FAULT = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)  # say nothing of the file


class DatabaseTrouble(InputError):
    """The answers' database cannot be used.

    Attributes:
        state: the state that it is in.
        detail: what SQLite, or the system, said.
    """

    def __init__(self, state: State, path: Path, detail: object = ""):
        self.state, self.detail = state, str(detail)
        told = f" ({detail})" if self.detail else ""
        super().__init__(f"{path} {state.what}{told}; {state.remedy}.".replace("{name}", Path(path).name))


def state_of(error: sqlite3.Error) -> State:
    """The state of the table that an SQLite error tells: by its code, or by its message where Python does not know the code."""
    code = getattr(error, "sqlite_errorcode", None)
    for state in TOLD_BY_SQLITE:
        if code is not None and (code in state.codes or code & 0xFF in state.codes):
            return state
    # SQLITE_ERROR (1) stands for too much to tell anything, and what Python itself notices has no code.
    if code in (None, 1):
        return next((state for state in TOLD_BY_SQLITE if any(word in str(error) for word in state.words)), OTHER)
    return OTHER


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite says of the database at `path` into a sentence.

    Raises:
        DatabaseTrouble: in place of an SQLite error that tells of the file; errors of our own statements stay what they are.
    """
    try:
        yield
    except OUR_FAULT:
        raise
    except sqlite3.Error as error:
        raise DatabaseTrouble(state_of(error), path, error) from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the database at `path` whose transactions begin and end where the caller says so.

    The path is made absolute, because SQLite may take a name that begins with `file:` for an address.
    """
    with explained(path):
        return sqlite3.connect(
            Path(path).absolute(), timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )


def check_file(path: Path) -> None:
    """Looks at the file before SQLite does, which would follow up an empty file by removing what lies beside it.

    Raises:
        DatabaseTrouble: it is a folder, or it is empty while a file beside it holds data.
    """
    try:
        if path.is_dir():
            raise DatabaseTrouble(FOLDER, path)
        emptied = path.exists() and path.stat().st_size == 0 and any(_size(beside(path, ending)) for ending in BESIDE)
    except OSError as error:
        raise DatabaseTrouble(CANNOT_OPEN, path, error.strerror) from error
    if emptied:
        raise DatabaseTrouble(EMPTIED, path)


def beside(path: Path, ending: str) -> Path:
    """A file that SQLite keeps beside the database: where a link leads to, not where it stands."""
    return Path(os.path.realpath(path) + ending)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def whereabouts(path: Path) -> Whereabouts:
    """Tells which files now stand under the name of the database and of its log; differs once one was replaced or removed."""
    found: list[tuple[int, int] | None] = []
    for name in (path, beside(path, "-wal")):
        try:
            entry = os.stat(name)
            found.append((entry.st_dev, entry.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def study_of(database: sqlite3.Connection, path: Path) -> tuple[str, str]:
    """The build id and the dataset's name that a database of answers is for.

    Raises:
        DatabaseTrouble: it is empty, of another program or of another version of this one.
    """
    with explained(path):
        named = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in named if not name.startswith("sqlite_")}
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if not tables:
            raise DatabaseTrouble(EMPTY, path)
        if not tables >= {"study", "trial"} or (version == SCHEMA_VERSION and not tables >= TABLES):
            raise DatabaseTrouble(FOREIGN, path, f"its tables: {', '.join(sorted(tables)[:5])}")
        if version != SCHEMA_VERSION:
            raise DatabaseTrouble(OTHER_SCHEMA, path, f"it has schema version {version}, this program {SCHEMA_VERSION}")
        study = database.execute("SELECT build_id, dataset FROM study").fetchone()
    if study is None:
        raise DatabaseTrouble(DAMAGED, path, "its study is missing")
    return study


def check_whole(database: sqlite3.Connection, path: Path) -> None:
    """SQLite's quick check of every page.

    Raises:
        DatabaseTrouble: a page is damaged.
    """
    with explained(path):
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DatabaseTrouble(DAMAGED, path, " ".join(found.replace("*** in database main ***", "").split()))
