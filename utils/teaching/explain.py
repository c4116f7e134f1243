"""EXPLAIN (Mac Aodha et al., CVPR 2018): STRICT that prefers images that are easy and have easy explanations."""

import numpy as np
import torch

from utils.teaching.selector import Survey
from utils.teaching.strict import STRICT, standardized


class EXPLAIN(STRICT):
    """STRICT with its score multiplied by D(x) E(x).

    D is the sigmoid of the mean squared distance to the other images of the class. It is a mean over features, too,
    because the sigmoid of a sum would always be 1. E is the sigmoid of the mean entropy of the student's answers to the
    explanations. The entropy is 0 without explanations.
    """

    explains = True

    def scores(self, survey: Survey, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        score, clear = super().scores(survey, shown)
        return score / (1 + np.exp(-self._distances(survey))) / (1 + np.exp(-self._entropies(survey))), clear

    def _distances(self, survey: Survey) -> np.ndarray:
        x, labels = standardized(survey.seen.features)[:, :-1], survey.labels.numpy()
        found = np.zeros(len(x))
        for c in np.unique(labels):
            own = x[labels == c]
            # The mean over x' of ||x - x'||^2 is ||x - mean||^2 plus the variance; x itself adds 0.
            spread = (own - own.mean(0)) ** 2 + own.var(0)
            found[labels == c] = spread.mean(1) * len(own) / max(len(own) - 1, 1)
        return found

    def _entropies(self, survey: Survey) -> np.ndarray:
        """Returns the mean entropy over the explanations of each image, in nats; 0 without any."""
        if survey.seen.explained is None:
            return np.zeros(len(survey.labels))
        entropy = torch.distributions.Categorical(logits=survey.seen.explained.logits.double()).entropy().numpy()
        table = survey.table.numpy()
        there = table >= 0
        return np.where(there, entropy[table], 0).sum(1) / np.maximum(there.sum(1), 1)
