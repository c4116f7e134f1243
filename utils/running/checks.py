"""Sanity checks on a finished run. Each returns a warning or None; a baseline may fail them on purpose."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from utils.base.errors import first_of
from utils.data.lists import UNKNOWN
from utils.data.loading import ImageSet

DEVIATIONS = 3  # standard deviations above chance; guessing exceeds this once in 700 runs
STILL_FALLING = 0.01  # fraction of the loss of guessing; a converged probe improves by less over its last tenth
NO_CONTRAST = 0.999  # fraction of the loss of identical projections


def with_warnings(measured: dict, warnings: Iterable[str | None]) -> dict:
    """Appends to `measured["warnings"]`, which the launcher prints."""
    found = [*measured.get("warnings", ()), *filter(None, warnings)]
    return measured | {"warnings": found} if found else measured


def constant_maps(constant: int, explanations: int) -> str | None:
    problem = f"{constant} of {explanations} explanations have a constant map, so their masks mean nothing"
    return f"{problem}. If there are many, train the teacher again." if constant else None


def incomplete_test_list(test: ImageSet, classes: Sequence[str]) -> str | None:
    unknown, present = len(test) - test.num_known, set(test.labels.tolist())
    if unknown:
        return f"{unknown} of {len(test)} images of {test.source} have unknown classes; accuracies leave them out."
    missing = [name for label, name in enumerate(classes) if label not in present]
    return f"{test.source} has no image of {first_of(missing, 10)}: accuracy not measured." if missing else None


def one_answer(confusion: np.ndarray, classes: Sequence[str], source: object) -> str | None:
    """Warns if a classifier gives the same answer to images of several classes; rows of (C, C) are true classes."""
    answered = np.flatnonzero(confusion.sum(0))
    if len(answered) > 1 or np.count_nonzero(confusion.sum(1)) < 2:
        return None
    problem = f"The classifier answers {classes[answered[0]]} for every image of {source}"
    return f"{problem}. Train it again with another --lr or more --epochs."


def _counts(labels: Tensor) -> np.ndarray:
    """Counts images per class, without unknown classes."""
    return np.bincount(labels[labels != UNKNOWN].cpu().numpy())


def chance(labels: Tensor, num_classes: int) -> float:
    """Chance level: fraction of the most frequent class, at least 1 / C; 1 / C if the list has only one class."""
    counts = _counts(labels)
    return max(1 / num_classes, counts.max() / counts.sum()) if np.count_nonzero(counts) > 1 else 1 / num_classes


def never_above_chance(test_accuracies: Sequence[float], labels: Tensor, num_classes: int, remedies: str) -> str | None:
    """Warns if guessing could reach the accuracies (%): up to chance plus three standard deviations of a binomial.

    If the list is so short that this is 100 % or more, the bound is chance. `remedies` are the settings to change.
    """
    images, guessed, best = _counts(labels).sum(), chance(labels, num_classes), max(test_accuracies)
    bound = guessed + DEVIATIONS * math.sqrt(guessed * (1 - guessed) / max(images, 1))
    bound = 100 * (bound if bound < 1 else guessed)
    if images == 0 or best > bound + 1e-3:  # rounding
        return None
    found = f"{best:.1f} % at best; guessing reaches up to {bound:.1f} % on {images} images of {num_classes} classes"
    return f"Test accuracy never rose above chance: {found}. Check {remedies}."


def not_converged(losses: Sequence[float], labels: Tensor) -> str | None:
    """Warns if a linear probe learned nothing or was still learning at the end.

    `losses` are mean cross-entropies of the epochs. The loss of guessing is the entropy of the training labels.
    """
    counts = _counts(labels)
    shares = counts[counts > 0] / counts.sum()
    guessing, last = float(-(shares * np.log(shares)).sum()), losses[-1]
    before = losses[max(0, len(losses) - 1 - max(1, len(losses) // 10))]
    if last >= guessing:
        problem = f"The linear probe learned nothing: loss {last:.3f} is not below that of guessing ({guessing:.3f})"
        return f"{problem}. Change --probe-lr, raise --probe-epochs, or use another encoder."
    if before - last > STILL_FALLING * guessing:
        problem = f"The linear probe has not converged: its loss fell from {before:.3f} to {last:.3f}"
        return f"{problem} over the last tenth of its epochs. Raise --probe-epochs or --probe-lr."
    return None


def no_contrast(loss: float, batch_sizes: Sequence[int]) -> str | None:
    """Warns if SimCLR's last NT-Xent is that of identical projections, log(2 B - 1) for a batch of B images."""
    identical = sum(size * math.log(2 * size - 1) for size in batch_sizes) / sum(batch_sizes)
    problem = f"SimCLR does not separate images: its loss {loss:.3f} is that of identical projections ({identical:.3f})"
    return None if loss < NO_CONTRAST * identical else f"{problem}. Lower --lr or raise --epochs."
