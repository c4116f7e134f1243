"""Report on people and their labels: JSON, text, a table of the labels, and people's confusions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np

from utils.base import figures
from utils.base.errors import first_of
from utils.base.files import write_json, write_table, write_text
from utils.data.catalog import Dataset
from utils.data.outputs import Layout
from utils.people.aggregation import agreement, confusion_counts
from utils.people.answers import LeftOut
from utils.people.labelling import Part, Person, percent


def write_report(
    layout: Layout, dataset: Dataset, people: list[Person], parts: dict[str, Part], about: dict, left_out: list[LeftOut]
) -> dict:
    """Writes `labels_<selection>` with the endings `.json`, `.txt`, `.csv` and `_confusion.png`.

    There is no `.csv` without labels, and no `_confusion.png` if all images have an unknown class.

    `about` goes into the report: selection, simclr, aggregation, and the results of `write_list` and
    `compare_conditions`. Returns the report for the run record, without single people and confusion matrices.
    """
    path = partial(layout.labels_report, about["selection"])
    counts = {name: confusion_counts(part.answers, len(dataset.classes)) for name, part in parts.items()}
    summaries = {name: summarize(part, counts[name]) for name, part in parts.items()}
    # By the model that made the labels: accuracy on the images to label, and bits that an answer says about the class.
    estimates = dict(zip(part.votes.people, part.labels.people, strict=False)) if (part := parts.get("label")) else {}
    columns, unknown = ("estimated_accuracy", "weight"), (None, None)
    rows = [asdict(one) | dict(zip(columns, estimates.get(one.name, unknown), strict=True)) for one in people]
    reasons: Counter[str] = Counter()
    for one in left_out:
        reasons[one.reason] += one.answers
    report = {"dataset": dataset.name} | about
    report |= {"people": len(people), "people_left_out": sum(not person.kept for person in people)}
    report |= {"answers_left_out": dict(reasons)} | summaries
    details = {
        "each": list(map(_rounded, rows)),
        "each_left_out": [asdict(one) for one in left_out],
        "confusion": {name: matrix.tolist() for name, matrix in counts.items()},
    }
    write_json(path(".json"), report | details)
    text = _text(report, summaries, rows, left_out)
    write_text(path(".txt"), text)
    for ending in (".csv", "_confusion.png", "_confusion.csv"):
        path(ending).unlink(missing_ok=True)  # files of an earlier run
    if "label" in parts:
        write_table(path(".csv"), _label_table(parts["label"]))
    total = np.sum(list(counts.values()), axis=0)
    if total.any():
        title = f"answers after the lessons: {percent(np.trace(total), total.sum()):.1f} % right"
        figures.confusion_matrix(path("_confusion.png"), total, dataset.display_names, title)
    print(text, end="")
    print(f"Report: {path('.json')}")
    return report


def summarize(part: Part, counts: np.ndarray) -> dict:
    """Summarizes a part of the course; accuracies are in percent, None without known truth. `counts` is (C, C)."""
    known = part.truth >= 0
    summary = {
        "people": len(part.votes.people),
        "answers": len(part.answers),
        "images": len(part.votes.images),
        "images_of_unknown_class": int((~known).sum()),
        "answer_accuracy": percent(int(np.trace(counts)), int(counts.sum())),
        "label_accuracy": percent(int((part.labels.label == part.truth)[known].sum()), int(known.sum())),
    }
    summary |= agreement(part.votes, len(counts)) | {"ties_drawn": part.labels.drawn}
    return _rounded(summary | {"em_steps": part.labels.steps, "converged": part.labels.converged})


def _rounded(row: dict) -> dict:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def _label_table(part: Part) -> list[dict]:
    columns = {
        "path": part.votes.images,
        "label": part.labels.label.tolist(),
        "answers": np.bincount(part.votes.image, minlength=len(part.votes.images)).tolist(),
        "certainty": [round(value, 4) for value in part.labels.certainty.tolist()],
        "truth": ["" if value < 0 else value for value in part.truth.tolist()],
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _text(report: dict, summaries: Mapping[str, dict], people: Sequence[dict], left_out: Sequence[LeftOut]) -> str:
    """Returns the report as text: tables of parts and people, and what does not count."""
    course = f"{report['selection']}{' (SimCLR variant)' if report['simclr'] else ''}, {report['aggregation']}"
    lines = [
        f"{report['dataset']}, {course}: {len(people)} people, {report['people_left_out']} below --min-accuracy",
        "",
        *_table([{"part": name} | values for name, values in summaries.items()]),
        "",
        *_table(people),
    ]
    for name in ("conditions", "differences"):
        lines += ["", *_table(report[name])] if name in report else []
    if left_out:
        lines += ["", "Not counted:"]
    for reason, count in report["answers_left_out"].items():
        places = [f"{one.person} ({one.where})" for one in left_out if one.reason == reason]
        lines.append(f"{count} x {reason}: {first_of(places, 20)}")
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[dict]) -> list[str]:
    """Returns a table as lines with aligned columns."""
    cells = [list(rows[0])]
    for row in rows:
        values = [f"{value:.2f}" if isinstance(value, float) else value for value in row.values()]
        cells.append(["-" if value in (None, "") else str(value) for value in values])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
