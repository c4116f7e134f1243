"""CMaxGrad (Wang & Vasconcelos, ICCV 2021): MaxGrad on images and their counterfactual explanations."""

import math

import torch
from torch import Tensor

from utils.teaching.maxgrad import MaxGrad, log_psi
from utils.teaching.selector import Survey


def combine_scores(log_psi: Tensor, log_psi_explained: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Logarithm of the scores s(i, b) = alpha psi(x_i, c_i) + (1 - alpha) psi(E(x_i; c_i, b), c_i).

    Takes log psi of images, (N,), and explanations, (N, C), -inf if missing. Returns (N, C); -inf at b = c_i.
    """
    image_weight, explained_weight = (math.log(w) if w > 0 else -math.inf for w in (alpha, 1 - alpha))
    image = (log_psi[:, None] + image_weight).expand_as(log_psi_explained)
    return torch.logaddexp(image, log_psi_explained + explained_weight).scatter(1, labels[:, None], -torch.inf)


class CMaxGrad(MaxGrad):
    """The image with the largest weighted sum of its own psi and the psi of one of its explanations."""

    explains = True

    def scores(self, survey: Survey) -> Tensor:
        """log s(i, b), (N, C). Without explanations, the scores of MaxGrad."""
        logits, _, codewords, explanations = survey.seen
        if explanations is None:
            return super().scores(survey)
        image = log_psi(logits, survey.labels, codewords)
        explained = torch.full(survey.table.shape, -torch.inf, dtype=torch.float64)
        exists = survey.table >= 0
        owners = survey.labels[:, None].expand_as(survey.table)[exists]
        explained[exists] = log_psi(explanations.logits[survey.table[exists]], owners, codewords)
        return combine_scores(image, explained, survey.labels, self.alpha)
