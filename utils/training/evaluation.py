"""Accuracy and confusions of a classifier."""

import numpy as np
import torch
from torch import Tensor

from utils.base import processes
from utils.base.errors import RunError
from utils.data.lists import UNKNOWN
from utils.training.features import FeatureMaps

TIE = 1e-6  # relative difference below which logits count as equal


def predict(maps: FeatureMaps) -> Tensor:
    """Returns the predicted class of every image of a list, (N,) on the CPU."""
    return logits_of_list(maps).argmax(1)


@torch.inference_mode()
def logits_of_list(maps: FeatureMaps) -> Tensor:
    """Returns the logits of every image of a list, (N, C) on the CPU; raises RunError if they are not finite."""
    found = torch.zeros(len(maps.images), maps.network.fc.out_features)
    for numbers, feature_map in maps:
        logits = maps.network.fc(feature_map.mean((2, 3)))
        if not logits.isfinite().all():
            raise RunError("The network's outputs are no longer finite. Lower --lr.")
        found[numbers] = logits.cpu()
    return processes.merged(found, maps.device)


def accuracy(answers: Tensor, labels: Tensor) -> float:
    """Accuracy in percent on the images of known class; NaN if there are none."""
    return 100 * (answers == labels)[labels != UNKNOWN].double().mean().item()


def share_right(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of logits (N, C) on the images of known class; NaN if there are none.

    If k classes tie for the largest logit, the true one among them, the image counts 1/k. In the first lessons of a
    course, all classes that were not taught yet have the same logits up to rounding.
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
