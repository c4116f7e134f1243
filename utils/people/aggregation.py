"""Aggregates many people's answers into one label per image, and measures their agreement.

The default model is ours: class probabilities of images from the teacher and from everybody's confusion matrix, by EM.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import entr, softmax

from utils.people.answers import Answer
from utils.people.teacher import Teacher

Aggregation = Literal["teacher", "majority", "dawid_skene", "one_coin"]

# Prior on each person, in counts of answers per class: better than chance, but any error is possible. Without it,
# people with few answers get extreme confusion matrices, and Dawid-Skene is worse than the majority. The one-coin model
# takes the counts once per person. WRONG is also the prior count of each class.
RIGHT, WRONG = 5.0, 1.0
TOLERANCE = 1e-6  # EM has converged when no class probability changes by more
MAX_STEPS = 2000
SHRINK = 20.0  # m: weight of the crowd in a person's confusion matrix, in answers per class
DISCOUNT = 0.8  # w: weight of an answer; below 1 because people err on the same images
TEACHER_STEPS = 100  # of EM with a teacher
TIES = 2**31  # separates draws of ties from other draws with the same seed


@dataclass(frozen=True)
class Votes:
    """M answers as arrays."""

    images: list[str]  # names, (N,)
    people: list[str]  # names, sorted, (P,)
    image: np.ndarray  # index into `images` of each answer, (M,)
    person: np.ndarray  # index into `people` of each answer, (M,)
    answer: np.ndarray  # class of each answer, (M,)

    @classmethod
    def of(cls, answers: Sequence[Answer], images: Sequence[str] = ()) -> "Votes":
        """Converts answers in any order; nobody may answer an image twice. `images` may include unanswered ones."""
        answers = sorted(answers, key=lambda answer: (answer.image, answer.person))
        people = sorted({answer.person for answer in answers})
        images = list(images) or sorted({answer.image for answer in answers})
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
    converged: bool = True  # False if EM reached its last step
    people: Sequence[tuple[float, float]] = ()  # as `Crowd.informative` returns them; () for the majority


@dataclass(frozen=True)
class Aggregator:
    """How answers become labels."""

    method: Aggregation
    seed: int  # draws ties
    teacher: Teacher | None = None  # for the method "teacher"
    fixed_teacher: bool = False  # people's labels do not teach the teacher


def aggregate(votes: Votes, num_classes: int, known: np.ndarray, how: Aggregator) -> Labels:
    """Returns one label per image.

    `known` are answers with known truth, which weight people: rows of person, class, answer, weight, (K, 4). The
    majority uses them only for ties.
    """
    person, truth, answer, weight = known.T
    right, total = (
        np.bincount(person.astype(int), counted, len(votes.people)) for counted in (weight * (truth == answer), weight)
    )
    if how.method == "majority":
        first, both = num_classes * RIGHT, prior_counts(num_classes, WRONG).sum()
        return majority(votes, num_classes, (first + right) / (both + total), how.seed)
    crowd = Crowd(votes, known, num_classes)
    if how.method == "one_coin":
        fitted = one_coin(votes, num_classes, np.stack([RIGHT + right, WRONG + total - right], axis=1))
    elif how.method == "dawid_skene":
        fitted = dawid_skene(crowd)
    else:
        assert how.teacher is not None, "the method needs a teacher"
        prior = how.teacher.prior(votes.images) if how.fixed_teacher else taught_prior(crowd, how.teacher)
        fitted = fit_crowd(crowd, prior, prior)
    label, drawn = _draw_ties(fitted.posterior, how.seed)
    people = crowd.informative(fitted.people, fitted.posterior.mean(0))
    return Labels(label, fitted.posterior.max(1), drawn, fitted.steps, fitted.converged, people)


def prior_counts(num_classes: int, wrong: float) -> np.ndarray:
    """Returns prior counts of answers (C, C): row is the class, column the answer."""
    return np.full((num_classes, num_classes), wrong) + (RIGHT - wrong) * np.eye(num_classes)


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


class Fitted(NamedTuple):
    """Result of EM."""

    posterior: np.ndarray  # probability of each class, (N, C)
    steps: int
    converged: bool
    people: Callable[[int], np.ndarray]  # returns a person's confusion matrix (C, C), [class, answer]


class Crowd:
    """The answers and the known answers of a crowd, for EM.

    Its tables have a row per pair of person and answer that occurs, since C x C numbers per person may be too many.
    `known` is as in `aggregate`.
    """

    def __init__(self, votes: Votes, known: np.ndarray, num_classes: int) -> None:
        self.votes, self.num_classes = votes, num_classes
        person, truth, answer = known[:, :3].T.astype(np.int64)
        pairs = np.concatenate([votes.person * num_classes + votes.answer, person * num_classes + answer])
        found, row = np.unique(pairs, return_inverse=True)
        self.person, self.answer = np.divmod(found, num_classes)
        answers, places = len(votes.answer), np.arange(len(found))
        self.known = np.zeros((len(found), num_classes))
        np.add.at(self.known, (row[answers:], truth), known[:, 3])
        given = np.ones(answers), (row[:answers], votes.image)
        self._given = csr_matrix(given, (len(found), len(votes.images)))
        self._by_person = csr_matrix((np.ones(len(found)), (self.person, places)), (len(votes.people), len(found)))
        self._by_answer = csr_matrix((np.ones(len(found)), (self.answer, places)), (num_classes, len(found)))

    def counts(self, posterior: np.ndarray) -> np.ndarray:
        """Returns N_p + K_p of each pair of person and answer: by class, (U, C)."""
        return self._given @ posterior + self.known

    def shrunk_to(self, counts: np.ndarray) -> np.ndarray:
        """Returns m times the confusion matrix of the whole crowd, (C, C)."""
        pooled = (self._by_answer @ counts).T + prior_counts(self.num_classes, min(WRONG, 4 / (self.num_classes - 1)))
        return SHRINK * pooled / pooled.sum(1, keepdims=True)

    def log_likelihood(self, counts: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Returns the sum of log theta_p[c, r] over the answers to each image, (N, C).

        theta_p are the normalized rows of N_p + K_p + `base`, (C, C).
        """
        totals = (self._by_person @ counts)[self.person] + base.sum(1)
        return self._given.T @ np.log((counts + base.T[self.answer]) / totals)

    def confusion(self, counts: np.ndarray, base: np.ndarray, person: int) -> np.ndarray:
        """Returns theta_p of a person, (C, C), [class, answer]."""
        theta, own = base.copy(), self.person == person
        theta[:, self.answer[own]] += counts[own].T
        return theta / theta.sum(1, keepdims=True)

    def informative(self, people: Callable[[int], np.ndarray], shares: np.ndarray) -> list[tuple[float, float]]:
        """Returns the accuracy of each person in percent, and the mutual information of class and answer in bits.

        `people` returns confusion matrices, as in `Fitted`; `shares` of the classes are (C,).
        """
        found = []
        for person in range(len(self.votes.people)):
            joint = shares[:, None] * people(person)
            nats = entr(shares).sum() + entr(joint.sum(0)).sum() - entr(joint).sum()
            found.append((100 * float(np.trace(joint)), max(float(nats / np.log(2)), 0.0)))
        return found


def taught_prior(crowd: Crowd, teacher: Teacher, most: int = TEACHER_STEPS) -> np.ndarray:
    """Returns the prior (N, C) by heads of the teacher that learned the labels which EM finds with the untaught head.

    They never learn labels of their own making: with more rounds, teacher and labels confirm each other's errors.
    """
    images, prior = crowd.votes.images, teacher.prior(crowd.votes.images)
    answered = np.bincount(crowd.votes.image, minlength=len(images)) > 0
    return teacher.taught_prior(images, fit_crowd(crowd, prior, prior, most).posterior, answered)


def fit_crowd(crowd: Crowd, prior: np.ndarray, start: np.ndarray, most: int = TEACHER_STEPS) -> Fitted:
    """Estimates classes and confusion matrices jointly by EM from `start`, with the teacher's `prior`, both (N, C).

    P_i(c) = q_i(c) product of theta_p[c, r]^w over the answers; every theta_p is shrunk to the crowd's.
    """

    def step(posterior: np.ndarray) -> np.ndarray:
        counts = crowd.counts(posterior)
        likelihood = crowd.log_likelihood(counts, crowd.shrunk_to(counts))
        return softmax(np.log(prior) + DISCOUNT * likelihood, axis=1)

    found = _climb(start, step, most)
    counts = crowd.counts(found[0])
    return Fitted(*found, partial(crowd.confusion, counts, crowd.shrunk_to(counts)))


def dawid_skene(crowd: Crowd) -> Fitted:
    """Estimates classes and confusion matrices jointly by EM.

    Model (Dawid & Skene, Applied Statistics 28, 1979): image i has class j with probability prior_j; person p answers k
    with probability confusion_pjk, independently of others. Both have a Dirichlet prior; EM finds a maximum of the
    posterior. EM starts at the shares of answers, so classes keep their names unless most people confuse them.
    """
    believed = prior_counts(crowd.num_classes, WRONG)

    def step(posterior: np.ndarray) -> np.ndarray:
        likelihood = crowd.log_likelihood(crowd.counts(posterior), believed)
        return softmax(np.log(posterior.sum(0) + WRONG) + likelihood, axis=1)

    found = _climb(crowd.votes.counts(crowd.num_classes), step)
    return Fitted(*found, partial(crowd.confusion, crowd.counts(found[0]), believed))


def one_coin(votes: Votes, num_classes: int, believed: np.ndarray) -> Fitted:
    """Estimates classes and one accuracy per person jointly by EM.

    One-coin Dawid-Skene (Zhang, Chen, Zhou, Jordan, Spectral Methods Meet EM, NeurIPS 2014): person p is right with
    probability accuracy_p for every class; all wrong answers are equally likely.

    `believed` are prior counts of each person's right and wrong answers, above 0, (P, 2).
    """
    answers = believed.sum(1) + np.bincount(votes.person, minlength=len(votes.people))

    def accuracy(posterior: np.ndarray) -> np.ndarray:
        right = np.bincount(votes.person, posterior[votes.image, votes.answer], len(votes.people))
        return (believed[:, 0] + right) / answers

    def step(posterior: np.ndarray) -> np.ndarray:
        hit = accuracy(posterior)
        odds = np.log(hit) - np.log((1 - hit) / (num_classes - 1))  # against one particular wrong class
        likelihood = votes.counts(num_classes, odds[votes.person])
        return softmax(np.log(posterior.sum(0) + WRONG) + likelihood, axis=1)

    found = _climb(votes.counts(num_classes), step)
    people = accuracy(found[0])
    return Fitted(*found, lambda person: symmetric(people[person], num_classes))


def symmetric(accuracy: float, num_classes: int) -> np.ndarray:
    """Returns a confusion matrix (C, C), rows the true class: `accuracy` on the diagonal, all errors equally likely."""
    wrong = (1 - accuracy) / (num_classes - 1)
    return np.full((num_classes, num_classes), wrong) + (accuracy - wrong) * np.eye(num_classes)


def _climb(
    start: np.ndarray, step: Callable[[np.ndarray], np.ndarray], most: int = MAX_STEPS
) -> tuple[np.ndarray, int, bool]:
    """Runs EM from `start`, normalized. Returns the posterior, the number of steps, and True if it converged."""
    posterior = start / start.sum(1, keepdims=True)
    for number in range(most):
        before, posterior = posterior, step(posterior)
        if np.abs(posterior - before).max(initial=0) <= TOLERANCE:
            return posterior, number + 1, True
    return posterior, most, False


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
