"""The paper's study of annotators: how good must people be, so that a classifier gains from their labels?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from models.resnet import Network, build
from models.weights import Normalize, load_backbone
from utils.base import figures, processes
from utils.base.errors import InputError
from utils.base.files import write_table
from utils.data.catalog import Dataset
from utils.data.images import eval_view, full_view
from utils.data.lists import UNKNOWN, Example
from utils.data.loading import ImageSet, open_list
from utils.data.outputs import Layout
from utils.people.aggregation import Votes, majority
from utils.people.simulated import respond, symmetric
from utils.training.classifier import ClassifierRecipe, test_view, train_classifier
from utils.training.evaluation import accuracy, logits_of_list
from utils.training.probe import ProbeSettings, encode, fit_probe
from utils.training.self_training import SelfTraining, confident_labels

# Values of the column `labels`: who labeled the images that a classifier learns from.
EXPERT, ANNOTATORS, SELF_TRAINED = "expert alone", "expert and annotators", "expert and own confident answers"
ON_SIMCLR = ", SimCLR features"  # suffix for heads on a SimCLR encoder
TABLE = ("labels", "annotator_accuracy", "seed", "label_accuracy", "test_accuracy")
ROUNDS_TABLE = ("labels", "seed", "round", "own_labels", "changed", "label_accuracy", "test_accuracy")

# Classifiers that need no people: name in sentences and figure, value of `labels`, and color.
WITHOUT_PEOPLE = {
    "the expert's images only": (EXPERT, "tab:red"),
    "self-training": (SELF_TRAINED, "tab:purple"),
    "SimCLR features": (EXPERT + ON_SIMCLR, "tab:orange"),
    "self-training on SimCLR features": (SELF_TRAINED + ON_SIMCLR, "tab:brown"),
}


@dataclass(frozen=True)
class Material:
    """Images of a study: the expert's rows, the rows for people with their true labels, and the test list."""

    expert: list[Example]
    rest: list[Example]
    test: ImageSet
    num_classes: int


@dataclass(frozen=True)
class Learned:
    """A trained classifier: test accuracy in percent, and a function for its probabilities on the rest, (N, C)."""

    test_accuracy: float
    on_rest: Callable[[], Tensor]


Learner = Callable[[Sequence[Example], int], Learned]  # trains a classifier on labeled rows with a seed


def open_material(dataset: Dataset, data_root: str, image_size: int, ram_budget: float = 0) -> Material:
    """Opens the lists of a dataset; rest images of unknown class are left out.

    Raises:
        InputError: a list is missing or malformed, or the classes of all rest or test images are unknown.
    """
    view = partial(eval_view, size=image_size)
    rest, expert, test = (
        open_list(dataset, split, data_root, view, ram_budget=ram_budget) for split in ("rest", "train", "test")
    )
    for images in (rest, test):
        if not images.num_known:
            raise InputError(f"{images.source}: the classes of all images are unknown. The study needs true labels.")
    known = [row for row in rest.rows if row.label != UNKNOWN]
    if len(known) < len(rest):
        processes.say(f"{len(rest) - len(known)} images of {rest.source} have no known class and are left out.")
    return Material(list(expert.rows), known, test, len(dataset.classes))


def probe_learner(material: Material, encoder: Network, how: ProbeSettings) -> Learner:
    """Returns a learner that fits linear heads on the frozen features of a network, which are computed here once."""
    rows = [*material.expert, *material.rest]
    images = ImageSet(rows, "the lists of the study", material.test.data_root, material.test.view)
    features = encode(encoder, images, how)
    test_features = encode(encoder, material.test, how)
    place = {row.path: number for number, row in enumerate(rows)}

    def learn(labeled: Sequence[Example], seed: int) -> Learned:
        seen = features[[place[row.path] for row in labeled]]
        labels = torch.tensor([row.label for row in labeled], device=seen.device)
        head, _ = fit_probe(seen, labels, material.num_classes, replace(how, seed=seed), quiet=True)
        right = accuracy(head(test_features).argmax(1).cpu(), material.test.labels)
        return Learned(right, lambda: head(features[len(material.expert) :]).softmax(1))

    return learn


def finetune_learner(
    material: Material, arch: str, pretrained: str, normalize: Normalize, how: ClassifierRecipe
) -> Learner:
    """Returns a learner that trains whole networks like train_butterflies_resnet18.py."""
    test = material.test
    rest = ImageSet(material.rest, "the rest list", test.data_root, test.view, test.ram_budget)

    def learn(labeled: Sequence[Example], seed: int) -> Learned:
        torch.manual_seed(seed)
        network = build(arch, material.num_classes)
        load_backbone(network, pretrained, normalize)
        recipe = replace(how, seed=seed)
        images = ImageSet(list(labeled), "the lists of the study", test.data_root, full_view, test.ram_budget)
        right = train_classifier(network, images, test, recipe)[-1]["test_accuracy"]
        return Learned(right, lambda: logits_of_list(test_view(network, rest, recipe)).softmax(1))

    return learn


def simulated_labels(rest: Sequence[Example], num_classes: int, quality: float, per_image: int, seed: int) -> Tensor:
    """Returns the majority of `per_image` answers to each image, by people of accuracy `quality`; ties are drawn."""
    rng = np.random.default_rng(seed)
    truth = np.array([row.label for row in rest])
    answered = [respond(truth, symmetric(quality, num_classes), rng) for _ in range(per_image)]
    votes = Votes(
        images=[row.path for row in rest],
        people=[str(person) for person in range(per_image)],
        image=np.tile(np.arange(len(rest)), per_image),
        person=np.repeat(np.arange(per_image), len(rest)),
        answer=np.concatenate(answered),
    )
    return torch.from_numpy(majority(votes, num_classes, np.ones(per_image), seed).label)


@dataclass(frozen=True)
class Step:
    """One classifier of a study."""

    seed: int  # of its training and of the annotators' errors
    quality: float | None = None  # accuracy of the annotators who label the rest, 0 .. 1; None without annotators
    round: int = 0  # round of self-training, from 1; 0 without self-training
    simclr: bool = False  # a head on SimCLR features

    @property
    def labels(self) -> str:
        without_people = SELF_TRAINED if self.round else EXPERT
        return (without_people if self.quality is None else ANNOTATORS) + ON_SIMCLR * self.simclr


def steps(accuracies: Sequence[float], repeats: int, seed: int, rounds: int, simclr: bool) -> list[Step]:
    """Returns the classifiers of a study in order. Annotators of accuracy 1 (expert labels for all) are included."""
    seeds = range(seed, seed + repeats)
    planned = [Step(one, quality) for quality in (None, *sorted({*accuracies, 1.0})) for one in seeds]
    for on_simclr in (False, True)[: 1 + simclr]:
        if on_simclr:
            planned += [Step(one, simclr=True) for one in seeds]
        planned += [Step(one, round=number, simclr=on_simclr) for one in seeds for number in range(1, rounds + 1)]
    return planned


@dataclass
class Study:
    """Trains the classifiers of a study one by one; a new object with the same `state` continues it."""

    material: Material
    learner: Learner
    simclr: Learner | None  # of heads on SimCLR features
    per_image: int  # annotators per image
    how: SelfTraining
    state: dict = field(
        default_factory=lambda: {"rows": [], "answers": {}}
    )  # answers: last round of each self-training

    @property
    def rows(self) -> list[dict]:
        return self.state["rows"]

    def run(self, step: Step) -> None:
        """Trains the next classifier and appends its row to the table."""
        rest, answers, key = self.material.rest, self.state["answers"], f"{step.seed}{ON_SIMCLR * step.simclr}"
        labels, changed = torch.full((len(rest),), UNKNOWN), 0
        if step.quality is not None:
            labels = simulated_labels(rest, self.material.num_classes, step.quality, self.per_image, step.seed)
        elif step.round:
            labels = answers[key]["next"]
            changed = int((labels != answers[key]["labels"]).sum())
        labeled = [(row, label) for row, label in zip(rest, labels.tolist(), strict=True) if label != UNKNOWN]
        if step.round and not changed:  # the same labels and seed give the same classifier
            test_accuracy = answers[key]["test_accuracy"]
        else:
            learner = self.simclr if step.simclr else self.learner
            learned = learner(
                [*self.material.expert, *(replace(row, label=label) for row, label in labeled)], step.seed
            )
            test_accuracy = learned.test_accuracy
            if step.quality is None and self.how.rounds:
                confident = confident_labels(learned.on_rest(), self.how.confidence)
                answers[key] = {"labels": labels, "next": confident, "test_accuracy": test_accuracy}
        right = sum(label == row.label for row, label in labeled)
        self.rows.append(
            {
                "labels": step.labels,
                "annotator_accuracy": "" if step.quality is None else step.quality,
                "seed": step.seed,
                "label_accuracy": round(100 * right / len(labeled), 3) if labeled else "",
                "test_accuracy": round(test_accuracy, 3),
                "round": step.round,
                "own_labels": len(labeled) if step.round else 0,
                "changed": changed,
            }
        )


def write_study(layout: Layout, rows: Sequence[dict], last_round: int) -> list[dict]:
    """Writes the table of classifiers and that of self-training's rounds; returns the rows of the first."""
    last = [row for row in rows if row["round"] in (0, last_round)]
    write_table(layout.annotator_study(".csv"), [{name: row[name] for name in TABLE} for row in last])
    rounds = [{name: row[name] for name in ROUNDS_TABLE} for row in rows if row["round"]]
    layout.annotator_study("_rounds.csv").unlink(missing_ok=True)
    if rounds:
        write_table(layout.annotator_study("_rounds.csv"), rounds)
    return last


def break_even(qualities: Sequence[float], right: Sequence[float], level: float) -> float | None:
    """Returns the annotators' accuracy above which a classifier that learns from them exceeds `level`, in percent.

    `right` is the classifier's accuracy in percent for each of `qualities`, interpolated linearly; the last crossing
    counts. Returns the lowest quality if all values are above the level, and None if the last is not.
    """
    below = [place for place, value in enumerate(right) if value <= level]
    if not below:
        return qualities[0]
    last = below[-1]
    if last == len(right) - 1:
        return None
    share = (level - right[last]) / (right[last + 1] - right[last])
    return qualities[last] + share * (qualities[last + 1] - qualities[last])


@dataclass(frozen=True)
class Alternative:
    """A classifier that needs no people."""

    name: str  # key of WITHOUT_PEOPLE
    right: list[float]  # test accuracy in percent of each seed
    pays_from: float | None  # break-even of the means over seeds
    by_seed: list[float | None]  # break-even of each seed

    @property
    def labels(self) -> str:
        return WITHOUT_PEOPLE[self.name][0]

    def range_of_seeds(self) -> tuple[float | None, float | None]:
        """Returns the lowest and highest break-even of the seeds; None (never) is the highest."""
        ordered = sorted(self.by_seed, key=lambda quality: math.inf if quality is None else quality)
        return ordered[0], ordered[-1]

    def sentence(self, lowest: float) -> str:
        """Returns one sentence on the break-even; `lowest` is the lowest measured accuracy of annotators."""
        if self.pays_from is None:
            found = "annotators never pay, even if they are always right"
        elif self.pays_from <= lowest:
            found = f"annotators pay at all measured accuracies, from {100 * lowest:.0f} %"
        else:
            found = f"annotators pay if they are right on more than {100 * self.pays_from:.0f} % of the images"
        first, last = ("never" if quality is None else f"{100 * quality:.0f} %" for quality in self.range_of_seeds())
        seeds = f" (by seed: {first} to {last})" if len(self.by_seed) > 1 else ""
        return f"Compared with {self.name} ({fmean(self.right):.1f} % right), {found}{seeds}."


@dataclass(frozen=True)
class Findings:
    """Rows of a study, sorted."""

    qualities: list[float]  # accuracies of annotators, ascending, 0 .. 1
    points: list[list[float]]  # test accuracies in percent for each of them, one per seed
    alternatives: list[Alternative]


def findings(rows: Sequence[dict]) -> Findings:
    """Computes the break-evens from the rows of study_annotators.csv; seeds must have the same order everywhere."""
    qualities = sorted({row["annotator_accuracy"] for row in rows} - {""})
    points = [[row["test_accuracy"] for row in rows if row["annotator_accuracy"] == quality] for quality in qualities]
    found = []
    for name, (labels, _) in WITHOUT_PEOPLE.items():
        right = [row["test_accuracy"] for row in rows if row["labels"] == labels]
        if right:
            curves = zip(zip(*points, strict=True), right, strict=True)
            by_seed = [break_even(qualities, curve, level) for curve, level in curves]
            pays_from = break_even(qualities, [fmean(values) for values in points], fmean(right))
            found.append(Alternative(name, right, pays_from, by_seed))
    return Findings(qualities, points, found)


def draw_study(path: Path, found: Findings, title: str) -> None:
    """Draws test accuracy against the annotators' accuracy: means, seeds as dots, alternatives as lines with bands."""
    drawn = figures.figure(7.2, 4.8, layout="constrained")
    axes = drawn.add_subplot()
    means = [fmean(values) for values in found.points]
    axes.plot(found.qualities, means, marker="o", color="tab:blue", label="labels of expert and annotators")
    for quality, values in zip(found.qualities, found.points, strict=True):
        axes.scatter([quality] * len(values), values, s=8, color="tab:blue", alpha=0.5)
    for one in found.alternatives:
        color, level = WITHOUT_PEOPLE[one.name][1], fmean(one.right)
        pays = "never" if one.pays_from is None else f"from {100 * one.pays_from:.0f} %"
        axes.axhline(level, color=color, linestyle="--", linewidth=1, label=f"{one.name}; people pay {pays}")
        axes.axhspan(min(one.right), max(one.right), color=color, alpha=0.08, linewidth=0)
        if one.pays_from is not None and one.pays_from > found.qualities[0]:
            axes.plot([one.pays_from], [level], marker="x", color=color, linestyle="none")
    axes.axhline(means[-1], color="tab:green", linestyle="--", linewidth=1, label="expert labels for all")
    axes.set(xlabel="accuracy of annotators", ylabel="test accuracy of the classifier (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figures.save(path, drawn)
