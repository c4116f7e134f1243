"""Accuracy and confusions of a classifier."""

import numpy as np
import torch
from torch import Tensor

from utils.base import processes
from utils.base.errors import RunError
from utils.data.lists import UNKNOWN
from utils.training.features import FeatureMaps

TIE = 1e-6  # relative difference below which logits count as equal


@torch.inference_mode()
def predict(maps: FeatureMaps) -> Tensor:
    """Returns the answer to every image of a list in evaluation mode, (N,) on the CPU; raises as `logits_of_list`."""
    return logits_of_list(maps).argmax(1)


@torch.inference_mode()
def logits_of_list(maps: FeatureMaps) -> Tensor:
    """Returns the logits of every image of a list in evaluation mode, (N, C) on the CPU.

    Raises:
        RunError: the network has diverged, possibly in its very last step.
    """
    found = torch.zeros(len(maps.images), maps.network.linear_head.out_features)
    for numbers, feature_map in maps:
        logits = maps.network.logits(feature_map)
        if not logits.isfinite().all():
            raise RunError("The network's outputs are no longer finite. Lower --lr.")
        found[numbers] = logits.cpu()
    return processes.merged(found, maps.device)


def accuracy(answers: Tensor, labels: Tensor) -> float:
    """Percentage of correct answers to images of known class; NaN if there are none."""
    return 100 * (answers == labels)[labels != UNKNOWN].double().mean().item()


def share_right(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in percent that gives no credit for the order of tied classes; NaN if no class is known.

    If k logits tie for the largest and the true class is among them, the image counts 1/k. In the first lessons of a course, the
    logits of all classes that were not taught yet are equal up to rounding.

    Args:
        logits: (N, C).
        labels: true classes (N,); images of unknown class are ignored.
    """
    known = labels != UNKNOWN
    logits, labels = logits[known], labels[known]
    top = logits.amax(1, keepdim=True)
    tied = logits >= top - TIE * logits.abs().amax(1, keepdim=True)  # (N, C)
    right = tied.gather(1, labels[:, None])[:, 0]
    return 100 * (right / tied.sum(1).clamp(min=1)).double().mean().item()


def confusion(answers: Tensor, labels: Tensor, num_classes: int) -> np.ndarray:
    """Counts (C, C) of the images of known class: rows the true class, columns the answer."""
    answers, labels = answers[labels != UNKNOWN], labels[labels != UNKNOWN]
    counts = torch.bincount(labels * num_classes + answers, minlength=num_classes**2)
    return counts.view(num_classes, num_classes).numpy()
