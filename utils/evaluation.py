"""How right a classifier is."""

import numpy as np
import torch
from torch import Tensor

from utils import processes
from utils.errors import RunError
from utils.features import FeatureMaps


@torch.inference_mode()
def predict(seen: FeatureMaps) -> Tensor:
    """A network's answer to every image of a list, in evaluation mode: class numbers (N,) on the CPU.

    Raises:
        RunError: the network has diverged; after its very last step no loss would tell.
    """
    answers = torch.zeros(len(seen.images), dtype=torch.long)
    for numbers, feature_map in seen:
        logits = seen.network.logits(feature_map)
        if not logits.isfinite().all():
            raise RunError("The network's outputs are no longer finite numbers; lower --lr.")
        answers[numbers] = logits.argmax(1).cpu()
    return processes.merged(answers, seen.device)


def accuracy(answers: Tensor, labels: Tensor) -> float:
    """Share of right answers in percent."""
    return 100 * (answers == labels).double().mean().item()


def confusion(answers: Tensor, labels: Tensor, num_classes: int) -> np.ndarray:
    """Counts (C, C): row the true class, column the answer."""
    return torch.bincount(labels * num_classes + answers, minlength=num_classes**2).view(num_classes, num_classes).numpy()
