"""One label per image from the answers of many people, and how much the people agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array
from scipy.special import logsumexp
from tqdm import tqdm

from utils.people.participants import Answer

Aggregation = Literal["majority", "dawid_skene", "one_coin"]

# What is believed of people before they answer, as counts of answers per class: better than chance, and able of every error. Without
# that, people with few answers get extreme confusion matrices, and Dawid-Skene labels worse than the majority. The one-coin model,
# which has one number a person, takes them once a person.
RIGHT, WRONG = 5.0, 1.0
TOLERANCE = 1e-6  # EM has converged when no probability of a class changes by more
LONGEST = 2000  # EM steps
TIES = 2**31  # keeps the draws of ties apart from all else that is drawn with the same seed


@dataclass(frozen=True)
class Votes:
    """Answers as arrays, one entry per answer.

    Attributes:
        images: names, sorted, (N,).
        people: names, sorted, (P,).
        image: place in `images` of each answer, (M,).
        person: place in `people` of each answer, (M,).
        answer: the class answered, (M,).
    """

    images: list[str]
    people: list[str]
    image: np.ndarray
    person: np.ndarray
    answer: np.ndarray

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> "Votes":
        """Of answers in which nobody answers to an image twice. Their order does not matter."""
        answers = sorted(answers, key=lambda answer: (answer.image, answer.person))
        images, people = sorted({answer.image for answer in answers}), sorted({answer.person for answer in answers})
        place, number = {name: i for i, name in enumerate(images)}, {name: i for i, name in enumerate(people)}
        columns = [(place[answer.image], number[answer.person], answer.response) for answer in answers]
        image, person, answer = np.array(columns, dtype=np.int64).reshape(-1, 3).T
        return cls(images, people, image, person, answer)

    def counts(self, num_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Answers per image and class, (N, C); with `weights` (M,) their sums."""
        found = np.zeros((len(self.images), num_classes))
        np.add.at(found, (self.image, self.answer), 1.0 if weights is None else weights)
        return found


@dataclass(frozen=True)
class Labels:
    """One label per image.

    Attributes:
        label: (N,), in the order of `Votes.images`.
        certainty: share of the answers (majority) or probability (the models) of that label, (N,).
        drawn: images whose tie was left to the draw.
        steps: of EM; 0 for the majority.
        converged: whether EM ended by itself.
    """

    label: np.ndarray
    certainty: np.ndarray
    drawn: int
    steps: int = 0
    converged: bool = True


def aggregate(votes: Votes, num_classes: int, method: Aggregation, seen: csr_array, seed: int) -> Labels:
    """One label per image.

    Args:
        votes: the answers.
        num_classes: C.
        method: how, one of `AGGREGATIONS`.
        seen: what people answered where the truth is known, counts (P, C C): [person, class x C + answer]. Every method weighs people by
            it, the majority only where it is tied.
        seed: draws what remains tied.
    """
    return AGGREGATIONS[method](votes, num_classes, seen, seed)


def _by_majority(votes: Votes, num_classes: int, seen: csr_array, seed: int) -> Labels:
    prior = num_classes * np.array([RIGHT, WRONG * (num_classes - 1)])  # the sums of `prior_counts`
    right, wrong = (prior + _right_and_wrong(seen, num_classes)).T
    return majority(votes, num_classes, right / (right + wrong), seed)


def _by_dawid_skene(votes: Votes, num_classes: int, seen: csr_array, seed: int) -> Labels:
    return _labels_of(
        dawid_skene(votes, prior_counts(num_classes) + seen.toarray().reshape(-1, num_classes, num_classes)), seed
    )


def _by_one_coin(votes: Votes, num_classes: int, seen: csr_array, seed: int) -> Labels:
    return _labels_of(
        one_coin(votes, num_classes, np.array([RIGHT, WRONG]) + _right_and_wrong(seen, num_classes)), seed
    )


def _right_and_wrong(seen: csr_array, num_classes: int) -> np.ndarray:
    """Of each person's answers whose truth is known, how many are right and how many wrong, (P, 2)."""
    right = seen[:, :: num_classes + 1].sum(1)
    return np.stack([right, seen.sum(1) - right], axis=1)


def _labels_of(found: "Fitted", seed: int) -> Labels:
    """Of each image the class that is most probable. What the answers leave symmetric is tied in a model as well, and drawn."""
    label, drawn = _drawn(found.posterior, seed)
    return Labels(label, found.posterior.max(1), drawn, found.steps, found.converged)


# Each takes the answers, C, what people answered where the truth is known, and the seed, as `aggregate` describes them.
AGGREGATIONS: dict[str, Callable[[Votes, int, csr_array, int], Labels]] = {
    "majority": _by_majority,
    "dawid_skene": _by_dawid_skene,
    "one_coin": _by_one_coin,
}


def prior_counts(num_classes: int) -> np.ndarray:
    """What is believed of somebody who has not answered yet, as counts of answers (C, C): row the class, column the answer."""
    return np.full((num_classes, num_classes), WRONG) + (RIGHT - WRONG) * np.eye(num_classes)


def majority(votes: Votes, num_classes: int, trust: np.ndarray, seed: int) -> Labels:
    """The class that most people answered.

    Of classes with as many answers, the one whose people are trusted more in sum; what is tied even then is drawn, since taking
    the first would favour the first class. The draw depends on the seed and on nothing but the image's place among `votes.images`.

    Args:
        votes: the answers.
        num_classes: C.
        trust: of each person, (P,): the accuracy that is believed of them.
        seed: of the draws.
    """
    counts = votes.counts(num_classes)
    trusted = votes.counts(num_classes, trust[votes.person])
    leading = counts == counts.max(1, keepdims=True)
    label, drawn = _drawn(np.where(leading, trusted, -np.inf), seed)
    return Labels(label, counts.max(1) / counts.sum(1), drawn)


def _drawn(scores: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    """The class of each image's highest score (N, C), of equal ones one that is drawn; and for how many images it was drawn."""
    tied = np.isclose(scores, scores.max(1, keepdims=True), rtol=1e-9, atol=1e-12)
    draws = np.random.default_rng((TIES, seed)).random(scores.shape)
    return np.where(tied, draws, -1).argmax(1), int((tied.sum(1) > 1).sum())


@dataclass(frozen=True)
class Fitted:
    """A model that EM has fitted.

    Attributes:
        posterior: probability of every class, (N, C).
        prior: share of every class, (C,).
        people: of Dawid and Skene's model, the probability that a person answers k to an image of class j, (P, C, C): [person, j, k];
            of the one-coin model, the probability that a person is right, (P,).
        objective: log posterior of the parameters before every step; it never falls.
        converged: whether EM ended by itself.
    """

    posterior: np.ndarray
    prior: np.ndarray
    people: np.ndarray
    objective: list[float]
    converged: bool

    @property
    def steps(self) -> int:
        return len(self.objective)


def dawid_skene(votes: Votes, believed: np.ndarray, per_class: float = WRONG, tolerance: float = TOLERANCE) -> Fitted:
    """True classes and every person's confusion matrix together, by EM.

    Model (Dawid & Skene, Applied Statistics 28, 1979): image i is of class j with probability prior_j; person p answers k to it
    with probability confusion_pjk, independently of the others. Here with a Dirichlet prior on both, of which EM finds a maximum.
    It starts at the shares of the answers, so that classes keep their names unless most people confuse them, and works in log
    space, where many answers to one image do not underflow.

    Args:
        votes: the answers.
        believed: prior counts of each person's answers, (P, C, C): [person, class, answer].
        per_class: prior count of each class.
        tolerance: EM ends when no probability in the posterior changes by more.
    """
    sums = Sums.of(votes, believed.shape[1])

    def step(posterior: np.ndarray) -> Step:
        prior, confusion = maximise(sums, posterior, believed, per_class)
        posterior, likelihood = expect(sums, prior, confusion)
        return (
            posterior,
            prior,
            confusion,
            likelihood + per_class * np.log(prior).sum() + (believed * np.log(confusion)).sum(),
        )

    return _climb(votes.counts(believed.shape[1]), step, tolerance, "Dawid-Skene")


def one_coin(
    votes: Votes, num_classes: int, believed: np.ndarray, per_class: float = WRONG, tolerance: float = TOLERANCE
) -> Fitted:
    """True classes and every person's accuracy together, by EM.

    The one-coin Dawid-Skene model (as in Zhang, Chen, Zhou, Jordan, Spectral Methods Meet EM, NeurIPS 2014): that of `dawid_skene`
    with one number a person instead of C (C - 1): whatever the class, person p is right with probability accuracy_p, and wrong with
    each of the other classes equally often. Priors, beginning and end are those of `dawid_skene`.

    Args:
        votes: the answers.
        num_classes: C, two or more.
        believed: prior counts of each person's right and wrong answers, above 0, (P, 2).
        per_class: prior count of each class.
        tolerance: EM ends when no probability in the posterior changes by more.
    """
    cell, shape = votes.image * num_classes + votes.answer, (len(votes.images), num_classes)
    answers = believed.sum(1) + np.bincount(votes.person, minlength=len(votes.people))

    def step(posterior: np.ndarray) -> Step:
        shares = posterior.sum(0) + per_class
        prior = shares / shares.sum()
        right = np.bincount(votes.person, posterior.reshape(-1)[cell], len(votes.people))
        accuracy = (believed[:, 0] + right) / answers
        hit, miss = np.log(accuracy), np.log(1 - accuracy)
        other = miss - np.log(num_classes - 1)  # of one of the wrong classes
        joint = np.log(prior) + np.bincount(cell, (hit - other)[votes.person], shape[0] * shape[1]).reshape(shape)
        evidence = logsumexp(joint, axis=1, keepdims=True)
        likelihood = evidence.sum() + other[votes.person].sum()
        believing = (believed * np.stack([hit, miss], axis=1)).sum()
        return np.exp(joint - evidence), prior, accuracy, likelihood + per_class * np.log(prior).sum() + believing

    return _climb(votes.counts(num_classes), step, tolerance, "one coin")


# What a step of EM, which takes a posterior (N, C), makes of it: the next posterior, the shares of the classes, the people's parameters
# and the objective.
Step = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _climb(counts: np.ndarray, step: Callable[[np.ndarray], Step], tolerance: float, name: str) -> Fitted:
    """EM from the shares of the answers, of which there are `counts` (N, C), to its end."""
    posterior = counts / counts.sum(1, keepdims=True)
    objective: list[float] = []
    converged = False
    with tqdm(desc=name, unit="step", delay=2) as bar:
        while not converged and len(objective) < LONGEST:
            before = posterior
            posterior, prior, people, reached = step(posterior)
            objective.append(float(reached))
            change = float(np.abs(posterior - before).max())
            converged = change <= tolerance
            bar.set_postfix(change=f"{change:.1e}", refresh=False)
            bar.update()
    return Fitted(posterior, prior, people, objective, converged)


@dataclass(frozen=True)
class Sums:
    """The sums over answers that EM takes in every step, as sparse matrices, which add faster than NumPy's `add.at`, in its order.

    Attributes:
        of_answers: (P C, P C + N): what is believed of a person's answer k in the first columns, and the images to which it was given.
        of_images: (N, 1 + P C): the first column for what holds of every image, and the answers that were given to it.
    """

    of_answers: csr_array
    of_images: csr_array

    @classmethod
    def of(cls, votes: Votes, num_classes: int) -> "Sums":
        """Of all answers, added in the order in which they stand."""
        kinds = len(votes.people) * num_classes
        kind = votes.person * num_classes + votes.answer
        of_answers = _ones(kinds, kind, kinds + votes.image, np.arange(kinds), kinds + len(votes.images))
        first = np.zeros(len(votes.images), np.int64)
        return cls(of_answers, _ones(len(votes.images), votes.image, 1 + kind, first, 1 + kinds))


def _ones(rows: int, row: np.ndarray, column: np.ndarray, first: np.ndarray, columns: int) -> csr_array:
    """A sparse matrix with ones at the places given, the columns of a row in their order, after one at `first` of each row."""
    row, column = np.concatenate([np.arange(rows), row]), np.concatenate([first, column])
    starts = np.concatenate([[0], np.bincount(row, minlength=rows).cumsum()])
    return csr_array((np.ones(len(row)), column[row.argsort(kind="stable")], starts), shape=(rows, columns))


def maximise(
    sums: Sums, posterior: np.ndarray, believed: np.ndarray, per_class: float
) -> tuple[np.ndarray, np.ndarray]:
    """The M-step.

    Args:
        sums: of the answers.
        posterior: probability of every class, (N, C).
        believed: prior counts of each person's answers, (P, C, C): [person, class, answer].
        per_class: prior count of each class.

    Returns:
        The shares of the classes (C,) and the confusion matrices (P, C, C).
    """
    shares = posterior.sum(0) + per_class
    num_classes = len(shares)
    by_answer = believed.transpose(0, 2, 1).reshape(-1, num_classes)  # (P C, C): [person and answer, class]
    answered = sums.of_answers @ np.concatenate([by_answer, posterior])
    confusion = answered.reshape(-1, num_classes, num_classes).transpose(0, 2, 1)  # [person, class, answer]
    return shares / shares.sum(), confusion / confusion.sum(2, keepdims=True)


def expect(sums: Sums, prior: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, float]:
    """The E-step: the posterior (N, C) of the classes, and the log likelihood of the answers."""
    by_answer = np.log(confusion).transpose(0, 2, 1).reshape(-1, len(prior))  # (P C, C): [person and answer, class]
    joint = sums.of_images @ np.concatenate([np.log(prior)[None], by_answer])  # (N, C)
    evidence = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - evidence), float(evidence.sum())


def agreement(votes: Votes, num_classes: int) -> dict[str, float | None]:
    """How much people agree on images that at least two answered to; None where that says nothing.

    Returns:
        `raw`: share of the pairs of answers to one image that are equal, each image weighing as much. `alpha`: Krippendorff's,
        for nominal data with any number of answers per image (Content Analysis, 2004): 1 is perfect, 0 is chance.
    """
    counts = votes.counts(num_classes)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        return {"raw": None, "alpha": None}
    answers = counts.sum(1)
    equal = (counts * (counts - 1)).sum(1) / (answers * (answers - 1))
    totals = counts.sum(0)
    # Both by answers, as alpha wants it: pairs within images against pairs of any two answers.
    observed = 1 - (equal * answers).sum() / answers.sum()
    expected = 1 - (totals * (totals - 1)).sum() / (totals.sum() * (totals.sum() - 1))
    return {"raw": float(equal.mean()), "alpha": float(1 - observed / expected) if expected > 0 else None}


def confusion_counts(answers: Sequence[Answer], num_classes: int) -> np.ndarray:
    """Counts (C, C) of the answers whose truth is known: row the true class, column the answer."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for answer in answers:
        if answer.truth is not None:
            counts[answer.truth, answer.response] += 1
    return counts
