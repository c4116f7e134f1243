"""What people's labels are worth: the study of annotators."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import runs
from utils.people.study import alternatives

DATASET, SEEDS = runs.BUTTERFLIES, 3


def make(cfg) -> None:
    """Runs study_annotators.py on pretrained and on SimCLR features. Merges its seeds in two tables."""
    files = runs.layout(cfg, DATASET, "annotators")
    encoders = ("--pretrained", cfg.pretrained, "--simclr-checkpoint", runs.simclr(cfg))
    size = ("--simclr-image-size", runs.SIMCLR_SIDE)
    runs.run_script(cfg, "study_annotators", DATASET, files.out, *encoders, *size, "--repeats", SEEDS)
    runs.save_table(cfg, "labels", by_source(read_rows(files.annotator_study(".csv"))))
    shutil.copyfile(files.annotator_study(".png"), Path(cfg.out, "labels.png"))
    runs.save_table(cfg, "labels_self_training", self_training(read_rows(files.annotator_study("_rounds.csv"))))


def read_rows(path: Path) -> list[dict]:
    """Reads a CSV with numbers as floats."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) if value and key != "labels" else value for key, value in row.items()} for row in rows]


def grouped(rows: Sequence[dict], *names: str) -> dict[tuple, list[dict]]:
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def means(rows: Sequence[dict], *columns: str) -> dict:
    """Returns the means of columns with two decimals; empty for a column without numbers."""
    numbers = {name: [row[name] for row in rows if row[name] != ""] for name in columns}
    return {name: round(fmean(values), 2) if values else "" for name, values in numbers.items()}


def by_source(rows: Sequence[dict]) -> list[dict]:
    """Merges the seeds of the study. `people_pay_above` is the break-even accuracy of annotators."""
    without_people = {one.labels: one for one in alternatives(rows)}
    merged = []
    for (labels, quality), seeds in grouped(rows, "labels", "annotator_accuracy").items():
        row = {"labels": labels, "people": round(100 * quality, 1) if quality != "" else ""}
        row |= means(seeds, "label_accuracy", "test_accuracy")
        row["deviation"] = round(stdev(one["test_accuracy"] for one in seeds), 2)
        one = without_people.get(labels)
        limits = (one.pays_from, one.by_seed[0], one.by_seed[-1]) if one else ()
        shown = ["never" if limit is None else round(100 * limit, 1) for limit in limits] or ["", "", ""]
        merged.append(row | dict(zip(("people_pay_above", "lowest", "highest"), shown, strict=True)))
    return merged


def self_training(rows: Sequence[dict]) -> list[dict]:
    """Merges the seeds of self-training, round by round."""
    return [
        {"labels": labels, "round": int(number)}
        | means(seeds, "own_labels", "changed", "label_accuracy", "test_accuracy")
        for (labels, number), seeds in grouped(rows, "labels", "round").items()
    ]
