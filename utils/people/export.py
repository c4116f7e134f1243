"""Exports of the answers database: JSON and CSV, written in pieces so that any number of answers fits in memory."""

import contextlib
import csv
import io
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import replacing
from utils.people.store import FIELDS, check_whole, connect, explained, read_study

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # start a formula in a spreadsheet
QUERY = """SELECT participant, trial_id, trial_index, phase, phase, time_elapsed, rt, stimulus, response, correct
    FROM trial JOIN image ON image.id = stimulus ORDER BY participant, trial_index, trial.rowid"""


def pieces(path: Path, suffix: str) -> Iterator[str]:
    """Yields all answers in the database `path` in the format of `suffix`. A server may write at the same time.

    Raises:
        InputError: there is no such database, or it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path} not found: no answers were collected there. Check --out.")
    with explained(path), contextlib.closing(connect(path)) as database:
        database.execute("PRAGMA query_only = ON")
        database.execute("BEGIN")  # everything is read as of one moment
        study = read_study(database, path)
        if study is None:
            raise InputError(f"{path} is empty: no study was started there. Check --out.")
        check_whole(database, path)
        build_id, dataset = study
        yield from FORMATS[suffix](build_id, dataset, _people(database, build_id))


def _people(database: sqlite3.Connection, build_id: str) -> Iterator[tuple[str, list[dict]]]:
    """Yields each person's name and trials, in the order of the answers. The secret ids stay in the database."""
    for number, rows in itertools.groupby(database.execute(QUERY), key=lambda row: row[0]):
        yield f"p{number:04d}", [_trial(row, build_id) for row in rows]


def _trial(row: tuple, build_id: str) -> dict:
    """One row of the query as a trial."""
    *answer, correct = row[1:]
    values = (*answer, None if correct is None else bool(correct), build_id)
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}


def _json_pieces(build_id: str, dataset: str, people: Iterable[tuple[str, list[dict]]]) -> Iterator[str]:
    """JSON with one person per line."""
    yield f'{{"build_id": {json.dumps(build_id)}, "dataset": {json.dumps(dataset)}, "participants": ['
    for number, (name, trials) in enumerate(people):
        yield (",\n" if number else "\n") + json.dumps({"participant": name, "trials": trials})
    yield "\n]}\n"


def _csv_pieces(build_id: str, dataset: str, people: Iterable[tuple[str, list[dict]]]) -> Iterator[str]:
    """CSV with one trial per row: the person, then `FIELDS`."""
    yield csv_line(("participant", *FIELDS))
    for name, trials in people:
        for trial in trials:
            yield csv_line((name, *(trial.get(field) for field in FIELDS)))


def csv_line(values: tuple) -> str:
    """Returns a row of CSV: None is empty, booleans are `true` or `false`, and formulas are quoted."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value


FORMATS: dict[str, Callable[..., Iterator[str]]] = {".json": _json_pieces, ".csv": _csv_pieces}


def write_export(database: Path, target: Path) -> None:
    """Writes all answers to `target`, atomically and readable for its owner only. The suffix chooses the format.

    Raises:
        InputError: the suffix is unknown, the target cannot be written, or the database cannot be read.
    """
    if target.suffix not in FORMATS:
        raise InputError(f"--export {target} must end with {' or '.join(FORMATS)}.")
    try:
        with replacing(target) as temporary:
            temporary.touch(mode=0o600)
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                file.writelines(pieces(database, target.suffix))
    except OSError as error:
        raise InputError(f"--export {target} cannot be written ({error.strerror}). Check its folder.") from error
