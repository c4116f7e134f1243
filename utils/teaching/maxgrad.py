"""MaxGrad (Wang, Nagrecha & Vasconcelos, CVPR 2021): margin risk, score, and the selection of the hardest example."""

import math
import sys
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from utils.teaching.choice import BLOCK, Choice, Seeded, Survey
from utils.teaching.pairing import pair_by_score

FIRST_HEAD = 0.05  # standard deviation of the head through which an untaught student without one is looked at


def margin_risk(logits: Tensor, labels: Tensor) -> Tensor:
    """R(L) = mean over (x, c) of sum over k != c of exp(-1/2 <f(x), W_c - W_k>).

    Args:
        logits: z = W f of a bias-free head, (N, C), so that <f, W_c - W_k> = z_c - z_k.
        labels: c, (N,).

    Returns:
        A scalar.
    """
    margins = logits.gather(1, labels[:, None]) - logits  # (N, C), 0 at k = c
    wrong = torch.ones_like(margins).scatter(1, labels[:, None], 0)  # (N, C)
    return (torch.exp(-margins / 2) * wrong).sum(1).mean()


def log_psi(logits: Tensor, labels: Tensor, codewords: Tensor) -> Tensor:
    """Logarithm of the MaxGrad score psi(x, c) = || sum over k != c of exp(-1/2 <f(x), W_c - W_k>) (W_c - W_k) ||^2.

    psi grows exponentially with the margin, so the largest exponent is taken out before anything is added up: no margin
    overflows. All in float64.

    Args:
        logits: z = W f of a bias-free head, (N, C).
        labels: c, (N,).
        codewords: W, (C, d).

    Returns:
        log psi, float64 (N,); -inf where all codewords are equal.
    """
    W = codewords.double()
    blocks = zip(logits.split(BLOCK), labels.split(BLOCK), strict=True)
    return torch.cat([_log_psi(z.double(), c, W) for z, c in blocks])


def _log_psi(z: Tensor, labels: Tensor, W: Tensor) -> Tensor:
    exponents = (z - z.gather(1, labels[:, None])) / 2  # -1/2 <f, W_c - W_k>, (N, C)
    exponents = exponents.scatter(1, labels[:, None], -torch.inf)
    peak = exponents.amax(1, keepdim=True)  # (N, 1)
    weights = torch.exp(exponents - peak)  # e_k, 0 at c
    # sum_k e_k (W_c - W_k) = (sum_k e_k) W_c - sum_k e_k W_k, a combination of codewords
    weights = -weights.scatter(1, labels[:, None], -weights.sum(1, keepdim=True))  # (N, C)
    return 2 * peak[:, 0] + (weights @ W).square().sum(1).log()


def from_log(score: float) -> float:
    """A score from its logarithm; the largest float where it is beyond the range of floats."""
    return math.exp(score) if score < math.log(sys.float_info.max) else sys.float_info.max


class MaxGrad(Seeded):
    """The image of the largest psi, beside one of the class that the student takes it for."""

    looks: Literal[True] = True

    def choose(self, seen: Survey, remaining: Tensor) -> Choice | None:
        """As in `Selector`; the score is s(i, b).

        A student who knows nothing yet tells no two classes apart, and psi is the same everywhere (0 where all codewords are equal), so it
        is seen through a head drawn at random.
        """
        if seen.logits.eq(seen.logits[:, :1]).all():
            shape = seen.num_classes, seen.features.shape[1]
            seen = seen.through(FIRST_HEAD * torch.randn(shape, generator=self.rng, dtype=torch.float64))
        scores = self.scores(seen)
        choice = pair_by_score(scores, seen.logits, seen.labels, remaining)
        return choice and replace(choice, score=from_log(scores[choice.image].max().item()))

    def scores(self, seen: Survey) -> Tensor:
        """log s(i, b) = log psi(x_i, c_i) for every b != c_i, (N, C), -inf at b = c_i."""
        image = log_psi(seen.logits, seen.labels, seen.codewords)  # (N,)
        return image[:, None].repeat(1, seen.num_classes).scatter(1, seen.labels[:, None], -torch.inf)
