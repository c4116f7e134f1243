"""What people's labels are worth, and what needs no people: study_annotators.py, and the chain from a course to a retrained network."""

import csv
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import stages
from benchmarks.results.table import Table
from benchmarks.results.work import Work
from utils.base import figures
from utils.base.files import write_bytes
from utils.data.outputs import Layout
from utils.people.study import Findings, findings

SEEDS = 3
STUDY_QUICK = "--repeats 2 --accuracy 0.2 0.6 --probe-epochs 5 --image-size 64 --rounds 2 --confidence 0.2"
CHAIN = (0.6, 0.8, 1.0)  # accuracies of the people of the chain, each image labelled by one of them
PEOPLE = 20
SELECTION = (
    "KMaxGrad"  # of the course that they are said to have taken; what simulated people answer does not depend on it
)
CLASSIFIER = "train_butterflies_resnet18"
NAMES = ("labels", "labels_self_training", "labels_chain")
TITLES = (
    "What people's labels are worth, and what needs no people",
    "Self-training, round by round",
    "The whole chain, with simulated people",
)


def tables(work: Work) -> list[Table]:
    """The three tables of this part."""
    reason = stages.absent(work, dataset_of(work), ("train", "rest", "test")) or stages.absent_simclr(work)
    if reason:
        return [
            Table.empty(name, title, reason, stages.command("labels"))
            for name, title in zip(NAMES, TITLES, strict=True)
        ]
    return [*study_tables(study(work), dataset_of(work)), chain_table(chain_rows(work), dataset_of(work))]


def dataset_of(work: Work) -> str:
    """The dataset that is studied."""
    return stages.MOTHS if work.quick else stages.BUTTERFLIES


def study(work: Work) -> Layout:
    """study_annotators.py, a linear head on generic features, with a head on the SimCLR encoder beside it; its files."""
    dataset = dataset_of(work)
    files = stages.layout(work, dataset, "annotators")
    where = ["--dataset", dataset, "--out", str(files.out), "--data-root", stages.root(work, dataset)]
    networks = ["--pretrained", work.pretrained, "--simclr-checkpoint", str(stages.simclr(work))]
    networks += ["--simclr-image-size", str(stages.simclr_side(work))]
    work.script(
        "study_annotators", *where, *networks, *(STUDY_QUICK.split() if work.quick else ["--repeats", str(SEEDS)])
    )
    return files


def study_tables(files: Layout, dataset: str) -> list[Table]:
    """What the study found: by who labelled what, and self-training round by round."""
    rows = read_rows(files.annotator_study(".csv"))
    found = findings(rows)
    seeds = len({row["seed"] for row in rows})
    sentences = " ".join(one.sentence(found.qualities[0]) for one in found.alternatives)
    text = (
        f"On {dataset}, a linear head on frozen features learns from the expert's images and from one simulated label for each image of "
        "the rest list, whose errors are spread evenly over the other classes, as people's are not; test accuracy in percent, mean and "
        f"standard deviation of {seeds} seeds; accuracies of people and of labels in percent. `people_pay_above`: the accuracy of people, "
        "in percent, above which their labels give a better classifier than what stands in the row (the lowest that was measured, if all "
        f"do), from the means, and lowest and highest of single seeds. {sentences}"
    )
    rounds = self_training(read_rows(files.annotator_study("_rounds.csv")))
    rounds_text = (
        f"On {dataset}, a classifier learns from the expert's images and from those of its own answers to the rest list that it is sure "
        f"of, anew in each round; means of {seeds} seeds. `changed`: images of the rest list with another label than in the round before. "
        "The last round counts in the table above; none was chosen by the test list."
    )
    command = stages.command("labels")
    draw = partial(_copy, files.annotator_study(".png"))
    return [
        Table(NAMES[0], TITLES[0], text, command, by_source(rows, found), draw),
        Table(NAMES[1], TITLES[1], rounds_text, command, rounds, partial(draw_rounds, rounds)),
    ]


def _copy(source: Path, target: Path) -> None:
    write_bytes(target, source.read_bytes())


def read_rows(path: Path) -> list[dict]:
    """A table of ours, numbers as numbers."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(value) if value and name != "labels" else value for name, value in row.items()} for row in rows
    ]


def mean(values: Sequence[float | str]) -> float | str:
    """The mean with two decimals; of nothing measured, nothing."""
    numbers = [value for value in values if isinstance(value, float)]
    return round(fmean(numbers), 2) if numbers else ""


def groups(rows: Sequence[dict], *names: str) -> dict[tuple, list[dict]]:
    """Rows by the values of some columns, in their order."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def by_source(rows: Sequence[dict], found: Findings) -> list[dict]:
    """The study's rows, the seeds of each merged into one."""
    pay = {one.labels: one for one in found.alternatives}
    merged = []
    for (labels, quality), seeds in groups(rows, "labels", "annotator_accuracy").items():
        right = [row["test_accuracy"] for row in seeds]
        row = {"labels": labels, "people": round(100 * quality, 1) if quality != "" else ""}
        row |= {"label_accuracy": mean([row["label_accuracy"] for row in seeds]), "test_accuracy": mean(right)}
        row |= {"deviation": round(stdev(right), 2) if len(right) > 1 else ""}
        alternative = pay.get(labels)
        limits = [alternative.pays_from, *alternative.range_of_seeds()] if alternative else []
        shown = ["never" if limit is None else round(100 * limit, 1) for limit in limits] or ["", "", ""]
        merged.append(row | dict(zip(("people_pay_above", "lowest", "highest"), shown, strict=True)))
    return merged


def self_training(rows: Sequence[dict]) -> list[dict]:
    """The rounds of self-training, the seeds of each merged into one."""
    columns = ("own_labels", "changed", "label_accuracy", "test_accuracy")
    return [
        {"labels": labels, "round": int(number)} | {name: mean([row[name] for row in seeds]) for name in columns}
        for (labels, number), seeds in groups(rows, "labels", "round").items()
    ]


def draw_rounds(rows: Sequence[dict], path: Path) -> None:
    """The figure of self-training: how right it is after each round."""
    lines = {labels: [row["test_accuracy"] for row in of_one] for (labels,), of_one in groups(rows, "labels").items()}
    rounds = sorted({row["round"] for row in rows})
    figures.curves(path, lines, rounds, "round of self-training", "test accuracy (%)")


def chain_rows(work: Work) -> list[dict]:
    """The classifier that learned from the expert's images alone, and those that learned from people's labels too."""
    dataset = dataset_of(work)
    teacher = stages.teacher(work, dataset)
    rows = [
        {
            "labels": "the expert's",
            "people": "",
            "label_accuracy": "",
            "test_accuracy": measured(teacher.out, CLASSIFIER),
        }
    ]
    page = course_page(work, dataset)
    for quality in CHAIN:
        out = retrained(work, dataset, page, quality)
        labels = json.loads(Layout(out).labels_report(SELECTION, ".json").read_text(encoding="utf-8"))["label"][
            "label_accuracy"
        ]
        row = {
            "labels": "the expert's and people's",
            "people": round(100 * quality, 1),
            "label_accuracy": round(labels, 2),
        }
        rows.append(row | {"test_accuracy": measured(out, CLASSIFIER)})
    return rows


def measured(out: Path, script: str) -> float:
    """The test accuracy in a run record."""
    return round(json.loads(Layout(out).run_record(script).read_text(encoding="utf-8"))["measured"]["test_accuracy"], 2)


def course_page(work: Work, dataset: str) -> Layout:
    """A course on the dataset, as a page for people, with all images of the rest list to label."""
    explained, files = stages.explanations(work, dataset, "margin"), stages.layout(work, dataset, "people")
    where = [
        "--dataset",
        dataset,
        "--out",
        str(files.out),
        "--data-root",
        stages.root(work, dataset),
        "--selection",
        SELECTION,
    ]
    course = [
        "--ce-list",
        str(explained.explanation_list()),
        "--pretrained",
        work.pretrained,
        "--image-size",
        str(stages.side(work)),
    ]
    work.script("train_butterflies_CMaxGrad", *where, *course, *(["--iterations", "2"] if work.quick else []))
    work.script("teach_butterflies", *where, *(["--test-images", "10"] if work.quick else []))
    return files


def retrained(work: Work, dataset: str, page: Layout, quality: float) -> Path:
    """Simulated people of an accuracy label the images of a course's page, and a classifier learns from the expert's and theirs.

    Returns:
        The folder with its files.
    """
    out = page.out / f"people_{100 * quality:.0f}"
    where = ["--dataset", dataset, "--out", str(out), "--data-root", stages.root(work, dataset)]
    key, people = (
        ["--key", str(page.course_page_key())],
        ["--people", str(PEOPLE), "--labels-per-image", "1", "--accuracy", str(quality)],
    )
    work.script("simulate_people", *where, *key, *people)
    work.script("label", *where, *key, "--selection", SELECTION, "--answers", str(Layout(out).simulated_answers))
    stages.train(
        work,
        dataset,
        out,
        "--train-list",
        str(Layout(out, page.list_stem).labeled_list(SELECTION)),
        "--seed",
        str(work.seed),
    )
    return out


def chain_table(rows: Sequence[dict], dataset: str) -> Table:
    """The table of the chain."""
    text = (
        f"On {dataset}, {PEOPLE} simulated people, whose errors are spread evenly over the other classes, answer a course's page, each "
        "image labelled by one of them; `label.py` makes a list of the expert's images and theirs, and the whole network "
        "learns from it as the teacher did from the expert's; one seed. Accuracies of people, of their labels, and of the network on the "
        "test list, in percent."
    )
    return Table(NAMES[2], TITLES[2], text, stages.command("labels"), rows, partial(draw_chain, rows))


def draw_chain(rows: Sequence[dict], path: Path) -> None:
    """The figure of the chain: how right the network is, by how right the people are."""
    alone, *people = rows
    right = [row["test_accuracy"] for row in people]
    lines = {"expert's and people's labels": right, "expert's images alone": [alone["test_accuracy"]] * len(people)}
    figures.curves(path, lines, [row["people"] for row in people], "people's accuracy (%)", "test accuracy (%)")
