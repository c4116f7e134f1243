"""CMaxGrad (Wang & Vasconcelos, ICCV 2021): MaxGrad over images together with their counterfactual explanations."""

import math

import torch
from torch import Tensor

from utils.teaching.choice import Survey
from utils.teaching.maxgrad import MaxGrad, log_psi


def combine_scores(log_psi: Tensor, log_psi_explained: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """log s(i, b), s(i, b) = alpha psi(x_i, c_i) + (1 - alpha) psi(E(x_i; c_i, b), c_i).

    Args:
        log_psi: of the images, (N,).
        log_psi_explained: of the explanations against every class b, (N, C), -inf where there is none; the column of the true class is
            ignored.
        labels: c_i, (N,).
        alpha: weight of the image, 0 .. 1.

    Returns:
        (N, C), -inf at b = c_i.
    """
    image = log_psi[:, None] + _log(alpha)
    scores = torch.logaddexp(image.expand_as(log_psi_explained), log_psi_explained + _log(1 - alpha))
    return scores.scatter(1, labels[:, None], -torch.inf)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


class CMaxGrad(MaxGrad):
    """The image whose own psi and that of an explanation of it are the largest together."""

    explains = True

    def scores(self, seen: Survey) -> Tensor:
        """log s(i, b), (N, C); as MaxGrad's where explanations are not looked at."""
        if seen.explained is None:
            return super().scores(seen)
        image = log_psi(seen.logits, seen.labels, seen.codewords)
        explained = torch.full(seen.table.shape, -torch.inf, dtype=torch.float64)
        there = seen.table >= 0
        owners = seen.labels[:, None].expand_as(seen.table)[there]
        explained[there] = log_psi(seen.explained.logits[seen.table[there]], owners, seen.codewords)
        return combine_scores(image, explained, seen.labels, self.alpha)
