"""Exports of the answers database as JSON or CSV."""

import contextlib
import csv
import io
import itertools
import json
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import replacing
from utils.people.store import FIELDS, connect, explained, read_study

FORMATS = {".json": "application/json", ".csv": "text/csv"}
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # start a formula in a spreadsheet
QUERY = """SELECT participant, trial_id, trial_index, phase, phase, time_elapsed, rt, stimulus, response, correct
    FROM trial JOIN image ON image.id = stimulus ORDER BY participant, trial_index, trial.rowid"""


def export_text(path: Path, suffix: str) -> str:
    """Returns all answers in the database `path` in the format of `suffix`. A server may write at the same time.

    People are numbered in the order in which they joined; the secret ids stay in the database.

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
        rows = database.execute(QUERY).fetchall()
    build_id, dataset = study
    people = {}
    for number, answers in itertools.groupby(rows, key=lambda row: row[0]):
        people[f"p{number:04d}"] = [_trial(row[1:], build_id) for row in answers]
    if suffix == ".csv":
        table = [(name, *(trial.get(field) for field in FIELDS)) for name in people for trial in people[name]]
        return csv_text([("participant", *FIELDS), *table])
    lines = [json.dumps({"participant": name, "trials": trials}) for name, trials in people.items()]
    head = f'{{"build_id": {json.dumps(build_id)}, "dataset": {json.dumps(dataset)}, "participants": ['
    return "\n".join([head, ",\n".join(lines), "]}\n"])


def _trial(answer: tuple, build_id: str) -> dict:
    """Returns a trial as the page sent it."""
    *values, correct = answer
    trial = dict(zip(FIELDS, (*values, None if correct is None else bool(correct), build_id), strict=True))
    return {name: value for name, value in trial.items() if value is not None}


def csv_text(rows: list[tuple]) -> str:
    """Returns rows as CSV: None is empty, booleans are `true` or `false`, and formulas are quoted."""

    def cell(value: object) -> object:
        if isinstance(value, bool):
            return json.dumps(value)
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value

    text = io.StringIO(newline="")
    csv.writer(text).writerows([[cell(value) for value in row] for row in rows])
    return text.getvalue()


def write_export(database: Path, target: Path) -> None:
    """Writes all answers to `target`, atomically and readable for its owner only. The suffix chooses the format.

    Raises:
        InputError: the suffix is unknown, the target cannot be written, or the database cannot be read.
    """
    if target.suffix not in FORMATS:
        raise InputError(f"--export {target} must end with {' or '.join(FORMATS)}.")
    text = export_text(database, target.suffix)
    try:
        with replacing(target) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(text.encode())
    except OSError as error:
        raise InputError(f"--export {target} cannot be written ({error.strerror}). Check its folder.") from error
