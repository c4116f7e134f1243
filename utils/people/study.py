"""What a classifier learns from annotators of a given accuracy: labels are simulated, classifiers are trained on them and tested."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from models.resnet import build
from models.weights import load_backbone
from utils.base import figures, processes
from utils.base.errors import InputError
from utils.data.catalog import Dataset
from utils.data.images import eval_view, full_view
from utils.data.lists import UNKNOWN, Example
from utils.data.loading import ImageSet, open_list
from utils.people.aggregation import Votes, majority
from utils.people.simulated import respond, symmetric
from utils.training.classifier import ClassifierRecipe, train_classifier
from utils.training.evaluation import accuracy
from utils.training.probe import ProbeSettings, encode, fit_probe

EXPERT, ANNOTATORS = "expert alone", "expert and annotators"  # who labelled what the classifier learns from


@dataclass(frozen=True)
class Material:
    """The images of a study.

    Attributes:
        expert: rows that the expert labelled.
        rest: rows that people label, with their true labels; those whose class is unknown are not among them.
        test: the test list.
        num_classes: C.
    """

    expert: list[Example]
    rest: list[Example]
    test: ImageSet
    num_classes: int


# From (rows with labels to learn from, seed) to the accuracy on the test list in percent.
Classify = Callable[[Sequence[Example], int], float]


def open_material(dataset: Dataset, data_root: str, image_size: int) -> Material:
    """The lists of a dataset that has a list of images for people to label.

    Raises:
        InputError: a list or an image is missing or malformed, or no class of an image to label, or to test by, is known.
    """
    view = partial(eval_view, size=image_size)
    rest, expert, test = (open_list(dataset, split, data_root, view) for split in ("rest", "train", "test"))
    for images, purpose in ((rest, "nobody can be simulated without the truth"), (test, "nothing can be measured")):
        if not images.num_known:
            raise InputError(f"{images.source}: the classes of all images are unknown (label {UNKNOWN}), so that {purpose}; tell some.")
    known = [row for row in rest.rows if row.label != UNKNOWN]
    if len(known) < len(rest):
        unknown = len(rest) - len(known)
        processes.say(f"The classes of {unknown} of {len(rest)} images of {rest.source} are unknown: the study is of the others.")
    return Material(list(expert.rows), known, test, len(dataset.classes))


def probe_classifier(material: Material, arch: str, pretrained: str, how: ProbeSettings) -> Classify:
    """A linear head on the frozen features of the pretrained network, which are computed here, once, from the test view.

    Args:
        material: the images.
        arch: of the network, a name of `models.resnet.ARCHITECTURES`.
        pretrained: its features, as in `load_backbone`.
        how: settings of the head; every classifier has a seed of its own.
    """
    encoder = build(arch, 0)
    load_backbone(encoder, pretrained)
    rows = [*material.expert, *material.rest]
    images = ImageSet(rows, "the lists of the study", material.test.data_root, material.test.view)
    features = encode(encoder, images, how)
    test_features = encode(encoder, material.test, how)
    place = {row.path: number for number, row in enumerate(rows)}

    def classify(labelled: Sequence[Example], seed: int) -> float:
        seen = features[[place[row.path] for row in labelled]]
        labels = torch.tensor([row.label for row in labelled], device=seen.device)
        head, _ = fit_probe(seen, labels, material.num_classes, replace(how, seed=seed), quiet=True)
        return accuracy(head(test_features).argmax(1).cpu(), material.test.labels)

    return classify


def finetune_classifier(material: Material, arch: str, pretrained: str, how: ClassifierRecipe) -> Classify:
    """The whole network, trained as train_butterflies_resnet18.py trains it.

    Args:
        material: the images.
        arch: of the network, a name of `models.resnet.ARCHITECTURES`.
        pretrained: what it starts from, as in `load_backbone`.
        how: that script's settings; every classifier has a seed of its own.
    """

    def classify(labelled: Sequence[Example], seed: int) -> float:
        torch.manual_seed(seed)
        network = build(arch, material.num_classes)
        load_backbone(network, pretrained)
        recipe = replace(how, seed=seed)
        images = ImageSet(list(labelled), "the lists of the study", material.test.data_root, full_view)
        return train_classifier(network, images, material.test, recipe)[-1]["test_accuracy"]

    return classify


def simulated_labels(rest: Sequence[Example], num_classes: int, quality: float, per_image: int, seed: int) -> list[Example]:
    """The rest as people of one accuracy label it: `per_image` answers to each image, by majority, ties drawn.

    Args:
        rest: rows with true labels.
        num_classes: C.
        quality: the accuracy of every person, 0 .. 1.
        per_image: answers per image.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    truth = np.array([row.label for row in rest])
    people = range(per_image)
    answered = [respond(truth, symmetric(quality, num_classes), rng) for _ in people]
    votes = Votes(
        [row.path for row in rest],
        [str(person) for person in people],
        np.tile(np.arange(len(rest)), per_image),
        np.repeat(np.arange(per_image), len(rest)),
        np.concatenate(answered),
    )
    label = majority(votes, num_classes, np.ones(per_image), seed).label
    return [replace(row, label=int(one)) for row, one in zip(rest, label, strict=True)]


def plan(accuracies: Sequence[float], repeats: int, seed: int) -> list[tuple[float | None, int]]:
    """The runs of a study: the annotators' accuracy (None where only the expert labels) and the run's seed.

    Annotators who are always right are always among them: that is what expert labels for all images would give.
    """
    return [(quality, one) for quality in (None, *sorted({*accuracies, 1.0})) for one in range(seed, seed + repeats)]


def run_once(material: Material, classify: Classify, quality: float | None, per_image: int, seed: int) -> dict:
    """One row of the study's table."""
    rest = [] if quality is None else simulated_labels(material.rest, material.num_classes, quality, per_image, seed)
    right = [row.label == true.label for row, true in zip(rest, material.rest, strict=False)]
    return {
        "labels": EXPERT if quality is None else ANNOTATORS,
        "annotator_accuracy": "" if quality is None else quality,
        "seed": seed,
        "label_accuracy": round(100 * sum(right) / len(right), 3) if right else "",
        "test_accuracy": round(classify([*material.expert, *rest], seed), 3),
    }


def annotator_study(
    path: str | Path, accuracies: Sequence[float], points: Sequence[Sequence[float]], levels: dict[str, Sequence[float]], title: str
) -> None:
    """Classifier accuracy against annotator accuracy: the mean over the repeats with every repeat as a dot, and what to compare with.

    Args:
        path: the PNG.
        accuracies: of the annotators, 0 .. 1.
        points: for each of them the classifier's accuracies in percent, one per repeat.
        levels: horizontal lines: name and accuracies, one per repeat, of which the mean is drawn.
        title: how it was measured.
    """
    drawn = figures.figure(6.4, 4.2, layout="constrained")
    axes = drawn.add_subplot()
    axes.plot(accuracies, [np.mean(values) for values in points], marker="o", color="tab:blue", label="expert's and annotators' labels")
    for quality, values in zip(accuracies, points, strict=True):
        axes.scatter([quality] * len(values), values, s=8, color="tab:blue", alpha=0.5)
    for (name, values), colour in zip(levels.items(), ("tab:red", "tab:green"), strict=False):
        axes.axhline(float(np.mean(values)), color=colour, linestyle="--", linewidth=1, label=name)
    axes.set(xlabel="annotators' accuracy", ylabel="classifier's test accuracy (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figures.save(path, drawn)
