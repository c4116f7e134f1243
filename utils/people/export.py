"""Answers as files: JSON and CSV of everything in a database of answers, in pieces, so that any number of them fits in memory."""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.errors import InputError
from utils.files import replacing
from utils.people.store import connect, study_of
from utils.people.trials import FIELDS

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
QUERY = """SELECT participant, trial_id, trial_index, phase AS trial_type, phase, time_elapsed, rt, stimulus, response, correct
    FROM trial JOIN image ON image.id = stimulus ORDER BY participant, trial_index, trial.rowid"""


@contextlib.contextmanager
def _reading(path: Path):
    """The study's build id and dataset, and its people: name and trials in the order in which they were answered.

    All of it is read in one transaction, beside a server that goes on writing.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist: no answers were collected there; correct --out.")
    with contextlib.closing(connect(path)) as database:
        database.execute("PRAGMA query_only = ON")
        database.execute("BEGIN")
        build_id, dataset = study_of(database, path)
        people = itertools.groupby(database.execute(QUERY), key=lambda row: row[0])
        yield build_id, dataset, ((f"p{number:04d}", [_trial(row, build_id) for row in rows]) for number, rows in people)


def _trial(row: tuple, build_id: str) -> dict:
    """One row of the query as a trial; people's secret ids are no part of it."""
    *answer, correct = row[1:]
    values = (*answer, None if correct is None else bool(correct), build_id)
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}


def json_pieces(path: Path) -> Iterator[str]:
    """The export as JSON text: build id, dataset, and the people with their trials, one person a line."""
    with _reading(path) as (build_id, dataset, people):
        yield f'{{"build_id": {json.dumps(build_id)}, "dataset": {json.dumps(dataset)}, "participants": ['
        for number, (name, trials) in enumerate(people):
            yield (",\n" if number else "\n") + json.dumps({"participant": name, "trials": trials})
        yield "\n]}\n"


def csv_pieces(path: Path) -> Iterator[str]:
    """The export as CSV text: one trial a row, its fields in the order of `Trial`, and the person in the first column."""
    with _reading(path) as (_, _, people):
        yield csv_line(("participant", *FIELDS))
        for name, trials in people:
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


FORMATS: dict[str, Callable[[Path], Iterator[str]]] = {".json": json_pieces, ".csv": csv_pieces}


def write_export(database: Path, target: Path) -> None:
    """Writes all answers to `target`, whole or not at all; its suffix says how.

    Raises:
        InputError: the suffix is unknown, the target's folder is missing, or there is no database.
    """
    if target.suffix not in FORMATS:
        raise InputError(f"--export {target} must end with {' or '.join(FORMATS)}; correct it.")
    if not target.parent.is_dir():
        raise InputError(f"--export {target}: the folder {target.parent} does not exist; make it, or correct the setting.")
    with replacing(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.writelines(FORMATS[target.suffix](database))
