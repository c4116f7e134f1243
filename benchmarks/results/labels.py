"""What people's labels are worth: the study of annotators."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import runs, tables
from utils.base.files import write_bytes
from utils.data.outputs import Layout
from utils.people.study import alternatives

DATASET, SEEDS = runs.BUTTERFLIES, 3


def make(cfg) -> None:
    """Makes the tables of annotators and of self-training."""
    files = study(cfg)
    figure = files.annotator_study(".png").read_bytes()
    rows = by_source(read_rows(files.annotator_study(".csv")))
    tables.save(cfg, "labels", rows, lambda path: write_bytes(path, figure))
    tables.save(cfg, "labels_self_training", self_training(read_rows(files.annotator_study("_rounds.csv"))))


def study(cfg) -> Layout:
    """Runs study_annotators.py with a linear head on pretrained and on SimCLR features."""
    files = runs.layout(cfg, DATASET, "annotators")
    encoders = ("--pretrained", cfg.pretrained, "--simclr-checkpoint", runs.simclr(cfg))
    size = ("--simclr-image-size", runs.SIMCLR_SIDE)
    runs.run_script(cfg, "study_annotators", DATASET, files.out, *encoders, *size, "--repeats", SEEDS)
    return files


def read_rows(path: Path) -> list[dict]:
    """Reads a CSV with numbers as floats."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(value) if value and name != "labels" else value for name, value in row.items()} for row in rows
    ]


def grouped(rows: Sequence[dict], *names: str) -> dict[tuple, list[dict]]:
    """Groups rows by the values of some columns."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def mean(values: Sequence[float | str]) -> float | str:
    """Returns the mean of the numbers, with two decimals; empty if there are none."""
    numbers = [value for value in values if isinstance(value, float)]
    return round(fmean(numbers), 2) if numbers else ""


def by_source(rows: Sequence[dict]) -> list[dict]:
    """Merges the seeds of the study. `people_pay_above` is the break-even accuracy of annotators."""
    without_people = {one.labels: one for one in alternatives(rows)}
    merged = []
    for (labels, quality), seeds in grouped(rows, "labels", "annotator_accuracy").items():
        accuracies = [row["test_accuracy"] for row in seeds]
        row = {"labels": labels, "people": round(100 * quality, 1) if quality != "" else ""}
        row |= {"label_accuracy": mean([one["label_accuracy"] for one in seeds]), "test_accuracy": mean(accuracies)}
        row["deviation"] = round(stdev(accuracies), 2) if len(accuracies) > 1 else ""
        one = without_people.get(labels)
        limits = (one.pays_from, one.by_seed[0], one.by_seed[-1]) if one else ()
        shown = ["never" if limit is None else round(100 * limit, 1) for limit in limits] or ["", "", ""]
        merged.append(row | dict(zip(("people_pay_above", "lowest", "highest"), shown, strict=True)))
    return merged


def self_training(rows: Sequence[dict]) -> list[dict]:
    """Merges the seeds of self-training, round by round."""
    columns = ("own_labels", "changed", "label_accuracy", "test_accuracy")
    return [
        {"labels": labels, "round": int(number)} | {name: mean([row[name] for row in seeds]) for name in columns}
        for (labels, number), seeds in grouped(rows, "labels", "round").items()
    ]
