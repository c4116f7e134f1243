"""What labels from real people are worth: the public logs of explain_teach, replayed.

All answers after the lessons are labels of the test list. Only lessons count as known answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import NamedTuple, cast

import numpy as np
from scipy.stats import mannwhitneyu

from benchmarks.results import runs
from benchmarks.results.courses import kept
from utils.base import figures
from utils.base.errors import InputError
from utils.base.machine import choose
from utils.data.catalog import find
from utils.people import aggregation
from utils.people.aggregation import Aggregator, Crowd, Votes, fit_crowd
from utils.people.answers import Answer, read_experiment
from utils.people.labelling import describe_all, known_answers
from utils.people.teacher import FOLDS, Teacher, load_network, load_teacher, make_teacher, store_teacher

EXPERIMENTS = {"butterflies_s300": ("butterflies_crop",), "chinese_chars": ("chinese_chars", "chinese_chars_crowd")}
DRAWS = 10  # of the expert's images and of the order of answers
PER_CLASS = (5, 10, 20, "all")  # the expert's images
ANSWERS = (0, 0.5, 1, 2, 3, 4, 5, 8, 16)  # per image
ROUNDS, STEPS, LAST_STEPS = 8, 8, 20  # rounds per answer and image; steps of EM in a round, and before labels are made
CERTAINTIES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)  # limits of the bins
# Whose certainties are checked: expert's images per class, aggregation, order, answers per image.
CHECKED = (("", "dawid_skene", "even", 5), (10, "teacher", "even", 5), (10, "teacher", "uncertain", 2))
OWN = 5  # lesson answers that a person's accuracy over all classes counts as


class Log(NamedTuple):
    """People's answers to the images of a test list, and a teacher with all of the expert's images."""

    votes: Votes
    known: np.ndarray  # as in `aggregate`, (K, 4)
    truth: np.ndarray  # (N,)
    teacher: Teacher


def make(cfg) -> None:
    """Makes the tables of labels, certainties, people and lessons, and the figure of labels."""
    parts = [kept(cfg, f"crowd/{dataset}", partial(measure, cfg, dataset)) for dataset in EXPERIMENTS]
    for name in parts[0]:
        runs.save_table(cfg, name, [row for part in parts for row in part[name]])
    draw_figure(Path(cfg.out, "crowd.png"), [part["crowd"] for part in parts])


def measure(cfg, dataset: str) -> dict[str, list[dict]]:
    """Returns the rows of each table for a dataset."""
    root = runs.data_root(cfg, dataset)
    described, files = find(dataset, root), runs.layout(cfg, dataset, "crowd")
    folders = [Path(root, "explain_teach", name) for name in EXPERIMENTS[dataset]]
    answers = {folder.name: read_experiment(folder, described.classes) for folder in folders}
    how = SimpleNamespace(**vars(cfg) | {"batch_size": 32, "device": choose(cfg.device)})
    files.out.mkdir(parents=True, exist_ok=True)
    store_teacher(files, replace(described, rest=""), load_network({}, how), how)
    everything = [answer for some in answers.values() for answer in some]
    labels, certainties = replay_all(make_log(everything, load_teacher(files.teacher_features)), cfg.seed)
    areas = lesson_auc(everything, len(described.classes))
    tables = {
        "crowd": labels,
        "crowd_reliability": certainties,
        "crowd_conditions": [row for name, some in answers.items() for row in conditions(name, some)],
        "crowd_lessons": [{"auc": round(fmean(areas), 3), "auc_sd": round(stdev(areas), 3)}],
    }
    return {name: [{"dataset": dataset} | row for row in rows] for name, rows in tables.items()}


def make_log(answers: Sequence[Answer], teacher: Teacher | None) -> Log:
    if teacher is None:
        raise InputError("The replay of people's answers needs a teacher with weights. Pass --pretrained.")
    votes = Votes.of([answer for answer in answers if answer.phase == "test"])
    truth, place = ({a.image: a.truth for a in answers}, {name: row for row, name in enumerate(votes.people)})
    known = [(place[a.person], a.truth, a.response, weight) for a, weight in known_answers(answers, test=False)]
    return Log(votes, np.array(known), np.array([truth[image] for image in votes.images]), teacher)


def replay_all(log: Log, seed: int) -> tuple[list[dict], list[dict]]:
    """Returns the accuracies (%) of the labels of every method, and the reliability of some certainties."""
    teachers = {count: [draw_teacher(log.teacher, count, seed, draw) for draw in range(DRAWS)] for count in PER_CLASS}
    ways: list[tuple] = [("", method, "even") for method in ("majority", "dawid_skene", "one_coin")]
    ways += product(PER_CLASS, ("teacher_fixed", "teacher"), ("even", "uncertain"))
    labels, certainties = [], []
    for count, method, order in ways:
        how = [(log, method, order, teacher) for teacher in teachers.get(count, [None] * DRAWS)]
        for found in zip(*(replay(*one, seed, draw) for draw, one in enumerate(how)), strict=True):
            (answers, *_), label, certainty = (np.array(values) for values in zip(*found, strict=True))
            row = {"expert_per_class": count, "aggregation": method, "order": order}
            row["answers_per_image"] = float(answers)
            right = label == log.truth
            sd = round(stdev(100 * right.mean(1)), 1)
            labels.append(row | {"accuracy": round(100 * float(right.mean()), 1), "accuracy_sd": sd})
            if tuple(row.values()) in CHECKED:
                certainties += [row | one for one in reliability(certainty.ravel(), right.ravel())]
    return labels, certainties


def draw_teacher(whole: Teacher, count: int | str, seed: int, draw: int) -> Teacher:
    """Returns a teacher that learned `count` random images of each class, or all."""
    rng, most = np.random.default_rng((seed, draw)), None if count == "all" else int(count)
    owned = [rng.permutation(np.flatnonzero(whole.expert_labels == label))[:most] for label in range(whole.classes)]
    rows, paths = np.concatenate(owned), list(whole.paths)
    return make_teacher(whole.expert[rows], whole.expert_labels[rows], paths, whole.features, whole.classes)[0]


def shuffled(votes: Votes, rng: np.random.Generator) -> tuple[Votes, np.ndarray]:
    """Shuffles the answers to each image. Returns them with their places among the answers to their image, (M,)."""
    first = np.searchsorted(votes.image, votes.image)
    return taken(votes, np.lexsort((rng.random(len(first)), votes.image))), np.arange(len(first)) - first


def taken(votes: Votes, rows: np.ndarray) -> Votes:
    return replace(votes, image=votes.image[rows], person=votes.person[rows], answer=votes.answer[rows])


def replay(
    log: Log, method: str, order: str, teacher: Teacher | None, seed: int, draw: int
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yields answers per image, labels (N,) and certainties (N,) while people are asked.

    A round asks about the images with fewest answers so far, or the least certain ones. Each gets its next recorded
    answer, no matter who gave it. After every N/2 answers, the labels under the untaught teacher's prior teach it.
    """
    rng, images, classes = np.random.default_rng((seed, draw, 1)), log.votes.images, log.teacher.classes
    votes, place = shuffled(log.votes, rng)
    recorded, got = np.bincount(votes.image), np.zeros(len(images), dtype=np.int64)
    prior = posterior = teacher.prior(images) if teacher else np.ones((len(images), classes))
    for halves in range(int(2 * ANSWERS[-1]) + 1):
        if halves * len(images) // 2 > len(place):
            return
        while missing := halves * len(images) // 2 - got.sum():
            rest = np.flatnonzero(got < recorded)
            urgency = posterior.max(1) if order == "uncertain" else got
            first = np.lexsort((rng.random(len(rest)), urgency[rest]))[: min(missing, -(-len(images) // ROUNDS))]
            got[rest[first]] += 1
            if order == "uncertain":
                crowd = Crowd(taken(votes, place < got[votes.image]), log.known, classes)
                posterior = fit_crowd(crowd, prior, posterior, STEPS).posterior
        asked = taken(votes, place < got[votes.image])
        crowd, shown = Crowd(asked, log.known, classes), halves / 2 in ANSWERS
        if teacher and method == "teacher" and halves and (shown or order == "uncertain"):
            prior = aggregation.taught_prior(crowd, teacher, LAST_STEPS)
            posterior = fit_crowd(crowd, prior, prior, STEPS).posterior
        if teacher and shown:
            final = fit_crowd(crowd, prior, posterior, LAST_STEPS).posterior
            yield halves / 2, final.argmax(1), final.max(1)
        elif shown and halves > 1:
            # The majority would use known answers for its ties.
            known = log.known[:0] if method == "majority" else log.known
            how = Aggregator(cast(aggregation.Aggregation, method), draw)
            found = aggregation.aggregate(asked, classes, known, how)
            yield halves / 2, found.label, found.certainty


def reliability(certainty: np.ndarray, right: np.ndarray) -> list[dict]:
    """Returns number, mean certainty and accuracy (%) of labels in bins of their certainty."""
    rows, bins = [], np.digitize(certainty, CERTAINTIES[1:-1])
    for number in np.unique(bins).tolist():
        mean, accuracy = (round(100 * float(values[bins == number].mean()), 1) for values in (certainty, right))
        row = {"certainty_from": CERTAINTIES[number], "certainty_to": CERTAINTIES[number + 1]}
        rows.append(row | {"labels": int((bins == number).sum()), "mean_certainty": mean, "accuracy": accuracy})
    return rows


def conditions(experiment: str, answers: Sequence[Answer]) -> list[dict]:
    """Returns people's mean test accuracy (%) by teaching condition, with its standard error."""
    groups: dict[str, list[float]] = {}
    for person in describe_all(answers, 0):
        groups.setdefault(person.group, []).append(person.test_accuracy or 0)
    return [
        {"experiment": experiment, "condition": name, "people": len(values), "accuracy": round(fmean(values), 1)}
        | {"standard_error": round(stdev(values) / len(values) ** 0.5, 1)}
        for name, values in sorted(groups.items())
    ]


def lesson_auc(answers: Sequence[Answer], num_classes: int) -> list[float]:
    """Returns for each fold of people how well their lesson answers predict which of their test answers are right.

    Mean over classes of the area under the ROC curve. A person's score for a class is the share of right lesson
    answers, shrunk to the person's share over all classes.
    """
    tests = [answer for answer in answers if answer.phase == "test"]
    people = sorted({answer.person for answer in tests})
    lessons = [[one for one in answers if one.person == name and one.phase == "lesson"] for name in people]
    counts = np.array([aggregation.confusion_counts(some, num_classes) for some in lessons])  # (P, C, C)
    right = counts.diagonal(axis1=1, axis2=2)
    shrunk = (right + OWN * right.sum(1, keepdims=True) / counts.sum((1, 2))[:, None]) / (counts.sum(2) + OWN)
    rows = np.array([(people.index(a.person), a.truth, a.response == a.truth) for a in tests])
    areas = []
    for fold in range(FOLDS):
        parts = [rows[(rows[:, 0] % FOLDS == fold) & (rows[:, 1] == label)] for label in range(num_classes)]
        scored = [(shrunk[some[:, 0], some[:, 1]], some[:, 2] == 1) for some in parts]
        areas.append(fmean(mannwhitneyu(x[y], x[~y]).statistic / (y.sum() * (~y).sum()) for x, y in scored))
    return areas


def draw_figure(path: Path, tables: Sequence[Sequence[dict]]) -> None:
    """Draws accuracy against answers per image: the teacher, asked by certainty, and the majority."""
    drawn = figures.figure(9.6, 4.2, layout="constrained")
    shown = [("", "majority", "even"), *((count, "teacher", "uncertain") for count in PER_CLASS[:-1])]
    for axes, rows in zip(drawn.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        for color, way in zip(("black", "tab:blue", "tab:orange", "tab:green"), shown, strict=True):
            x, y, sd = np.array([[*row.values()][4:] for row in rows if (*row.values(),)[1:4] == way]).T
            label = f"{way[0]} expert images per class" if way[0] else "majority, asked evenly"
            axes.plot(x, y, marker=".", label=label, color=color)
            axes.fill_between(x, y - sd, y + sd, color=color, alpha=0.15, linewidth=0)
        axes.set(xlabel="answers per image", ylabel="labels that are right (%)", title=rows[0]["dataset"])
        axes.grid(alpha=0.3)
        axes.legend()
    figures.save(path, drawn)
