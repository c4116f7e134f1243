"""How well what people answered is predicted: by a student who was taught the same pictures, and by what knows nothing of these.

A predictor gives a share to every class for every answer. Its free numbers are fitted to the people of the other folds, so nobody is
predicted by what was learned from him or her.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logsumexp
from scipy.stats import rankdata

SMOOTHING = 1.0  # answers that are added to every cell of a confusion table, so that none has a share of 0
# Log temperature, logit of the lapses and weight of the prior where fitting begins, and their bounds: lapses are 0.0001 at the least, so
# that no answer has a share of 0.
STARTS = ((0.0, -3.0, 1.0), (1.5, -1.0, 0.5), (3.0, -3.0, 1.0))
BOUNDS = ((-7.0, 12.0), (-9.0, 9.0), (0.0, 3.0))


@dataclass(frozen=True)
class Asked:
    """Answers of a test, one entry each, (M,) integers.

    Attributes:
        person: who answered, 0 .. P-1.
        image: to which picture, any number that is the picture's own.
        truth: its class.
        response: the class that was answered.
        num_classes: C.
    """

    person: np.ndarray
    image: np.ndarray
    truth: np.ndarray
    response: np.ndarray
    num_classes: int

    def of(self, chosen: np.ndarray) -> "Asked":
        """Some of them; `chosen` is bool (M,)."""
        person, image, truth, response = (
            column[chosen] for column in (self.person, self.image, self.truth, self.response)
        )
        return Asked(person, image, truth, response, self.num_classes)

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, bool (M,)."""
        return self.response == self.truth


def folds_of(person: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of every answer, (M,): all answers of a person fall into one, and folds differ by one person at most."""
    people = np.unique(person)
    place = dict(
        zip(np.random.default_rng(seed).permutation(people).tolist(), np.arange(len(people)) % folds, strict=True)
    )
    return np.array([place[one] for one in person.tolist()])


def log_table(answers: Asked) -> np.ndarray:
    """A confusion table of these answers, logarithms of shares (C, C), row the true class; smoothed."""
    counts = np.full((answers.num_classes,) * 2, SMOOTHING)
    np.add.at(counts, (answers.truth, answers.response), 1.0)
    return np.log(counts / counts.sum(1, keepdims=True))


@dataclass(frozen=True)
class Calibration:
    """From a student's strengths z to a person's shares q = (1 - lapses) softmax(z / temperature) + lapses / C; with a prior r the shares
    are in proportion to q r^weight."""

    temperature: float
    lapses: float
    weight: float = 1.0

    def log_shares(self, strengths: np.ndarray, log_prior: np.ndarray | float = 0.0) -> np.ndarray:
        """Logarithms of the shares, (M, C), from strengths (M, C) and, where there is one, the logarithm of a prior (M, C)."""
        inner = log_softmax(strengths / self.temperature, axis=1) + np.log1p(-self.lapses)
        mixed = np.logaddexp(inner, np.log(self.lapses / strengths.shape[1])) + self.weight * log_prior
        return mixed - logsumexp(mixed, axis=1, keepdims=True)


def calibrate(strengths: np.ndarray, response: np.ndarray, log_prior: np.ndarray | float = 0.0) -> Calibration:
    """The calibration under which answers (M,) are likeliest; the best of a few fixed starts."""
    rows = np.arange(len(response))

    def at(values: np.ndarray) -> Calibration:
        return Calibration(float(np.exp(values[0])), float(expit(values[1])), float(values[2]))

    def loss(values: np.ndarray) -> float:
        return -at(values).log_shares(strengths, log_prior)[rows, response].mean()

    ends = [minimize(loss, np.array(start), method="L-BFGS-B", bounds=BOUNDS) for start in STARTS]
    return at(min(ends, key=lambda end: end.fun).x)


# From (all answers, which are learned from, which are predicted; bool (M,) both) to logarithms of the shares of the predicted (m, C).
Predictor = Callable[[Asked, np.ndarray, np.ndarray], np.ndarray]


def chance(asked: Asked, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Every class alike."""
    return np.full((wanted.sum(), asked.num_classes), -np.log(asked.num_classes))


def table(asked: Asked, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The confusion table of the people who are known: it looks at the true class alone."""
    return log_table(asked.of(known))[asked.truth[wanted]]


def others(asked: Asked, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What other people answered to the same picture, beside the table, which counts as so many answers as serve the known people best."""
    learned, predicted = asked.of(known), asked.of(wanted)
    prior = np.exp(log_table(learned))
    places = {image: place for place, image in enumerate(np.unique(asked.image).tolist())}
    counts = np.zeros((len(places), asked.num_classes))
    at, there = (
        np.array([places[image] for image in some.image.tolist()], dtype=np.int64) for some in (learned, predicted)
    )
    np.add.at(counts, (at, learned.response), 1.0)
    without = counts[at]  # of an answer that is known, those of the others alone
    without[np.arange(len(at)), learned.response] -= 1

    def shares(seen: np.ndarray, truth: np.ndarray, weight: float) -> np.ndarray:
        return np.log((seen + weight * prior[truth]) / (seen.sum(1, keepdims=True) + weight))

    weights = np.exp(np.linspace(np.log(0.5), np.log(2000), 60))
    fits = [shares(without, learned.truth, weight)[np.arange(len(at)), learned.response].mean() for weight in weights]
    return shares(counts[there], predicted.truth, weights[int(np.argmax(fits))])


def student(strengths: np.ndarray) -> Predictor:
    """A student's strengths (M, C), calibrated to the people who are known."""

    def predict(asked: Asked, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return calibrate(strengths[known], asked.response[known]).log_shares(strengths[wanted])

    return predict


def student_with_table(strengths: np.ndarray) -> Predictor:
    """The same times a power of the table, which tells whether the student knows anything that the true class does not tell."""

    def predict(asked: Asked, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        prior = log_table(asked.of(known))[asked.truth]
        return calibrate(strengths[known], asked.response[known], prior[known]).log_shares(
            strengths[wanted], prior[wanted]
        )

    return predict


@dataclass(frozen=True)
class Scores:
    """How good a predictor is, a value for every fold: mean log-likelihood of an answer (natural logarithm), and AUC within class."""

    log_likelihood: np.ndarray
    auc: np.ndarray


def cross_validated(asked: Asked, folds: np.ndarray, predict: Predictor) -> Scores:
    """Predicts every fold from the others.

    Args:
        asked: the answers.
        folds: the fold of each, (M,), as `folds_of` gives them.
        predict: the predictor.
    """
    likelihoods, areas = [], []
    for fold in np.unique(folds):
        wanted = folds == fold
        shares, here = predict(asked, ~wanted, wanted), asked.of(wanted)
        rows = np.arange(len(here.truth))
        likelihoods.append(shares[rows, here.response].mean())
        areas.append(auc_within_class(shares[rows, here.truth], here.right, here.truth))
    return Scores(np.array(likelihoods), np.array(areas))


def auc_within_class(scores: np.ndarray, right: np.ndarray, truth: np.ndarray) -> float:
    """How well scores tell right answers from wrong ones among pictures of one true class.

    For each true class with right and wrong answers: the share of pairs of a right and a wrong answer in which the right one scores
    higher, ties counting half; and the mean of that over these classes. What looks at the class alone has 1/2.

    Args:
        scores: what a predictor gives to the true class, (M,).
        right: whether the answer is right, bool (M,).
        truth: classes, (M,).

    Returns:
        0 .. 1; 1/2 where no class has both.
    """
    areas = []
    for c in np.unique(truth):
        here, yes = rankdata(scores[truth == c]), right[truth == c]
        pairs = yes.sum() * (~yes).sum()
        if pairs:
            areas.append((here[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / pairs)
    return float(np.mean(areas)) if areas else 0.5


def summary(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (of a sample; 0 of a single value)."""
    found = np.asarray(values, dtype=np.float64)
    return float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else 0.0
