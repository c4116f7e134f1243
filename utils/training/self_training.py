"""Self-training: a classifier's own confident answers as labels (Lee, ICML workshop 2013; Xie et al., Noisy Student, CVPR 2020).

A classifier learns from what the expert labelled and answers the images that nobody labelled; those that it is confident of join what the
next one learns from, which is trained anew, and so on until the labels settle. Nothing is chosen by looking at a true label.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.data.lists import UNKNOWN


@dataclass(frozen=True)
class SelfTraining:
    """How a classifier trains itself.

    Attributes:
        confidence: an answer whose probability is at least this counts as a label, 0 .. 1; 0.95 in FixMatch (Sohn et al., NeurIPS
            2020), 0 (every answer counts) in Lee 2013.
        rounds: classifiers after the first, at most; three in Noisy Student.
    """

    confidence: float
    rounds: int


def confident_labels(probabilities: Tensor, confidence: float) -> Tensor:
    """A classifier's answers as labels, UNKNOWN where it is not confident.

    Args:
        probabilities: (N, C), each row summing to 1.
        confidence: the least probability of an answer that counts, 0 .. 1.

    Returns:
        Class numbers (N,) on the CPU.
    """
    highest, answers = probabilities.cpu().max(1)
    return torch.where(highest >= confidence, answers, UNKNOWN)
