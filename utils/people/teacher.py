"""The teacher: a linear head on frozen features. It says what it believes about images before people answer.

The head is the optimal student's. Its temperature is fitted to held-out images of the expert. People's labels teach it
again, in folds, so that no image is judged by a head that learned from its own answers.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from models.resnet import Network, build
from models.weights import load_backbone
from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data.catalog import Dataset
from utils.data.images import eval_view, whole_view
from utils.data.loading import open_list
from utils.data.outputs import Layout
from utils.teaching.optimal import learn_head
from utils.training.features import FeatureMaps

RIDGE = 1e-3  # L2 penalty on the head
FOLDS = 5
TEMPERATURES = (0.3, 20.0)
FLOOR = 1e-6  # lowest probability of a class, so that answers can always overrule the teacher
GRADIENT = 1e-5  # largest entry of the gradient of a head at convergence
UNRECORDED = {"arch": "resnet18", "pretrained": "none", "normalize": "auto", "image_size": 224}  # in old courses


class Teacher(NamedTuple):
    """Features f, centered and divided by the mean norm of the expert's, with the expert's labels and the head W."""

    paths: dict[str, int]  # row of each image that is not the expert's
    features: np.ndarray  # of these images, float16 (N, d)
    expert: np.ndarray  # features of the expert's images, float16 (E, d)
    expert_labels: np.ndarray  # (E,)
    head: np.ndarray  # float64 (C, d)
    temperature: float

    @property
    def classes(self) -> int:
        return len(self.head)

    def prior(self, images: Sequence[str]) -> np.ndarray:
        """Returns q = softmax(W f / T) + 1e-6 of images, (n, C)."""
        return self._believed(self._features_of(images), self.head)

    def taught_prior(self, images: Sequence[str], posterior: np.ndarray, answered: np.ndarray) -> np.ndarray:
        """Returns the prior of images (n, C) by heads that learned the labels of the answered images of other folds.

        `posterior` are the probabilities of the classes (n, C), `answered` is True for images with answers (n,).
        """
        features, fold = self._features_of(images), np.arange(len(images)) % FOLDS
        certain, prior = np.eye(self.classes)[self.expert_labels], np.empty_like(posterior)
        for number in range(FOLDS):
            others = answered & (fold != number)
            seen = np.concatenate([self.expert, features[others]])
            head = fit_head(seen, np.concatenate([certain, posterior[others]]), self.classes)
            prior[fold == number] = self._believed(features[fold == number], head)
        return prior

    def _features_of(self, images: Sequence[str]) -> np.ndarray:
        return self.features[[self.paths[image] for image in images]]

    def _believed(self, features: np.ndarray, head: np.ndarray) -> np.ndarray:
        believed = softmax(features.astype(np.float64) @ head.T / self.temperature, axis=1) + FLOOR
        return believed / believed.sum(1, keepdims=True)


def fit_head(features: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns W = argmin (1/n) sum_i sum_c Q_i(c) sum_{k != c} exp((z_k - z_c)/2) + 1e-3 ||W||^2, (C, d).

    `features` are (n, d); `targets` are classes (n,) or the probabilities Q of classes (n, C).
    """
    seen = torch.from_numpy(features.astype(np.float64))
    return learn_head(seen, torch.from_numpy(targets), num_classes, RIDGE, GRADIENT).numpy()


def held_out_logits(features: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Returns logits (E, C) of images by heads of other folds, stratified by class; None if a class has one image."""
    folds = min(FOLDS, np.bincount(labels, minlength=num_classes).min())
    if folds < 2:
        return None
    fold, logits = np.empty(len(labels), dtype=np.int64), np.empty((len(labels), num_classes))
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % folds
    for number in range(folds):
        own = fold == number
        logits[own] = features[own].astype(np.float64) @ fit_head(features[~own], labels[~own], num_classes).T
    return logits


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the T in `TEMPERATURES` that minimizes the cross-entropy of logits / T, (E, C), on labels (E,)."""

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def make_teacher(
    expert: np.ndarray, labels: np.ndarray, paths: Sequence[str], features: np.ndarray, num_classes: int
) -> tuple[Teacher, float | None]:
    """Fits head and temperature to raw features of the expert's images (E, d); `features` are those of others (N, d).

    Returns the teacher and its accuracy in percent on held-out images of the expert; None if a class has one image.
    """
    mean = expert.mean(0, dtype=np.float32)
    norm = np.linalg.norm(expert - mean, axis=1).mean() or 1.0
    expert, features = (((some - mean) / norm).astype(np.float16) for some in (expert, features))
    logits = held_out_logits(expert, labels, num_classes)
    temperature = 1.0 if logits is None else fit_temperature(logits, labels)
    right = None if logits is None else 100 * float((logits.argmax(1) == labels).mean())
    rows = {path: row for row, path in enumerate(paths)}
    return Teacher(rows, features, expert, labels, fit_head(expert, labels, num_classes), temperature), right


def network_of(course: dict, cfg) -> dict:
    """Returns the settings of a course's network; `cfg.pretrained` may name other weights than the course."""
    how = course.get("network", UNRECORDED)
    return how if cfg.pretrained == "auto" else how | {"pretrained": cfg.pretrained}


def load_network(course: dict, cfg) -> tuple[Network, int] | None:
    """Returns the network of a course and its image size; None, with a remark, without weights.

    Raises InputError if `cfg.pretrained` names weights that cannot be loaded.
    """
    how = network_of(course, cfg)
    pretrained, problem, network = how["pretrained"], "Pass --pretrained.", build(how["arch"], 0)
    try:
        load_backbone(network, pretrained, how["normalize"])
    except InputError as error:
        if cfg.pretrained != "auto":
            raise
        pretrained, problem = "none", str(error)
    if pretrained == "none":
        processes.say(f"The labels will be made without a teacher, because it has no weights. {problem}")
        return None
    return network, how["image_size"]


def store_teacher(layout: Layout, dataset: Dataset, loaded: tuple[Network, int] | None, cfg) -> dict:
    """Writes teacher_features.npz: features of the expert's images (whole) and of the others (test view), and the head.

    `loaded` is the result of `load_network`; without a network, an earlier file is removed. Returns what the run record
    measures.
    """
    if loaded is None:
        processes.first_only(layout.teacher_features.unlink)(missing_ok=True)
        return {}
    network, image_size = loaded
    network.to(cfg.device).eval().freeze_backbone()
    view, whole = (partial(one, size=image_size) for one in (eval_view, whole_view))
    expert = open_list(dataset, "train", cfg.data_root, whole)
    splits = ("test", "rest") if dataset.rest else ("test",)
    others = [open_list(dataset, split, cfg.data_root, view) for split in splits]
    paths = [row.path for images in others for row in images.rows]
    lists = (FeatureMaps(network, one, cfg.batch_size, cfg.workers, cfg.device, budget=0) for one in (expert, *others))
    known, *parts = (one.pooled().half().numpy() for one in lists)
    teacher, right = make_teacher(known, expert.labels.numpy(), paths, np.concatenate(parts), len(dataset.classes))
    processes.first_only(save_teacher)(layout.teacher_features, teacher)
    share = "an unknown share (a class has one expert image)" if right is None else f"{right:.1f} %"
    processes.say(f"The teacher alone should be right on {share} of the images (cross-validation on the expert's).")
    return {"teacher_accuracy": right and round(right, 2)}


def save_teacher(path: Path, teacher: Teacher) -> None:
    rows = list(teacher.paths.values())  # fewer than features if the lists share an image
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **teacher._asdict() | {"paths": list(teacher.paths), "features": teacher.features[rows]})


def load_teacher(path: Path) -> Teacher | None:
    """Reads `teacher_features.npz`; None if it is missing."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in Teacher._fields}
    except FileNotFoundError:
        return None
    except Exception as error:  # np.load raises almost anything for a damaged file
        raise InputError(f"{path} is damaged ({type(error).__name__}). Build the page again (teach.py).") from error
    rows = {name: row for row, name in enumerate(arrays["paths"].tolist())}
    return Teacher(**arrays | {"paths": rows, "temperature": float(arrays["temperature"])})
