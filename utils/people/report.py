"""Report on people and their labels: JSON, text, a CSV of the labels, and two figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

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
    layout: Layout,
    dataset: Dataset,
    people: Sequence[Person],
    parts: Mapping[str, Part],
    settings: dict,
    listed: dict,
    left_out: Sequence[LeftOut],
) -> dict:
    """Writes `labels_<selection>` with the endings `.json`, `.txt`, `.csv`, `_confusion.png` and `_people.png`.

    There is no CSV without labels, and there are no figures if the truth of all images is unknown.

    `settings` are selection, aggregation and min_accuracy; `listed` is the result of `write_list`. Returns the report
    without single people and confusion matrices, for the run record.
    """

    def path(ending: str) -> Path:
        return layout.labels_report(settings["selection"], ending)

    counts = {name: confusion_counts(part.answers, len(dataset.classes)) for name, part in parts.items()}
    summaries = {name: summarize(part, counts[name]) for name, part in parts.items()}
    counted = dict(sum((Counter({one.reason: one.answers or 1}) for one in left_out), Counter()))
    report = {"dataset": dataset.name} | settings | listed
    report |= {"people": len(people), "people_left_out": sum(not person.kept for person in people)}
    report |= {"groups": group_means(people), "answers_left_out": counted} | summaries
    details = {
        "each": [_rounded(asdict(person)) for person in people],
        "each_left_out": [asdict(one) for one in left_out],
    }
    matrices = {"confusion": {name: matrix.tolist() for name, matrix in counts.items()}}
    write_json(path(".json"), report | details | matrices)
    text = _text(report, summaries, people, left_out)
    write_text(path(".txt"), text)
    for ending in (".csv", "_confusion.png", "_confusion.csv", "_people.png"):
        path(ending).unlink(missing_ok=True)  # files of an earlier run
    if "label" in parts:
        write_table(path(".csv"), _image_rows(parts["label"]))
    total = sum(counts.values(), np.zeros((len(dataset.classes),) * 2, dtype=np.int64))
    if total.any():
        title = f"answers after the lessons: {percent(np.trace(total), total.sum()):.1f} % right"
        figures.confusion_matrix(path("_confusion.png"), total, dataset.classes, title)
        draw_people(path("_people.png"), people, settings["min_accuracy"], 100 / len(dataset.classes))
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
    agreed = agreement(part.votes, len(counts))
    summary |= {"agreement": agreed["raw"], "alpha": agreed["alpha"], "ties_drawn": part.labels.drawn}
    return _rounded(summary | {"em_steps": part.labels.steps, "converged": part.labels.converged})


def group_means(people: Sequence[Person]) -> dict[str, dict]:
    """Returns the number of people and their mean test accuracy in percent by teaching condition."""
    groups: dict[str, list[float]] = {}
    for person in people:
        if person.group and person.test_accuracy is not None:
            groups.setdefault(person.group, []).append(person.test_accuracy)
    return {
        name: _rounded({"people": len(values), "test_accuracy": fmean(values)})
        for name, values in sorted(groups.items())
    }


def _rounded(row: dict) -> dict:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def _image_rows(part: Part) -> list[dict]:
    answers = np.bincount(part.votes.image, minlength=len(part.votes.images))
    return [
        {
            "path": path,
            "label": int(part.labels.label[place]),
            "answers": int(answers[place]),
            "certainty": round(float(part.labels.certainty[place]), 4),
            "truth": int(part.truth[place]) if part.truth[place] >= 0 else "",
        }
        for place, path in enumerate(part.votes.images)
    ]


def _text(report: dict, summaries: Mapping[str, dict], people: Sequence[Person], left_out: Sequence[LeftOut]) -> str:
    """Returns the report as text: tables of parts, teaching conditions and people, and what does not count."""
    course = f"{report['selection']}{' (SimCLR variant)' if report.get('simclr') else ''}, {report['aggregation']}"
    lines = [
        f"{report['dataset']}, {course}: {len(people)} people, {report['people_left_out']} below --min-accuracy",
        "",
    ]
    lines += _table([{"part": name} | values for name, values in summaries.items()])
    if report["groups"]:
        lines += ["", *_table([{"group": name} | values for name, values in report["groups"].items()])]
    lines += ["", *_table([asdict(person) for person in people])]
    if left_out:
        lines += ["", "Not counted:"]
    for reason, count in report["answers_left_out"].items():
        places = [f"{one.person} ({one.where})" for one in left_out if one.reason == reason]
        lines.append(f"{count} x {reason}: {first_of(places, 20)}")
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[dict]) -> list[str]:
    """Returns a table as lines with aligned columns."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "-" if value in (None, "") else str(value)


def draw_people(path: Path, people: Sequence[Person], min_accuracy: float, chance: float) -> None:
    """Draws each person's accuracy in percent on the test (bars, grey if not kept) and in labeling (dots)."""
    people = sorted(people, key=lambda person: (-(person.test_accuracy or 0), person.name))
    drawn = figures.figure(max(6.4, min(0.25 * len(people), 20)), 4.2, layout="constrained")
    axes = drawn.add_subplot()
    colors = ["tab:blue" if person.kept else "lightgrey" for person in people]
    axes.bar(range(len(people)), [person.test_accuracy or 0 for person in people], color=colors, label="test")
    labeled = [
        (place, person.label_accuracy) for place, person in enumerate(people) if person.label_accuracy is not None
    ]
    if labeled:
        axes.scatter(*zip(*labeled, strict=True), color="black", zorder=2, s=12, label="labeling")
    axes.axhline(chance, color="grey", linestyle="--", linewidth=1, label="chance")
    if min_accuracy:
        axes.axhline(100 * min_accuracy, color="tab:red", linewidth=1, label="--min-accuracy")
    axes.margins(x=0.01)
    axes.set(xlabel=f"{len(people)} people", ylabel="right answers (%)", ylim=(0, 101), xticks=[])
    drawn.legend(loc="outside upper center", ncols=4)
    figures.save(path, drawn)
