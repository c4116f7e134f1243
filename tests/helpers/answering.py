"""Keys and answer files for tests."""

import csv
import hashlib
import io
import json

from utils.data import catalog
from utils.people.page_key import read_key

CLASSES = catalog.MOTHS
BUILD = "0123456789abcdef"


def image_id(phase, path):
    return hashlib.sha256(f"{phase} {path}".encode()).hexdigest()[:16]


def make_key(path, rows):
    """A key as teach.py writes it; `rows` by phase."""
    images = {
        image_id(phase, row.path): {"phase": phase, "path": row.path, "label": row.label, "index": row.index}
        for phase, of_phase in rows.items()
        for row in of_phase
    }
    key = {"build_id": BUILD, "dataset": "toy", "classes": list(CLASSES), "images": images}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(key))
    return read_key(path, "toy", CLASSES)


def make_trial(key, phase, number, response, person="ann", **changes):
    image = list(key.of_phase(phase))[number]
    trial_id = hashlib.sha256(f"{person} {phase} {number}".encode()).hexdigest()[:32]
    trial = {"trial_id": trial_id, "trial_index": number}
    trial |= dict.fromkeys(("trial_type", "phase"), key.images[image].part)
    trial |= {"time_elapsed": 1500, "rt": 1234.5}
    return trial | {"stimulus": image, "response": response, "build_id": BUILD} | changes


def download(trials, person="ann"):
    return {"build_id": BUILD, "dataset": "toy", "participant": person, "trials": trials}


def export(people):
    entries = [{"participant": name, "trials": trials} for name, trials in people.items()]
    return {"build_id": BUILD, "dataset": "toy", "participants": entries}


def csv_text(rows, fields=None, **dialect):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields or list(rows[0]), **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def mturk_row(worker, trials, status="Submitted"):
    row = {"HITId": "3X", "AssignmentId": f"A{worker}", "WorkerId": worker, "AssignmentStatus": status}
    return row | {"Answer.build_id": BUILD, "Answer.trials": json.dumps(trials, indent=1)}


def explain_teach_log(**changes):
    log = {"_id": {"$oid": "5a09"}, "strategy": "strict", "image_id": [184, 417, 1600], "gt_label": [4, 1, 2]}
    log |= {"response": [1, 1, 0], "is_train": [1, 0, 0], "time": ["23:59:50", "23:59:58", "00:00:03"]}
    return log | changes


def batch(path, *rows, **dialect):
    """Writes a reviewed Mechanical Turk batch of rows made by `mturk_row`."""
    fields = [*mturk_row("", []), "Answer.comment", "Approve", "Reject"]
    path.write_text(csv_text(rows, fields, restval="", quoting=csv.QUOTE_ALL, **dialect))
    return path
