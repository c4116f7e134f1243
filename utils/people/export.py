"""Exports of the answers database as JSON or CSV."""

import json
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import csv_text, replacing
from utils.people.store import FIELDS, existing, read_trials

FORMATS = {".json": "application/json", ".csv": "text/csv"}

PEOPLE = """SELECT number, condition, parameters, consent_time, consent_sha256, comment, passed, finished
    FROM participant JOIN page USING (build_id) LEFT JOIN visitor ON participant = number ORDER BY number"""


def export_text(path: Path, suffix: str) -> str:
    """Returns all answers in the database `path` in the format of `suffix`. A server may write at the same time.

    People are numbered in the order in which they joined. Secrets stay in the database. JSON also has their conditions
    and parameters. Raises InputError if there is no such database, or it cannot be read.
    """
    with existing(path) as database:
        database.execute("BEGIN")  # everything is read as of one moment
        build_id, dataset = database.execute("SELECT group_concat(build_id, ' '), dataset FROM page").fetchone()
        trials, people = read_trials(database), database.execute(PEOPLE).fetchall()
    if suffix == ".csv":
        table = [(f"p{who:04d}", *map(trial.get, FIELDS)) for who, answers in trials.items() for trial in answers]
        return csv_text([("participant", *FIELDS), *table])
    entries = []
    for who, condition, parameters, time, sha256, comment, passed, finished in people:
        about = {"condition": condition, "parameters": json.loads(parameters or "{}")}
        about |= {"consent": time and {"time": time, "sha256": sha256}, "comment": comment}
        about |= {"passed": finished and bool(passed), "finished": finished}
        about = {name: value for name, value in about.items() if value not in (None, "", {})}
        if who in trials or about.keys() - {"condition"}:
            entries.append({"participant": f"p{who:04d}", **about, "trials": trials[who]})
    head = f'{{"build_id": {json.dumps(build_id)}, "dataset": {json.dumps(dataset)}, "participants": ['
    return "\n".join([head, ",\n".join(map(json.dumps, entries)), "]}\n"])


def write_export(database: Path, target: Path) -> None:
    """Writes all answers to `target`, atomically and readable for its owner only. The suffix chooses the format."""
    if target.suffix not in FORMATS:
        raise InputError(f"--export {target} must end with {' or '.join(FORMATS)}.")
    text = export_text(database, target.suffix)
    try:
        with replacing(target) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(text.encode())
    except OSError as error:
        raise InputError(f"--export {target} cannot be written ({error.strerror}). Check its folder.") from error
