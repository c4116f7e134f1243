"""STRICT (Singla et al., ICML 2014): the images that rule out most wrong hypotheses about the classes.

Extended to several classes, one against the rest, as by Mac Aodha et al. (CVPR 2018). The model of a person: they
believe in one linear hypothesis, and drop it with some probability when an image contradicts it.
"""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from utils.teaching.selector import Choice, Selector, Survey, best_of_each_class, left_classes

HYPOTHESES = 100  # more if there are more classes
ALPHA = 0.5  # how much an image lowers the weight of a hypothesis that it contradicts; 0: by half
PENALTY = 1.0  # weight of the squared hinge loss against the L1 norm


def standardized(features: Tensor) -> np.ndarray:
    """Returns features (N, d) with mean 0 and standard deviation 1 over the pool and a 1 appended, (N, d + 1)."""
    x = features.double().numpy()
    scale = x.std(0)
    return np.hstack([(x - x.mean(0)) / np.where(scale > 0, scale, 1), np.ones((len(x), 1))])


def linear_svm(x: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns h = argmin ||h||_1 + PENALTY sum over x of max(0, 1 - t h.x)^2, (D,); t is 1 if `positive`, else -1."""
    from scipy.optimize import minimize  # imported here because it is slow, and --help must be fast

    tx = np.where(positive, 1, -1)[:, None] * x

    def loss(parts: np.ndarray) -> tuple[float, np.ndarray]:  # h = first half - second half, both at least 0
        hinge = np.maximum(0, 1 - tx @ np.subtract(*np.split(parts, 2)))
        slope = -2 * PENALTY * hinge @ tx
        return parts.sum() + PENALTY * hinge @ hinge, 1 + np.concatenate([slope, -slope])

    start = np.zeros(2 * x.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return np.subtract(*np.split(found.x, 2))


def hypotheses(x: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns hypotheses h (H, D) about the images x (N, D) of classes (N,).

    First linear SVMs of each class, each of its two k-means clusters, and each pair of classes against the rest; then
    random vectors.
    """
    from scipy.cluster.vq import kmeans2

    classes = np.unique(labels).tolist()
    groups = [labels == c for c in classes]
    for c in classes:
        members = np.flatnonzero(labels == c)
        if len(members) > 1:
            _, cluster = kmeans2(x[members], 2, minit="++", seed=rng)
            groups += [np.isin(np.arange(len(x)), members[cluster == side]) for side in (0, 1)]
    groups += [np.isin(labels, pair) for pair in combinations(classes, 2)]
    most = max(HYPOTHESES, len(classes))
    found = [linear_svm(x, group) for group in groups[:most]]
    return np.array([*found, *rng.standard_normal((most - len(found), x.shape[1]))])


class STRICT(Selector):
    """The image that lowers the expected error of people's hypotheses most, and the best one of another class.

    The score of x is sum over c, h of Q_c(h) err_c(h) L_c(h, x); smaller is better. t is 1 if x is of class c, else -1.
    L_c(h, x) is 1 if h.x has the sign of t, else 1 / (1 + exp(-alpha t h.x)). err_c is the share of the pool on which h
    is wrong. Q_c is the product of L_c over the images shown. Images that the best hypothesis of a class gets wrong
    come last.
    """

    def __init__(self, rng: torch.Generator, alpha: float) -> None:
        super().__init__(rng, alpha)
        self._seed = int(torch.randint(2**31, (), generator=rng))
        self._features = torch.empty(0)  # of the last choice; the answers are computed from them
        self._answers = np.empty(0)  # h.x, (N, H)

    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        if not self._features.equal(survey.seen.features):
            x = standardized(survey.seen.features)
            found = hypotheses(x, survey.labels.numpy(), np.random.default_rng(self._seed))
            self._features, self._answers = survey.seen.features, x @ found.T
        score, clear = self.scores(survey, ~remaining.numpy())
        left = remaining & torch.from_numpy(clear)
        if len(left_classes(survey.labels, left)) < 2:
            left = remaining
        values = torch.from_numpy(-score)
        partners = best_of_each_class(values, survey.labels, left)
        rows = left.nonzero()[:, 0]
        image = int(rows[values[rows].argmax()])
        del partners[int(survey.labels[image])]
        others = [c for c in left_classes(survey.labels, left) if c in partners]
        counter = max(others, key=lambda c: values[partners[c]])
        return Choice(image, partners[counter], counter, partners, -values[image].item())

    def scores(self, survey: Survey, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the score of each image, (N,), and True for images that every class's best hypothesis gets right."""
        score, clear = np.zeros(len(shown)), np.ones(len(shown), dtype=bool)
        for c in survey.labels.unique().tolist():
            agreed = np.where(survey.labels.numpy() == c, 1, -1)[:, None] * self._answers  # t h.x
            wrong = agreed <= 0
            error = wrong.mean(0)
            kept = np.where(wrong, 1 / (1 + np.exp(-ALPHA * agreed)), 1)  # L_c(h, x), (N, H)
            clear &= ~wrong[:, error.argmin()]
            score += kept @ (kept[shown].prod(0) * error)
        return score, clear
