"""Aggregates many people's answers into one label per image, and measures their agreement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import logsumexp

from utils.people.answers import Answer

Aggregation = Literal["majority", "dawid_skene", "one_coin"]

# Prior on each person, in counts of answers per class: better than chance, but any error is possible. Without it,
# people with few answers get extreme confusion matrices, and Dawid-Skene is worse than the majority. The one-coin model
# takes the counts once per person.
RIGHT, WRONG = 5.0, 1.0
TOLERANCE = 1e-6  # EM has converged when no class probability changes by more
MAX_STEPS = 2000
TIES = 2**31  # separates draws of ties from other draws with the same seed


@dataclass(frozen=True)
class Votes:
    """M answers as arrays."""

    images: list[str]  # names, sorted, (N,)
    people: list[str]  # names, sorted, (P,)
    image: np.ndarray  # index into `images` of each answer, (M,)
    person: np.ndarray  # index into `people` of each answer, (M,)
    answer: np.ndarray  # class of each answer, (M,)

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> "Votes":
        """Converts answers in any order; nobody may answer an image twice."""
        answers = sorted(answers, key=lambda answer: (answer.image, answer.person))
        images, people = sorted({answer.image for answer in answers}), sorted({answer.person for answer in answers})
        place, number = {name: i for i, name in enumerate(images)}, {name: i for i, name in enumerate(people)}
        columns = [(place[answer.image], number[answer.person], answer.response) for answer in answers]
        image, person, answer = np.array(columns, dtype=np.int64).reshape(-1, 3).T
        return cls(images, people, image, person, answer)

    def counts(self, num_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the number of answers, or the sum of their weights (M,), per image and class, (N, C)."""
        found = np.zeros((len(self.images), num_classes))
        np.add.at(found, (self.image, self.answer), 1.0 if weights is None else weights)
        return found


@dataclass(frozen=True)
class Labels:
    """One label per image, in the order of `Votes.images`."""

    label: np.ndarray  # (N,)
    certainty: np.ndarray  # share of answers (majority) or probability (models) of the label, (N,)
    drawn: int  # number of ties broken at random
    steps: int = 0  # steps of EM
    converged: bool = True  # False if EM reached MAX_STEPS


def aggregate(votes: Votes, num_classes: int, method: Aggregation, known: np.ndarray, seed: int) -> Labels:
    """Returns one label per image.

    `known` are answers with known truth, which weight people: rows of person, class, answer, (K, 3). The majority uses
    them only for ties. `seed` draws the remaining ties.
    """
    people, (person, truth, answer) = len(votes.people), known.T
    right, wrong = (np.bincount(person[chosen], minlength=people) for chosen in (truth == answer, truth != answer))
    right_and_wrong = np.stack([right, wrong], axis=1)
    if method == "majority":
        counts = num_classes * np.array([RIGHT, WRONG * (num_classes - 1)])  # the sums of `prior_counts`
        right, wrong = (counts + right_and_wrong).T
        return majority(votes, num_classes, right / (right + wrong), seed)
    if method == "one_coin":
        fitted = one_coin(votes, num_classes, np.array([RIGHT, WRONG]) + right_and_wrong)
    else:
        believed = np.tile(prior_counts(num_classes), (people, 1, 1))
        np.add.at(believed, tuple(known.T), 1)
        fitted = dawid_skene(votes, believed)
    label, drawn = _draw_ties(fitted.posterior, seed)
    return Labels(label, fitted.posterior.max(1), drawn, len(fitted.objective), fitted.converged)


def prior_counts(num_classes: int) -> np.ndarray:
    """Returns the prior on a person in counts of answers, (C, C): row is the class, column the answer."""
    return np.full((num_classes, num_classes), WRONG) + (RIGHT - WRONG) * np.eye(num_classes)


def majority(votes: Votes, num_classes: int, trust: np.ndarray, seed: int) -> Labels:
    """Returns the class with most answers.

    A tie goes to the class whose people have the larger sum of `trust`, their estimated accuracy, (P,). Remaining ties
    are drawn. Draws depend only on the seed and the index of the image.
    """
    counts = votes.counts(num_classes)
    trusted = votes.counts(num_classes, trust[votes.person])
    leading = counts == counts.max(1, keepdims=True)
    label, drawn = _draw_ties(np.where(leading, trusted, -np.inf), seed)
    return Labels(label, counts.max(1) / counts.sum(1), drawn)


def _draw_ties(scores: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    """Returns the class with the highest score (N, C) of each image, ties drawn, and the number of ties."""
    tied = np.isclose(scores, scores.max(1, keepdims=True), rtol=1e-9, atol=1e-12)
    draws = np.random.default_rng((TIES, seed)).random(scores.shape)
    return np.where(tied, draws, -1).argmax(1), int((tied.sum(1) > 1).sum())


@dataclass(frozen=True)
class Fitted:
    """Result of EM."""

    posterior: np.ndarray  # probability of each class, (N, C)
    prior: np.ndarray  # share of each class, (C,)
    people: np.ndarray  # confusion matrices (P, C, C), [person, class, answer], or accuracies (P,)
    objective: list[float]  # log posterior of the parameters before each step; it never decreases
    converged: bool


def dawid_skene(votes: Votes, believed: np.ndarray, per_class: float = WRONG, tolerance: float = TOLERANCE) -> Fitted:
    """Estimates classes and confusion matrices jointly by EM.

    Model (Dawid & Skene, Applied Statistics 28, 1979): image i has class j with probability prior_j; person p answers k
    with probability confusion_pjk, independently of others. Both have a Dirichlet prior; EM finds a maximum of the
    posterior. EM starts at the shares of answers, so classes keep their names unless most people confuse them.

    `believed` are prior counts of each person's answers, (P, C, C), [person, class, answer]; `per_class` is the prior
    count of each class. EM ends when no class probability changes by more than `tolerance`.
    """

    def step(posterior: np.ndarray) -> tuple:
        prior, confusion = maximize(votes, posterior, believed, per_class)
        posterior, likelihood = expect(votes, prior, confusion)
        objective = likelihood + per_class * np.log(prior).sum() + (believed * np.log(confusion)).sum()
        return posterior, prior, confusion, objective

    return _climb(votes.counts(believed.shape[1]), step, tolerance)


def one_coin(
    votes: Votes, num_classes: int, believed: np.ndarray, per_class: float = WRONG, tolerance: float = TOLERANCE
) -> Fitted:
    """Estimates classes and one accuracy per person jointly by EM.

    One-coin Dawid-Skene (Zhang, Chen, Zhou, Jordan, Spectral Methods Meet EM, NeurIPS 2014): person p is right with
    probability accuracy_p for every class; all wrong answers are equally likely.

    `believed` are prior counts of each person's right and wrong answers, above 0, (P, 2); the rest as in `dawid_skene`.
    """
    cell, shape = votes.image * num_classes + votes.answer, (len(votes.images), num_classes)
    answers = believed.sum(1) + np.bincount(votes.person, minlength=len(votes.people))

    def step(posterior: np.ndarray) -> tuple:
        shares = posterior.sum(0) + per_class
        prior = shares / shares.sum()
        right = np.bincount(votes.person, posterior.reshape(-1)[cell], len(votes.people))
        accuracy = (believed[:, 0] + right) / answers
        hit, miss = np.log(accuracy), np.log(1 - accuracy)
        other = miss - np.log(num_classes - 1)  # log probability of one particular wrong class
        joint = np.log(prior) + np.bincount(cell, (hit - other)[votes.person], shape[0] * shape[1]).reshape(shape)
        evidence = logsumexp(joint, axis=1, keepdims=True)
        likelihood = evidence.sum() + other[votes.person].sum()
        believing = (believed * np.stack([hit, miss], axis=1)).sum()
        return np.exp(joint - evidence), prior, accuracy, likelihood + per_class * np.log(prior).sum() + believing

    return _climb(votes.counts(num_classes), step, tolerance)


def _climb(counts: np.ndarray, step: Callable[[np.ndarray], tuple], tolerance: float) -> Fitted:
    """Runs EM from the shares of answers until it converges; `counts` is (N, C)."""
    posterior = counts / counts.sum(1, keepdims=True)
    objective: list[float] = []
    converged = False
    while not converged and len(objective) < MAX_STEPS:
        before = posterior
        posterior, prior, people, reached = step(posterior)
        objective.append(float(reached))
        converged = float(np.abs(posterior - before).max()) <= tolerance
    return Fitted(posterior, prior, people, objective, converged)


def maximize(
    votes: Votes, posterior: np.ndarray, believed: np.ndarray, per_class: float
) -> tuple[np.ndarray, np.ndarray]:
    """M-step: returns class shares (C,) and confusion matrices (P, C, C); arguments as in `dawid_skene`."""
    people, num_classes = believed.shape[:2]
    shares = posterior.sum(0) + per_class
    kind = votes.person * num_classes + votes.answer
    answered = _sums(believed.transpose(0, 2, 1).reshape(-1, num_classes), kind, posterior, votes.image)
    confusion = answered.reshape(people, num_classes, num_classes).transpose(0, 2, 1)  # [person, class, answer]
    return shares / shares.sum(), confusion / confusion.sum(2, keepdims=True)


def expect(votes: Votes, prior: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, float]:
    """E-step: returns the posterior (N, C) and the log likelihood of the answers."""
    kind = votes.person * len(prior) + votes.answer
    by_kind = np.log(confusion).transpose(0, 2, 1).reshape(-1, len(prior))
    joint = _sums(np.tile(np.log(prior), (len(votes.images), 1)), votes.image, by_kind, kind)
    evidence = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - evidence), float(evidence.sum())


def _sums(start: np.ndarray, target: np.ndarray, rows: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Adds rows[source[m]] to start[target[m]] for each answer m, in this order. Faster than `np.add.at` on rows."""
    place = np.concatenate([np.arange(len(start)), target])
    pairs = zip(start.T, rows.T, strict=True)
    return np.stack([np.bincount(place, np.concatenate([first, row[source]])) for first, row in pairs], axis=1)


def agreement(votes: Votes, num_classes: int) -> dict[str, float | None]:
    """Returns how well people agree on images with at least two answers; None if undefined.

    `agreement` is the share of equal pairs of answers to an image, averaged over images. `alpha` is Krippendorff's
    alpha for nominal data (Content Analysis, 2004): 1 is perfect agreement, 0 is chance level.
    """
    counts = votes.counts(num_classes)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        return {"agreement": None, "alpha": None}
    answers = counts.sum(1)
    equal = (counts * (counts - 1)).sum(1) / (answers * (answers - 1))
    totals = counts.sum(0)
    # Alpha weights by answers: pairs within images against pairs of any two answers.
    observed = 1 - (equal * answers).sum() / answers.sum()
    expected = 1 - (totals * (totals - 1)).sum() / (totals.sum() * (totals.sum() - 1))
    return {"agreement": float(equal.mean()), "alpha": float(1 - observed / expected) if expected > 0 else None}


def confusion_counts(answers: Sequence[Answer], num_classes: int) -> np.ndarray:
    """Counts answers with known truth, (C, C): row is the true class, column the answer."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    known = [(answer.truth, answer.response) for answer in answers if answer.truth is not None]
    np.add.at(counts, tuple(np.array(known, dtype=np.int64).reshape(-1, 2).T), 1)
    return counts
