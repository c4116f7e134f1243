"""How right a classifier is."""

import numpy as np
import torch
from torch import Tensor

from utils.base import processes
from utils.base.errors import RunError
from utils.data.lists import UNKNOWN
from utils.training.features import FeatureMaps

TIE = 1e-6  # logits that differ by less, relative to the largest, are equal but for rounding


@torch.inference_mode()
def predict(seen: FeatureMaps) -> Tensor:
    """A network's answer to every image of a list, in evaluation mode: class numbers (N,) on the CPU.

    Raises:
        RunError: as `logits_of_list`.
    """
    return logits_of_list(seen).argmax(1)


@torch.inference_mode()
def logits_of_list(seen: FeatureMaps) -> Tensor:
    """A network's logits of every image of a list, in evaluation mode: (N, C) on the CPU.

    Raises:
        RunError: the network has diverged; after its very last step no loss would tell.
    """
    found = torch.zeros(len(seen.images), seen.network.linear_head.out_features)
    for numbers, feature_map in seen:
        logits = seen.network.logits(feature_map)
        if not logits.isfinite().all():
            raise RunError("The network's outputs are no longer finite numbers; lower --lr.")
        found[numbers] = logits.cpu()
    return processes.merged(found, seen.device)


def accuracy(answers: Tensor, labels: Tensor) -> float:
    """Share of right answers in percent, among those to images of a known class; NaN without any."""
    return 100 * (answers == labels)[labels != UNKNOWN].double().mean().item()


def share_right(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in percent, where a student that cannot tell classes apart is not right by the order of the classes.

    An image whose largest logits tie counts 1 / (number of tied classes) if the true class is among them: after a course's first lessons
    the classes not taught yet tie exactly but for rounding.

    Args:
        logits: (N, C).
        labels: the true classes, (N,); of images whose class is unknown nothing is told, and where there are no others it is NaN.
    """
    known = labels != UNKNOWN
    logits, labels = logits[known], labels[known]
    top = logits.amax(1, keepdim=True)
    tied = logits >= top - TIE * logits.abs().amax(1, keepdim=True)  # (N, C)
    right = tied.gather(1, labels[:, None])[:, 0]
    return 100 * (right / tied.sum(1).clamp(min=1)).double().mean().item()


def confusion(answers: Tensor, labels: Tensor, num_classes: int) -> np.ndarray:
    """Counts (C, C) of the images whose class is known: row the true class, column the answer."""
    answers, labels = answers[labels != UNKNOWN], labels[labels != UNKNOWN]
    return (
        torch.bincount(labels * num_classes + answers, minlength=num_classes**2).view(num_classes, num_classes).numpy()
    )
