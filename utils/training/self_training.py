"""Self-training: a classifier's confident answers as labels (Lee, ICML workshop 2013; Xie et al., Noisy Student, CVPR 2020).

A classifier is trained on the labeled images and answers the others. Its confident answers join the labels of the next classifier,
which is trained from scratch, and so on until the labels no longer change. True labels are never used.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.data.lists import UNKNOWN


@dataclass(frozen=True)
class SelfTraining:
    """Settings of self-training.

    Attributes:
        confidence: lowest probability of an answer that becomes a label; 0.95 in FixMatch (Sohn et al., NeurIPS 2020), 0 in Lee 2013.
        rounds: classifiers after the first, at most; three in Noisy Student.
    """

    confidence: float
    rounds: int


def confident_labels(probabilities: Tensor, confidence: float) -> Tensor:
    """Returns the answers (N,) to probabilities (N, C) on the CPU, UNKNOWN if the probability is below `confidence`."""
    highest, answers = probabilities.cpu().max(1)
    return torch.where(highest >= confidence, answers, UNKNOWN)
