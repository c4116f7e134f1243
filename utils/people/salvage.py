"""What can still be read of a damaged database of answers: every answer that is on a sound page, and how many are not.

SQLite finds a row by way of other pages. Where these are damaged, the row's own page may still be sound: such pages are read here
without SQLite (https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1), and what is on them counts only if an index tells that
it is there, since pages out of use keep what was deleted from them.
"""

import contextlib
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.people.built_page import BuiltPage
from utils.people.database import UNREADABLE, DatabaseTrouble

COLUMNS = "trial_id, participant, trial_index, time_elapsed, rt, stimulus, response, correct"
# Each of these reads one index, or the table, from one end; together they know of every answer that anything tells of.
WALKS = tuple(
    f"SELECT trial.rowid{', trial_id' if source.endswith('_1') else ''} FROM trial {source} ORDER BY {column} {way}"
    for source, column in (
        ("INDEXED BY sqlite_autoindex_trial_1", "trial_id"),
        ("INDEXED BY sqlite_autoindex_trial_2", "participant"),
        ("INDEXED BY trial_of_image", "stimulus"),
        ("NOT INDEXED", "rowid"),
    )
    for way in ("ASC", "DESC")
)
TABLE_LEAF = 0x0D  # first byte of a page that holds rows
INTEGERS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}  # bytes of a number, by its type


@dataclass(frozen=True)
class Salvaged:
    """What was read of a damaged database.

    Attributes:
        build_id: the build of the page that was answered.
        dataset: the dataset's name.
        rows: the answers, as an export's query gives them.
        lost: how many more there were.
    """

    build_id: str
    dataset: str
    rows: list[tuple]
    lost: int


def salvage(database: sqlite3.Connection, path: Path, page: BuiltPage | None, trouble: DatabaseTrouble) -> Salvaged:
    """Reads what can be read.

    Args:
        database: a connection to the damaged database.
        path: its file, for messages.
        page: the page that was answered, if it is still there.
        trouble: what was found damaged.

    Raises:
        DatabaseTrouble: nothing can be read.
    """
    names = {name for (name,) in _names(database)}
    study = next(_rows(database, "SELECT build_id, dataset FROM study"), None)
    if study is None and page and names <= page.phases.keys():
        study = page.build_id, page.dataset
    if study is None:
        raise DatabaseTrouble(UNREADABLE, path, trouble.detail) from None
    build_id, dataset = study
    phases = dict(page.phases) if page and page.build_id == build_id else {}
    phases |= {name: phase for name in names for phase in _phase(database, name)}
    expected = _known_rows(database)
    counted = (
        next(_rows(database, "SELECT sum(answers) FROM image"), (None,))[0] or 0
    )  # a trigger counts them, image by image
    found = _trials(database, path, expected, max([counted, *expected]))
    rows = [
        (person, trial_id, index, phases[stimulus], phases[stimulus], elapsed, rt, stimulus, response, correct)
        for _, (trial_id, person, index, elapsed, rt, stimulus, response, correct) in sorted(found.items())
        if stimulus in phases
    ]
    held = max(len(expected), counted, len(rows))
    if not rows:
        raise DatabaseTrouble(UNREADABLE, path, f"{trouble.detail}; it held {held} answers or more") from None
    return Salvaged(build_id, dataset, sorted(rows, key=lambda row: (row[0], row[2])), held - len(rows))


def _rows(database: sqlite3.Connection, query: str, *values: object) -> Iterator[tuple]:
    """The rows of a query up to the first that cannot be read."""
    with contextlib.suppress(sqlite3.DatabaseError):
        yield from database.execute(query, values)


def _names(database: sqlite3.Connection) -> set[tuple]:
    """The ids of the images that can be read, from either end of their index."""
    return {row for way in ("ASC", "DESC") for row in _rows(database, f"SELECT id FROM image ORDER BY id {way}")}


def _phase(database: sqlite3.Connection, image: str) -> list[str]:
    return [phase for (phase,) in _rows(database, "SELECT phase FROM image WHERE id = ?", image)]


def _known_rows(database: sqlite3.Connection) -> dict[int, str]:
    """The numbers of the rows that the table or an index tells of, with the trial's id ("" where that is not known)."""
    known: dict[int, str] = {}
    for walk in WALKS:
        for number, *name in _rows(database, walk):
            known[number] = name[0] if name else known.get(number, "")
    return known


def _trials(database: sqlite3.Connection, path: Path, expected: dict[int, str], last: int) -> dict[int, tuple]:
    """The answers that can be read, by the numbers of their rows: those that something tells of, and any other up to `last`."""
    found = {}
    for number in sorted(expected.keys() | set(range(1, last + 1))):
        for row in _rows(database, f"SELECT {COLUMNS} FROM trial NOT INDEXED WHERE rowid = ?", number):
            found[number] = row
    missing = expected.keys() - found.keys()
    if missing:
        for number, row in _rows_of_pages(_snapshot(database, path)):
            if number in missing and expected[number] in ("", row[0]):
                found[number] = row
    return {number: row for number, row in found.items() if _is_trial(row)}


def _snapshot(database: sqlite3.Connection, path: Path) -> bytes:
    """The pages of the database as they stand, with what is still in its log."""
    with tempfile.TemporaryDirectory(prefix="answers.") as folder:
        copy = Path(folder) / "copy.sqlite"
        try:
            with contextlib.closing(sqlite3.connect(copy)) as target:
                database.backup(target)
        except sqlite3.DatabaseError:  # pages are missing: what is in the file itself must do
            copy = path
        return copy.read_bytes()


def _rows_of_pages(content: bytes) -> Iterator[tuple[int, tuple]]:
    """The rows of eight columns on all pages that hold rows, with their numbers."""
    size = struct.unpack_from(">H", content, 16)[0]
    size = 65536 if size == 1 else size
    for start in range(size, len(content), size):  # the first page holds the schema
        page = content[start : start + size]
        if page[0] == TABLE_LEAF:
            for place in range(struct.unpack_from(">H", page, 3)[0]):
                with contextlib.suppress(IndexError, KeyError, struct.error, UnicodeDecodeError):
                    yield _row(page, struct.unpack_from(">H", page, 8 + 2 * place)[0])


def _row(page: bytes, at: int) -> tuple[int, tuple]:
    """The row that begins at byte `at` of a page: its number and its columns."""
    _, at = _varint(page, at)  # bytes of the record: a trial is never so long that it goes on elsewhere
    number, start = _varint(page, at)
    length, at = _varint(page, start)
    kinds, data = [], start + length
    while at < data:
        kind, at = _varint(page, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, data = _column(page, data, kind)
        values.append(value)
    if len(values) != COLUMNS.count(",") + 1:
        raise KeyError("a row of another table")
    return number, tuple(values)


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """The number that begins at byte `at`, seven bits a byte and eight in the ninth, and where the next one begins."""
    value = 0
    for place in range(9):
        byte = page[at + place]
        if place == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    raise IndexError


def _column(page: bytes, at: int, kind: int) -> tuple[object, int]:
    """The value of type `kind` that begins at byte `at`, and where the next one begins."""
    if kind == 7:
        return struct.unpack_from(">d", page, at)[0], at + 8
    if kind >= 13 and kind % 2:
        end = at + (kind - 13) // 2
        return page[at:end].decode(), end
    end = at + INTEGERS[kind]
    value = {0: None, 8: 0, 9: 1}[kind] if end == at else int.from_bytes(page[at:end], "big", signed=True)
    return value, end


def _is_trial(row: tuple) -> bool:
    """Whether each column is of the type that the schema promises."""
    trial_id, person, index, elapsed, rt, stimulus, response, correct = row
    return (
        all(isinstance(value, str) for value in (trial_id, stimulus))
        and all(isinstance(value, int) for value in (person, index, response))
        and all(isinstance(value, int | float) for value in (elapsed, rt))
        and correct in (None, 0, 1)
    )
