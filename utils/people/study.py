"""The paper's study of annotators: how good must people be for a classifier to gain from their labels?"""

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
from utils.data.catalog import Dataset
from utils.data.images import eval_view, full_view
from utils.data.lists import UNKNOWN, Example
from utils.data.loading import ImageSet, open_list
from utils.people.aggregation import Votes, majority, symmetric
from utils.people.simulated import respond
from utils.training.classifier import ClassifierRecipe, test_view, train_classifier
from utils.training.evaluation import accuracy, logits_of_list
from utils.training.probe import ProbeSettings, encode, fit_probe

# Values of the column `labels`: who labeled the images that a classifier learns from.
EXPERT, ANNOTATORS, SELF_TRAINED = "expert alone", "expert and annotators", "expert and own confident answers"
ON_SIMCLR = ", SimCLR features"  # suffix for heads on a SimCLR encoder
TABLE = ("labels", "annotator_accuracy", "seed", "label_accuracy", "test_accuracy")

# Trains a classifier on labeled rows with a seed. Returns its test accuracy in percent, and a function for its
# probabilities on the rest, (N, C).
Learner = Callable[[Sequence[Example], int], tuple[float, Callable[[], Tensor]]]


@dataclass(frozen=True)
class Material:
    expert: list[Example]
    rest: list[Example]  # images for people, with their true labels
    test: ImageSet
    num_classes: int


def open_material(dataset: Dataset, data_root: str, image_size: int, ram_budget: float = 0) -> Material:
    """Opens the lists of a dataset; rest images of unknown class are left out."""
    view = partial(eval_view, size=image_size)
    opened = partial(open_list, dataset, data_root=data_root, view=view, ram_budget=ram_budget)
    rest, expert, test = opened("rest"), opened("train"), opened("test")
    known = [row for row in rest.rows if row.label != UNKNOWN]
    if not known or not test.num_known:
        raise InputError(f"All classes in {rest.source} or {test.source} are unknown. The study needs true labels.")
    if len(known) < len(rest):
        processes.say(f"{rest.source}: {len(rest) - len(known)} images of unknown class are left out.")
    return Material(list(expert.rows), known, test, len(dataset.classes))


def probe_learner(material: Material, encoder: Network, how: ProbeSettings) -> Learner:
    """Returns a learner that fits linear heads on the features of a frozen network, which are computed once."""
    rows = [*material.expert, *material.rest]
    images = ImageSet(rows, "the lists of the study", material.test.data_root, material.test.view)
    features = encode(encoder, images, how)
    test_features = encode(encoder, material.test, how)
    place = {row.path: number for number, row in enumerate(rows)}

    def learn(labeled: Sequence[Example], seed: int) -> tuple[float, Callable[[], Tensor]]:
        seen = features[[place[row.path] for row in labeled]]
        labels = torch.tensor([row.label for row in labeled], device=seen.device)
        head, _ = fit_probe(seen, labels, material.num_classes, replace(how, seed=seed), quiet=True)
        right = accuracy(head(test_features).argmax(1).cpu(), material.test.labels)
        return right, lambda: head(features[len(material.expert) :]).softmax(1)

    return learn


def finetune_learner(
    material: Material, arch: str, pretrained: str, normalize: Normalize, how: ClassifierRecipe
) -> Learner:
    """Returns a learner that trains whole networks like train_butterflies_resnet18.py."""
    test = material.test
    rest = ImageSet(material.rest, "the rest list", test.data_root, test.view, test.ram_budget)

    def learn(labeled: Sequence[Example], seed: int) -> tuple[float, Callable[[], Tensor]]:
        torch.manual_seed(seed)
        network = build(arch, material.num_classes)
        load_backbone(network, pretrained, normalize)
        recipe = replace(how, seed=seed)
        images = ImageSet(list(labeled), "the lists of the study", test.data_root, full_view, test.ram_budget)
        right = train_classifier(network, images, test, recipe)[-1]["test_accuracy"]
        return right, lambda: logits_of_list(test_view(network, rest, recipe)).softmax(1)

    return learn


def simulated_labels(rest: Sequence[Example], num_classes: int, quality: float, per_image: int, seed: int) -> Tensor:
    """Returns the majority of `per_image` answers to each image, by people of accuracy `quality`; ties are drawn."""
    rng = np.random.default_rng(seed)
    truth = np.array([row.label for row in rest])
    answers = [respond(truth, symmetric(quality, num_classes), rng) for _ in range(per_image)]
    image, person = np.tile(np.arange(len(rest)), per_image), np.repeat(np.arange(per_image), len(rest))
    votes = Votes([row.path for row in rest], list(map(str, range(per_image))), image, person, np.concatenate(answers))
    return torch.from_numpy(majority(votes, num_classes, np.ones(per_image), seed).label)


@dataclass(frozen=True)
class Step:
    seed: int  # seed of the training and of the annotators' errors
    quality: float | None = None  # accuracy of the annotators who label the rest, 0 .. 1; None without annotators
    simclr: bool = False  # heads on SimCLR features


def steps(accuracies: Sequence[float], repeats: int, seed: int, simclr: bool) -> list[Step]:
    """Returns the steps of a study in order. Annotators of accuracy 1 (expert labels for all) are included."""
    seeds = range(seed, seed + repeats)
    planned = [Step(one, quality) for quality in (None, *sorted({*accuracies, 1.0})) for one in seeds]
    return planned + [Step(one, simclr=True) for one in seeds if simclr]


def confident_labels(probabilities: Tensor, confidence: float) -> Tensor:
    """Returns the most probable classes (N,) of probabilities (N, C); UNKNOWN if below `confidence`."""
    highest, answers = probabilities.cpu().max(1)
    return torch.where(highest >= confidence, answers, UNKNOWN)


@dataclass
class Study:
    """Trains the classifiers of a study.

    In self-training (Lee, ICML workshop 2013; Xie et al., Noisy Student, CVPR 2020), predictions of at least
    `confidence` become labels for the next classifier, which is trained from scratch. True labels are never used.
    """

    material: Material
    learner: Learner
    simclr: Learner | None  # learns from SimCLR features
    per_image: int  # people who label each image
    rounds: int  # of self-training
    confidence: float
    state: dict = field(default_factory=lambda: {"steps": 0, "rows": []})  # finished steps, and rows of the table

    def run(self, step: Step) -> None:
        """Runs the next step and appends its rows to the table: without annotators, also that of self-training."""
        rest, learner = self.material.rest, self.simclr if step.simclr and self.simclr else self.learner

        def learn(labels: Tensor) -> tuple[dict, Callable[[], Tensor]]:
            pairs = [(row, label) for row, label in zip(rest, labels.tolist(), strict=True) if label != UNKNOWN]
            labeled = [replace(row, label=label) for row, label in pairs]
            right, on_rest = learner([*self.material.expert, *labeled], step.seed)
            share = round(100 * sum(label == row.label for row, label in pairs) / len(pairs), 3) if pairs else ""
            quality = "" if step.quality is None else step.quality
            return dict(zip(TABLE, ("", quality, step.seed, share, round(right, 3)), strict=True)), on_rest

        if step.quality is not None:
            labels = simulated_labels(rest, self.material.num_classes, step.quality, self.per_image, step.seed)
            found = {ANNOTATORS: learn(labels)[0]}
        else:
            labels = torch.full((len(rest),), UNKNOWN)
            row, on_rest = learn(labels)
            found = {EXPERT: row}
            for _ in range(self.rounds):
                before, labels = labels, confident_labels(on_rest(), self.confidence)
                if not labels.equal(before):  # the same labels and seed give the same classifier
                    row, on_rest = learn(labels)
                found[SELF_TRAINED] = row
        self.state["rows"] += [row | {"labels": labels + ON_SIMCLR * step.simclr} for labels, row in found.items()]
        self.state["steps"] += 1


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

    labels: str  # value of the column `labels`
    right: list[float]  # test accuracy in percent of each seed
    pays_from: float | None  # break-even of the means over seeds
    by_seed: list[float | None]  # break-even of each seed, ascending; None (never) is last

    def sentence(self, lowest: float) -> str:
        """Returns one sentence on the break-even; `lowest` is the lowest measured accuracy of annotators."""
        if self.pays_from is None:
            found = "annotators never pay, even if they are always right"
        elif self.pays_from <= lowest:
            found = f"annotators pay at all measured accuracies, from {100 * lowest:.0f} %"
        else:
            found = f"annotators pay if they are right on more than {100 * self.pays_from:.0f} % of the images"
        limits = ["never" if one is None else f"{100 * one:.0f} %" for one in (self.by_seed[0], self.by_seed[-1])]
        seeds = f" (by seed: {limits[0]} to {limits[1]})" if len(self.by_seed) > 1 else ""
        return f"Compared with {self.labels!r} ({fmean(self.right):.1f} % right), {found}{seeds}."


def annotator_curve(rows: Sequence[dict]) -> dict[float, list[float]]:
    """Returns the test accuracies in percent, one per seed, by annotators' accuracy (0 .. 1, ascending)."""
    qualities = sorted({row["annotator_accuracy"] for row in rows} - {""})
    return {one: [row["test_accuracy"] for row in rows if row["annotator_accuracy"] == one] for one in qualities}


def alternatives(rows: Sequence[dict]) -> list[Alternative]:
    """Computes the break-evens from the rows of study_annotators.csv; seeds must have the same order everywhere."""
    curve, found = annotator_curve(rows), []
    for labels in dict.fromkeys(row["labels"] for row in rows if row["labels"] != ANNOTATORS):
        right = [row["test_accuracy"] for row in rows if row["labels"] == labels]
        seeds = zip(zip(*curve.values(), strict=True), right, strict=True)
        by_seed = [break_even(list(curve), values, level) for values, level in seeds]
        by_seed.sort(key=lambda quality: math.inf if quality is None else quality)
        pays_from = break_even(list(curve), [fmean(values) for values in curve.values()], fmean(right))
        found.append(Alternative(labels, right, pays_from, by_seed))
    return found


def draw_study(path: Path, rows: Sequence[dict]) -> None:
    """Draws test accuracy against annotators' accuracy: means over seeds, with bands from lowest to highest."""
    curve = annotator_curve(rows)
    lines = {ANNOTATORS: list(curve.values())}
    lines |= {one.labels: [one.right] * len(curve) for one in alternatives(rows)}
    means = {name: [fmean(values) for values in points] for name, points in lines.items()}
    ranges = {name: (list(map(min, points)), list(map(max, points))) for name, points in lines.items()}
    x_label, y_label = "accuracy of annotators (%)", "test accuracy (%)"
    figures.curves(path, means, [100 * quality for quality in curve], x_label, y_label, ranges=ranges)
