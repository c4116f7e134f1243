"""CMaxGrad (Wang & Vasconcelos, ICCV 2021): MaxGrad on images and their counterfactual explanations."""

import math

import torch
from torch import Tensor

from utils.teaching.maxgrad import MaxGrad, log_psi
from utils.teaching.selector import Survey


def combine_scores(log_psi: Tensor, log_psi_explained: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """log s(i, b), s(i, b) = alpha psi(x_i, c_i) + (1 - alpha) psi(E(x_i; c_i, b), c_i).

    Args:
        log_psi: of the images, (N,).
        log_psi_explained: of the explanations against every class b, (N, C); -inf if missing.
        labels: c_i, (N,).
        alpha: weight of the image, 0 .. 1.

    Returns:
        (N, C); -inf at b = c_i.
    """
    image = log_psi[:, None] + _log(alpha)
    scores = torch.logaddexp(image.expand_as(log_psi_explained), log_psi_explained + _log(1 - alpha))
    return scores.scatter(1, labels[:, None], -torch.inf)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


class CMaxGrad(MaxGrad):
    """The image with the largest sum of its own psi and the psi of one of its explanations."""

    explains = True

    def scores(self, survey: Survey) -> Tensor:
        """log s(i, b), (N, C); the scores of MaxGrad if explanations are not taught."""
        if survey.explained is None:
            return super().scores(survey)
        image = log_psi(survey.logits, survey.labels, survey.codewords)
        explained = torch.full(survey.table.shape, -torch.inf, dtype=torch.float64)
        exists = survey.table >= 0
        owners = survey.labels[:, None].expand_as(survey.table)[exists]
        explained[exists] = log_psi(survey.explained.logits[survey.table[exists]], owners, survey.codewords)
        return combine_scores(image, explained, survey.labels, self.alpha)
