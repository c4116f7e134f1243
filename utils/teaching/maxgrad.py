"""MaxGrad (Wang, Nagrecha & Vasconcelos, CVPR 2021): the example with the largest gradient of the margin risk."""

import math
import sys

import torch
from torch import Tensor

from utils.teaching.selector import BLOCK, Choice, Selector, Survey, best_of_each_class, left_classes
from utils.training.evaluation import TIE

FIRST_HEAD = 0.05  # standard deviation of the random head for a student that knows nothing yet


def log_psi(logits: Tensor, labels: Tensor, codewords: Tensor) -> Tensor:
    """Logarithm of the MaxGrad score psi(x, c) = || sum over k != c of exp(-1/2 <f(x), W_c - W_k>) (W_c - W_k) ||^2.

    psi grows exponentially with the margin, so the largest exponent is factored out before the sum, and no margin
    overflows.

    Args:
        logits: z = W f of a bias-free head, (N, C).
        labels: c, (N,).
        codewords: W, (C, d).

    Returns:
        log psi, float64 (N,); -inf if all codewords are equal.
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


def strongest_first(logits: Tensor) -> list[int]:
    """Classes by falling logits (C,); ties go to the lower label.

    Untaught classes have equal logits up to rounding, and rounding depends on the processor. So logits within TIE are
    equal.
    """
    falling, order = logits.sort(descending=True, stable=True)
    steps = (falling[:-1] - falling[1:]) > TIE * logits.abs().max()
    place = [0, *steps.cumsum(0).tolist()]
    return [label for _, label in sorted(zip(place, order.tolist(), strict=True))]


class MaxGrad(Selector):
    """The image with the largest score, paired with one of the class that the student takes it for."""

    def choose(self, survey: Survey, remaining: Tensor) -> Choice | None:
        """Returns the pair of the largest s(i, b). Ties go to the first image in the list and to the lower class.

        b is the student's answer to i, or the strongest wrong class if the answer is right. Classes without a remaining
        image give way to the next strongest.

        All classes look the same to a student that knows nothing yet, and psi is equal everywhere. A random head
        replaces its own.
        """
        if survey.logits.eq(survey.logits[:, :1]).all():
            shape = survey.num_classes, survey.features.shape[1]
            survey = survey.through(FIRST_HEAD * torch.randn(shape, generator=self.rng, dtype=torch.float64))
        best = self.scores(survey).amax(1)  # (N,)
        return pair_by_score(best, survey.logits, survey.labels, remaining)

    def scores(self, survey: Survey) -> Tensor:
        """log s(i, b) = log psi(x_i, c_i) for every b != c_i, (N, C); -inf at b = c_i."""
        image = log_psi(survey.logits, survey.labels, survey.codewords)  # (N,)
        return image[:, None].repeat(1, survey.num_classes).scatter(1, survey.labels[:, None], -torch.inf)


def pair_by_score(scores: Tensor, logits: Tensor, labels: Tensor, remaining: Tensor) -> Choice | None:
    """Pairs the remaining image of the largest score with the best image of the strongest wrong class.

    `scores` are log of max over b of s(i, b), (N,); the others as in `Survey` and `Selector.choose`.
    """
    left = left_classes(labels, remaining)
    if len(left) < 2:
        return None
    rows = remaining.nonzero()[:, 0]
    image = int(rows[scores[rows].argmax()])
    own = int(labels[image])
    counter = next(b for b in strongest_first(logits[image]) if b != own and b in left)
    partners = best_of_each_class(scores, labels, remaining)
    del partners[own]
    score = scores[image].item()
    score = math.exp(score) if score < math.log(sys.float_info.max) else sys.float_info.max
    return Choice(image, partners[counter], counter, partners, score)
