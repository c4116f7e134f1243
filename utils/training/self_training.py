"""Self-training (Lee, ICML workshop 2013; Xie et al., Noisy Student, CVPR 2020).

A classifier is trained on the labeled images and predicts the others. Confident predictions become labels for the next
classifier, which is trained from scratch, and so on until the labels no longer change. True labels are never used.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.data.lists import UNKNOWN


@dataclass(frozen=True)
class SelfTraining:
    """Settings of self-training."""

    confidence: float  # lowest probability of a label; 0.95 in FixMatch (Sohn et al., NeurIPS 2020), 0 in Lee 2013
    rounds: int  # most classifiers after the first; three in Noisy Student


def confident_labels(probabilities: Tensor, confidence: float) -> Tensor:
    """Returns the most probable classes (N,) of probabilities (N, C); UNKNOWN if below `confidence`."""
    highest, answers = probabilities.cpu().max(1)
    return torch.where(highest >= confidence, answers, UNKNOWN)
