"""The report on people and their labels: JSON, a table to read, labels image by image, and two figures."""

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
from utils.people.labelling import LabelSettings, Part, Person

PLACES_SHOWN = 20  # of what is left out for one reason; the JSON names all


def summarise(part: Part, num_classes: int) -> dict:
    """What can be said of one part of the course.

    Returns:
        Counts; `answer_accuracy` and `label_accuracy`, percent of the answers and of the aggregated labels that are right (None
        where no truth is known); `agreement` and `alpha` as `aggregation.agreement`; how the aggregation went; `confusion` counts.
    """
    known = part.truth >= 0
    counts = confusion_counts(part.answers, num_classes)
    agreed = agreement(part.votes, num_classes)
    return {
        "people": len(part.votes.people),
        "answers": len(part.answers),
        "images": len(part.votes.images),
        "answer_accuracy": _percent(np.trace(counts), counts.sum()),
        "label_accuracy": _percent((part.labels.label == part.truth)[known].sum(), known.sum()),
        "agreement": _rounded(agreed["raw"]),
        "alpha": _rounded(agreed["alpha"]),
        "ties_drawn": part.labels.drawn,
        "em_steps": part.labels.steps,
        "converged": part.labels.converged,
        "confusion": counts.tolist(),
    }


def group_means(people: Sequence[Person]) -> dict[str, dict]:
    """People and their mean test accuracy in percent, by what they were taught by."""
    groups: dict[str, list[float]] = {}
    for person in people:
        if person.group and person.test_accuracy is not None:
            groups.setdefault(person.group, []).append(person.test_accuracy)
    return {
        name: {"people": len(values), "test_accuracy": _rounded(fmean(values))}
        for name, values in sorted(groups.items())
    }


def write_report(
    layout: Layout,
    dataset: Dataset,
    people: Sequence[Person],
    parts: Mapping[str, Part],
    how: LabelSettings,
    listed: dict,
    left_out: Sequence[LeftOut] = (),
) -> dict:
    """Writes `labels_<selection>` with the endings `.json`, `.txt`, `.csv`, and, if the class of an image is known, `_confusion.png` (with
    its `.csv`) and `_people.png`.

    Args:
        layout: names of the files.
        dataset: what was labelled.
        people: everybody, the left out included.
        parts: the parts of the course that were answered, by name.
        how: settings, with which the report begins.
        listed: what the list holds, as `write_list` tells.
        left_out: what the files of answers hold that does not count; the report speaks of it only where there is something.

    Returns:
        The report without the single people and confusions; under `warnings` why its labels may be worth little, if there is a reason.
    """
    selection = how.selection
    summary = {
        "dataset": dataset.name,
        "selection": selection,
        "aggregation": how.aggregation,
        "min_accuracy": how.min_accuracy,
    } | listed
    summarised = {name: summarise(part, len(dataset.classes)) for name, part in parts.items()}
    not_kept = sum(not person.kept for person in people)
    report = summary | {"people": len(people), "people_left_out": not_kept, "groups": group_means(people)} | summarised
    if left_out:
        report["left_out_of_the_files"] = count_left_out(left_out)
    parts_left_out = {"each_left_out": [asdict(part) for part in left_out]} if left_out else {}
    write_json(
        layout.labels_report(selection, ".json"),
        report | {"each": [_plain(person) for person in people]} | parts_left_out,
    )
    text = _text(report, summarised, people, _unmeasured(parts)) + _text_left_out(left_out)
    write_text(layout.labels_report(selection, ".txt"), text)
    if "label" in parts:
        write_table(layout.labels_report(selection, ".csv"), _image_rows(parts["label"]))
    else:
        layout.labels_report(selection, ".csv").unlink(missing_ok=True)  # of an earlier run
    counts = sum(
        (np.array(part["confusion"]) for part in summarised.values()), confusion_counts([], len(dataset.classes))
    )
    _draw(layout, dataset, people, counts, how)
    print(text, end="")  # the launcher prints the warnings
    print(
        f"Report: {layout.labels_report(selection, '.json')}, .txt{', _confusion.png, _people.png' if counts.any() else ''}"
    )
    return report | {
        name: {key: value for key, value in part.items() if key != "confusion"} for name, part in summarised.items()
    }


def _draw(layout: Layout, dataset: Dataset, people: Sequence[Person], counts: np.ndarray, how: LabelSettings) -> None:
    """Draws what people confused, counts (C, C), and how right each was; where no truth is known, removes what an earlier run drew."""
    confusion, accuracies = (
        layout.labels_report(how.selection, ending) for ending in ("_confusion.png", "_people.png")
    )
    if counts.any():
        title = f"answers after the lessons: {_percent(np.trace(counts), counts.sum()):.1f} % right"
        figures.confusion_matrix(confusion, counts, dataset.classes, title)
        people_accuracy(accuracies, people, how.min_accuracy, 100 / len(dataset.classes))
    else:
        figures.remove_matrix(confusion)
        accuracies.unlink(missing_ok=True)


def count_left_out(left_out: Sequence[LeftOut]) -> dict[str, dict]:
    """How many rows (whole) and answers (of other rows) are left out of the files, by the reason."""
    counts: dict[str, dict] = {}
    for part in left_out:
        count = counts.setdefault(part.reason, {"rows": 0, "answers": 0})
        count["rows"] += part.answers is None
        count["answers"] += part.answers or 0
    return counts


def _text_left_out(left_out: Sequence[LeftOut]) -> str:
    """What is left out of the files of answers as text, a line for each reason, with the first of those whom it concerns."""
    if not left_out:
        return ""
    lines = ["", "left out of the files of answers:"]
    for reason, count in count_left_out(left_out).items():
        places = [f"{part.person} ({part.where})" for part in left_out if part.reason == reason]
        number, (one, many) = (
            (count["rows"], ("row", "rows")) if count["rows"] else (count["answers"], ("answer", "answers"))
        )
        lines.append(f"{number} {one if number == 1 else many}, {reason}: {first_of(places, PLACES_SHOWN)}")
    return "\n".join(lines) + "\n"


def _percent(right: int, of: int) -> float | None:
    return round(100 * int(right) / int(of), 3) if of else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _plain(person: Person) -> dict:
    return {name: _rounded(value) if isinstance(value, float) else value for name, value in asdict(person).items()}


def _image_rows(part: Part) -> list[dict]:
    """One row per labelled image."""
    answers = np.bincount(part.votes.image, minlength=len(part.votes.images)).tolist()
    columns = (
        part.votes.images,
        part.labels.label.tolist(),
        answers,
        part.labels.certainty.tolist(),
        part.truth.tolist(),
    )
    return [
        {
            "path": path,
            "label": label,
            "answers": count,
            "certainty": round(certainty, 4),
            "truth": truth if truth >= 0 else "",
        }
        for path, label, count, certainty, truth in zip(*columns, strict=True)
    ]


def _unmeasured(parts: Mapping[str, Part]) -> list[str]:
    """A sentence for each part in which accuracies say nothing, or not all, since the truth is unknown."""
    sentences = []
    for name, part in parts.items():
        if unknown := int((part.truth < 0).sum()):
            total = len(part.truth)
            others = "no accuracy can be told" if unknown == total else "accuracies are of the others"
            sentences.append(f"The true class of {unknown} of {total} images of the {name} part is unknown: {others}.")
    return sentences


def _text(report: dict, parts: Mapping[str, dict], people: Sequence[Person], remarks: Sequence[str]) -> str:
    """The report as tables, with remarks below those of the parts."""
    course = report["selection"] + (" of the SimCLR variant" if "simclr" in report else "")
    names = f"{report['dataset']}, {course}, {report['aggregation']}"
    also = "; see below for what is left out of the files" if "left_out_of_the_files" in report else ""
    lines = [f"{names}: {len(people)} people, {report['people_left_out']} left out{also}"]
    shown = ("people", "answers", "images", "answer_accuracy", "label_accuracy", "agreement", "alpha", "ties_drawn")
    lines += _columns([{"part": name} | {column: part[column] for column in shown} for name, part in parts.items()])
    lines += remarks
    if report["groups"]:
        lines += ["", *_columns([{"group": name} | values for name, values in report["groups"].items()])]
    hidden = {"group"} if not report["groups"] else set()
    lines += [
        "",
        *_columns([{name: value for name, value in _plain(person).items() if name not in hidden} for person in people]),
    ]
    return "\n".join(lines) + "\n"


def _columns(rows: Sequence[dict]) -> list[str]:
    """Rows as lines of aligned columns; accuracies are percent."""
    if not rows:
        return []
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "-" if value is None else str(value)


def people_accuracy(path: str | Path, people: Sequence[Person], min_accuracy: float, chance: float) -> None:
    """Everybody's accuracy in percent on the test part (bars, grey for the left out) and in labelling (dots), best first.

    Args:
        path: the PNG.
        people: everybody.
        min_accuracy: what was asked for, 0 .. 1.
        chance: accuracy of guessing in percent.
    """
    people = sorted(people, key=lambda person: (-(person.test_accuracy or 0), person.name))
    drawn = figures.figure(max(6.4, min(0.25 * len(people), 20)), 4.2, layout="constrained")
    axes = drawn.add_subplot()
    places = range(len(people))
    colours = ["tab:blue" if person.kept else "lightgrey" for person in people]
    axes.bar(places, [person.test_accuracy or 0 for person in people], color=colours, label="test part")
    labelled = [
        (place, person.label_accuracy) for place, person in enumerate(people) if person.label_accuracy is not None
    ]
    if labelled:
        labellers, accuracies = zip(*labelled, strict=True)
        axes.scatter(labellers, accuracies, color="black", zorder=2, s=12, label="labelling")
    axes.axhline(chance, color="grey", linestyle="--", linewidth=1, label="chance")
    if min_accuracy:
        axes.axhline(100 * min_accuracy, color="tab:red", linewidth=1, label="asked for")
    axes.margins(x=0.01)
    axes.set(xlabel=f"{len(people)} people", ylabel="right answers (%)", ylim=(0, 101), xticks=[])
    drawn.legend(loc="outside upper center", ncols=4)  # inside it would hide somebody
    figures.save(path, drawn)
