"""What a classifier learns from annotators of a given accuracy, and what it learns without any: labels are simulated or its own confident
answers, classifiers are trained on them and tested."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from models.resnet import Network, build
from models.weights import load_backbone
from utils.base import processes
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

# Who labelled what the classifier learns from.
EXPERT, ANNOTATORS, SELF_TRAINED = "expert alone", "expert and annotators", "expert and own confident answers"
ON_SIMCLR = ", SimCLR features"  # behind these, where a head on a SimCLR encoder learns
# Columns of the study's table and of that of self-training's rounds, of those that the rows have.
TABLE = ("labels", "annotator_accuracy", "seed", "label_accuracy", "test_accuracy")
ROUNDS_TABLE = ("labels", "seed", "round", "own_labels", "changed", "label_accuracy", "test_accuracy")


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

    def seen_at(self, image_size: int) -> "Material":
        """The same images at another size, in pixels: networks differ in the size that their training was like."""
        return replace(self, test=self.test.seen_as(partial(eval_view, size=image_size)))


@dataclass(frozen=True)
class Learned:
    """What a classifier has learned.

    Attributes:
        test_accuracy: on the test list, in percent.
        on_rest: gives its probabilities of the images of the rest list, (N, C), in their order.
    """

    test_accuracy: float
    on_rest: Callable[[], Tensor]


# From (rows with labels to learn from, seed) to what was learned.
Learner = Callable[[Sequence[Example], int], Learned]


def open_material(dataset: Dataset, data_root: str, image_size: int, ram_budget: float = 0) -> Material:
    """The lists of a dataset that has a list of images for people to label.

    Raises:
        InputError: a list or an image is missing or malformed, or no class of an image to label, or to test by, is known.
    """
    view = partial(eval_view, size=image_size)
    rest, expert, test = (
        open_list(dataset, split, data_root, view, ram_budget=ram_budget) for split in ("rest", "train", "test")
    )
    for images, purpose in ((rest, "nobody can be simulated without the truth"), (test, "nothing can be measured")):
        if not images.num_known:
            raise InputError(
                f"{images.source}: the classes of all images are unknown (label {UNKNOWN}), so that {purpose}; tell some."
            )
    known = [row for row in rest.rows if row.label != UNKNOWN]
    if len(known) < len(rest):
        unknown = len(rest) - len(known)
        processes.say(
            f"The classes of {unknown} of {len(rest)} images of {rest.source} are unknown: the study is of the others."
        )
    return Material(list(expert.rows), known, test, len(dataset.classes))


def pretrained_encoder(arch: str, pretrained: str) -> Network:
    """A network without a head, of an architecture of `models.resnet.ARCHITECTURES`, filled as in `load_backbone`."""
    encoder = build(arch, 0)
    load_backbone(encoder, pretrained)
    return encoder


def probe_learner(material: Material, encoder: Network, how: ProbeSettings) -> Learner:
    """A linear head on the frozen features of a network, which are computed here, once, from the test view.

    Args:
        material: the images.
        encoder: the network.
        how: settings of the head; every classifier has a seed of its own.
    """
    rows = [*material.expert, *material.rest]
    images = ImageSet(rows, "the lists of the study", material.test.data_root, material.test.view)
    features = encode(encoder, images, how)
    test_features = encode(encoder, material.test, how)
    place = {row.path: number for number, row in enumerate(rows)}

    def learn(labelled: Sequence[Example], seed: int) -> Learned:
        seen = features[[place[row.path] for row in labelled]]
        labels = torch.tensor([row.label for row in labelled], device=seen.device)
        head, _ = fit_probe(seen, labels, material.num_classes, replace(how, seed=seed), quiet=True)
        right = accuracy(head(test_features).argmax(1).cpu(), material.test.labels)
        return Learned(right, lambda: head(features[len(material.expert) :]).softmax(1))

    return learn


def finetune_learner(material: Material, arch: str, pretrained: str, how: ClassifierRecipe) -> Learner:
    """The whole network, trained as train_butterflies_resnet18.py trains it.

    Args:
        material: the images.
        arch: of the network, a name of `models.resnet.ARCHITECTURES`.
        pretrained: what it starts from, as in `load_backbone`.
        how: that script's settings; every classifier has a seed of its own.
    """
    rest = ImageSet(
        material.rest, "the rest list", material.test.data_root, material.test.view, material.test.ram_budget
    )

    def learn(labelled: Sequence[Example], seed: int) -> Learned:
        torch.manual_seed(seed)
        network = build(arch, material.num_classes)
        load_backbone(network, pretrained)
        recipe = replace(how, seed=seed)
        images = ImageSet(
            list(labelled), "the lists of the study", material.test.data_root, full_view, material.test.ram_budget
        )
        right = train_classifier(network, images, material.test, recipe)[-1]["test_accuracy"]
        return Learned(right, lambda: logits_of_list(test_view(network, rest, recipe)).softmax(1))

    return learn


def simulated_labels(
    rest: Sequence[Example], num_classes: int, quality: float, per_image: int, seed: int
) -> list[Example]:
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


@dataclass(frozen=True)
class Step:
    """One classifier of a study.

    Attributes:
        seed: of its training, and of the annotators' errors.
        quality: accuracy of the annotators who label the rest, 0 .. 1; None: there are none.
        round: of self-training, from 1; 0: its own answers are no labels.
        simclr: whether it is a head on SimCLR features.
    """

    seed: int
    quality: float | None = None
    round: int = 0
    simclr: bool = False

    @property
    def labels(self) -> str:
        """Who labelled what it learns from, as the tables say it."""
        without_people = SELF_TRAINED if self.round else EXPERT
        return (without_people if self.quality is None else ANNOTATORS) + ON_SIMCLR * self.simclr


def steps(accuracies: Sequence[float], repeats: int, seed: int, rounds: int, simclr: bool) -> list[Step]:
    """The classifiers of a study in their order: those of `plan`, then the same question to no people.

    Args:
        accuracies, repeats, seed: as in `plan`.
        rounds: of self-training; each needs the one before it.
        simclr: whether there are heads on SimCLR features too.
    """
    seeds = range(seed, seed + repeats)
    found = [Step(one, quality) for quality, one in plan(accuracies, repeats, seed)]
    for on_simclr in (False, True)[: 1 + simclr]:
        if on_simclr:
            found += [Step(one, simclr=True) for one in seeds]
        found += [Step(one, round=number, simclr=on_simclr) for one in seeds for number in range(1, rounds + 1)]
    return found


class Study:
    """The classifiers of a study, made one after the other.

    Args:
        material: the images.
        learner: of the classifiers that people's labels are for.
        simclr: of heads on SimCLR features; None where there are none.
        per_image: annotators per image.
        how: of self-training.
        state: what an earlier process had found (`state`); None: nothing.

    Attributes:
        rows: what was found, a dict for each step so far: `labels`, `annotator_accuracy`, `seed`, `label_accuracy` (of the labels that
            are not the expert's), `test_accuracy`, `round`, `own_labels` (how many of its own answers it learned from) and `changed` (how
            many of the rest have another label by them than in the round before; 0: the labels have settled).
    """

    def __init__(
        self,
        material: Material,
        learner: Learner,
        simclr: Learner | None,
        per_image: int,
        how: SelfTraining,
        state: dict | None = None,
    ) -> None:
        self._material = material
        self._learners = {False: learner, True: simclr}
        self._per_image = per_image
        self._how = how
        self.rows: list[dict] = state["rows"] if state else []
        self._answers: dict[str, dict] = state["answers"] if state else {}  # of self-training, by seed and features

    @property
    def state(self) -> dict:
        """What an object that goes on from here is given."""
        return {"rows": self.rows, "answers": self._answers}

    def run(self, step: Step) -> None:
        """Makes the next classifier."""
        if step.round:
            self._train_itself(step)
            return
        rest: list[Example] = []
        if step.quality is not None:
            rest = simulated_labels(
                self._material.rest, self._material.num_classes, step.quality, self._per_image, step.seed
            )
        learned = self._learn(step, rest)
        if step.quality is None and self._how.rounds:
            self._keep(step, torch.full((len(self._material.rest),), UNKNOWN), learned)
        self._note(step, rest, learned.test_accuracy)

    def _train_itself(self, step: Step) -> None:
        """A round of self-training, whose labels are the confident answers of the round before."""
        before = self._answers[self._key(step)]
        labels = before["next"]
        own = [
            replace(row, label=label)
            for row, label in zip(self._material.rest, labels.tolist(), strict=True)
            if label != UNKNOWN
        ]
        changed = int((labels != before["labels"]).sum())
        if changed:  # the same labels and the same seed make the same classifier
            self._keep(step, labels, self._learn(step, own))
        self._note(step, own, self._answers[self._key(step)]["test_accuracy"], len(own), changed)

    def _learn(self, step: Step, rest: Sequence[Example]) -> Learned:
        learner = self._learners[step.simclr]
        assert learner is not None  # or the study has no such step
        return learner([*self._material.expert, *rest], step.seed)

    def _keep(self, step: Step, labels: Tensor, learned: Learned) -> None:
        """What the next round of self-training starts from: the labels of this one, and the confident answers of its classifier."""
        answers = confident_labels(learned.on_rest(), self._how.confidence)
        self._answers[self._key(step)] = {"labels": labels, "next": answers, "test_accuracy": learned.test_accuracy}

    @staticmethod
    def _key(step: Step) -> str:
        return f"{step.seed}{ON_SIMCLR * step.simclr}"

    def _note(
        self, step: Step, rest: Sequence[Example], test_accuracy: float, own_labels: int = 0, changed: int = 0
    ) -> None:
        truth = {row.path: row.label for row in self._material.rest}
        right = [row.label == truth[row.path] for row in rest]
        row = {
            "labels": step.labels,
            "annotator_accuracy": "" if step.quality is None else step.quality,
            "seed": step.seed,
            "label_accuracy": round(100 * sum(right) / len(right), 3) if right else "",
            "test_accuracy": round(test_accuracy, 3),
        }
        self.rows.append(row | {"round": step.round, "own_labels": own_labels, "changed": changed})


def accuracies(rows: Sequence[dict]) -> dict[str, list[float]]:
    """The test accuracies of a study's rows, in percent, by who labelled what the classifiers learned from."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["labels"], []).append(row["test_accuracy"])
    return found


def write_study(layout: Layout, rows: Sequence[dict], last_round: int) -> list[dict]:
    """Writes the table of the study, a row per classifier, and that of self-training's rounds if there were any.

    Args:
        layout: names of the files.
        rows: of all classifiers, those of every round too.
        last_round: of self-training; 0: there is none.

    Returns:
        The rows of the first table.
    """
    last = [row for row in rows if row["round"] in (0, last_round)]
    write_table(layout.annotator_study(".csv"), [{name: row[name] for name in TABLE} for row in last])
    rounds = [row for row in rows if row["round"]]
    if rounds:
        write_table(
            layout.annotator_study("_rounds.csv"), [{name: row[name] for name in ROUNDS_TABLE} for row in rounds]
        )
    else:
        layout.annotator_study("_rounds.csv").unlink(missing_ok=True)  # of an earlier run
    return last
