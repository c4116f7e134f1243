"""MaxGrad (Wang, Nagrecha & Vasconcelos, CVPR 2021): the example with the largest gradient of the margin risk."""

import math
import sys

import torch
from torch import Tensor

from utils.teaching.selector import BLOCK, DOUBT, Choice, Selector, Survey, best_of_each_class, left_classes
from utils.training.evaluation import TIE

FIRST_HEAD = 0.05  # standard deviation of the random head that replaces an untaught one


def log_psi(logits: Tensor, labels: Tensor, codewords: Tensor) -> Tensor:
    """Logarithm of the MaxGrad score psi(x, c) = || sum over k != c of exp(-1/2 <f(x), W_c - W_k>) (W_c - W_k) ||^2.

    psi grows exponentially with the margin. The largest exponent is factored out of the sum, so nothing overflows.

    Takes logits z = W f of a bias-free head, (N, C), labels c, (N,), and codewords W, (C, d). Returns (N,); -inf if all
    codewords are equal.
    """
    W, found = codewords.double(), []
    for z, c in zip(logits.split(BLOCK), labels[:, None].split(BLOCK), strict=True):
        z = z.double()
        exponents = ((z - z.gather(1, c)) / 2).scatter(1, c, -torch.inf)  # -1/2 <f, W_c - W_k>, (N, C)
        peak = exponents.amax(1, keepdim=True)  # (N, 1)
        weights = torch.exp(exponents - peak)  # e_k, 0 at c
        # sum_k e_k (W_c - W_k) = (sum_k e_k) W_c - sum_k e_k W_k, a combination of codewords
        weights = -weights.scatter(1, c, -weights.sum(1, keepdim=True))  # (N, C)
        found.append(2 * peak[:, 0] + (weights @ W).square().sum(1).log())
    return torch.cat(found)


def strongest_first(logits: Tensor) -> list[int]:
    """Classes by falling logits (C,). Ties go to the lower label.

    Untaught classes have equal logits up to rounding, which depends on the processor. Logits within TIE count as equal.
    """
    falling, order = logits.sort(descending=True, stable=True)
    steps = (falling[:-1] - falling[1:]) > TIE * logits.abs().max()
    place = [0, *steps.cumsum(0).tolist()]
    return [label for _, label in sorted(zip(place, order.tolist(), strict=True))]


class MaxGrad(Selector):
    """The image with the largest score, paired with an image of the class that the student takes it for."""

    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        """Returns the pair with the largest s(i, b). Ties go to the first image in the list.

        The counter class is the strongest wrong class with a remaining image. All logits of an untaught student are
        equal, and so is psi. A random head then replaces its own.
        """
        logits, _, codewords, _ = survey.seen
        if logits.eq(logits[:, :1]).all():
            head = torch.randn(codewords.shape, generator=self.rng, dtype=torch.float64)
            survey = survey.through(FIRST_HEAD * head)
        return pair_by_score(survey, self.scores(survey).amax(1), remaining)

    def scores(self, survey: Survey) -> Tensor:
        """log s(i, b) = log psi(x_i, c_i) for every b != c_i, (N, C); -inf at b = c_i."""
        image = log_psi(survey.seen.logits, survey.labels, survey.seen.codewords)  # (N,)
        return image[:, None].repeat(1, survey.num_classes).scatter(1, survey.labels[:, None], -torch.inf)


def pair_by_score(survey: Survey, scores: Tensor, remaining: Tensor) -> Choice:
    """Pairs the remaining image of the largest score, log max over b of s(i, b), (N,), with the best counter image.

    If the pair would be doubtful, the score of the counter image is lower by the share DOUBT.
    """
    labels, rows = survey.labels, remaining.nonzero()[:, 0]
    image = int(rows[scores[rows].argmax()])
    own = int(labels[image])
    left = set(left_classes(labels, remaining)) - {own}
    counter = next(b for b in strongest_first(survey.seen.logits[image]) if b in left)
    doubtful = survey.doubtful(torch.tensor([image]), torch.arange(len(labels)))[0]
    partners = best_of_each_class(scores + math.log(1 - DOUBT) * doubtful, labels, remaining)
    del partners[own]
    score = scores[image].item()
    score = math.exp(score) if score < math.log(sys.float_info.max) else sys.float_info.max
    return Choice(image, partners[counter], counter, partners, score)
