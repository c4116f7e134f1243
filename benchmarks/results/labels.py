"""What people's labels are worth: the study of annotators, and the whole chain with simulated people."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import runs, tables
from utils.base.files import write_bytes
from utils.data.outputs import Layout
from utils.people.study import findings

DATASET, SEEDS = runs.BUTTERFLIES, 3
CHAIN = (0.6, 0.8, 1.0)  # accuracies of the simulated people, who label each image once
SELECTION = ("--selection", "KMaxGrad")


def make(cfg) -> None:
    """Makes the tables of annotators, of self-training, and of the chain."""
    files = study(cfg)
    figure = files.annotator_study(".png").read_bytes()
    rows = by_source(read_rows(files.annotator_study(".csv")))
    tables.save(cfg, "labels", rows, lambda path: write_bytes(path, figure))
    tables.save(cfg, "labels_self_training", self_training(read_rows(files.annotator_study("_rounds.csv"))))
    tables.save(cfg, "labels_chain", chain(cfg))


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
    alternatives = {one.labels: one for one in findings(rows).alternatives}
    merged = []
    for (labels, quality), seeds in grouped(rows, "labels", "annotator_accuracy").items():
        accuracies = [row["test_accuracy"] for row in seeds]
        row = {"labels": labels, "people": round(100 * quality, 1) if quality != "" else ""}
        row |= {"label_accuracy": mean([one["label_accuracy"] for one in seeds]), "test_accuracy": mean(accuracies)}
        row["deviation"] = round(stdev(accuracies), 2) if len(accuracies) > 1 else ""
        one = alternatives.get(labels)
        limits = (one.pays_from, *one.range_of_seeds()) if one else ("", "", "")
        for name, limit in zip(("people_pay_above", "lowest", "highest"), limits, strict=True):
            row[name] = limit if limit == "" else "never" if limit is None else round(100 * limit, 1)
        merged.append(row)
    return merged


def self_training(rows: Sequence[dict]) -> list[dict]:
    """Merges the seeds of self-training, round by round."""
    columns = ("own_labels", "changed", "label_accuracy", "test_accuracy")
    return [
        {"labels": labels, "round": int(number)} | {name: mean([row[name] for row in seeds]) for name in columns}
        for (labels, number), seeds in grouped(rows, "labels", "round").items()
    ]


def chain(cfg) -> list[dict]:
    """Trains classifiers on the expert's labels, and on these plus labels of simulated people from a course page."""
    page = runs.layout(cfg, DATASET, "people")
    explained = runs.explain(cfg, DATASET, "margin").explanation_list()
    course = ("--ce-list", explained, "--pretrained", cfg.pretrained, "--image-size", runs.SIDE)
    runs.run_script(cfg, "train_butterflies_CMaxGrad", DATASET, page.out, *SELECTION, *course)
    runs.run_script(cfg, "teach", DATASET, page.out, *SELECTION)
    expert = measured(runs.teacher(cfg, DATASET).out)
    rows = [{"labels": "the expert's", "people": "", "label_accuracy": "", "test_accuracy": expert}]
    key = ("--key", page.course_page_key())
    for accuracy in CHAIN:
        files = Layout(page.out / f"people_{100 * accuracy:.0f}", page.list_stem)
        people = ("--people", 20, "--labels-per-image", 1, "--accuracy", accuracy)
        runs.run_script(cfg, "simulate_people", DATASET, files.out, *key, *people)
        runs.run_script(cfg, "label", DATASET, files.out, *key, *SELECTION, "--answers", files.simulated_answers)
        runs.train(cfg, DATASET, files.out, "--train-list", files.labeled_list("KMaxGrad"), "--seed", cfg.seed)
        report = json.loads(files.labels_report("KMaxGrad", ".json").read_text(encoding="utf-8"))
        row = {"labels": "the expert's and people's", "people": round(100 * accuracy, 1)}
        row["label_accuracy"] = round(report["label"]["label_accuracy"], 2)
        rows.append(row | {"test_accuracy": measured(files.out)})
    return rows


def measured(out: Path) -> float:
    """Returns the test accuracy in a classifier's run record."""
    record = json.loads(Layout(out).run_record("train_butterflies_resnet18").read_text(encoding="utf-8"))
    return round(record["measured"]["test_accuracy"], 2)
