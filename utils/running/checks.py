"""Sanity checks on a finished run. Each returns a warning or None; the launcher prints the warnings, the run record keeps them.

They are warnings and not errors, since a baseline may fail them on purpose.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from utils.base.errors import first_of
from utils.data.lists import UNKNOWN
from utils.data.loading import ImageSet

DEVIATIONS = 3  # standard deviations above chance; guessing exceeds this once in 700 runs
STILL_FALLING = 0.01  # share of the loss of guessing; a converged probe improves by less over its last tenth
NO_CONTRAST = 0.999  # share of the loss of identical projections
ROUNDING = 1e-3  # percent


def with_warnings(measured: dict | None, warnings: Iterable[str | None]) -> dict | None:
    """Appends the warnings that are not None to `measured["warnings"]`; None (ranks other than 0) stays None."""
    if measured is None:
        return None
    found = [*measured.get("warnings", ()), *filter(None, warnings)]
    return measured | {"warnings": found} if found else measured


def constant_maps(constant: int, explanations: int) -> str | None:
    if constant == 0:
        return None
    return (
        f"{constant} of {explanations} explanations have a constant map, so their masks mean nothing. "
        "If there are many, train the teacher again and pass it with --checkpoint."
    )


def incomplete_test_list(test: ImageSet, classes: Sequence[str]) -> str | None:
    """Images of unknown class in a test list, and classes without an image."""
    unknown = len(test) - test.num_known
    if unknown == len(test):
        return f"The classes of all {unknown} images of {test.source} are unknown, so there is no test accuracy."
    present = set(test.labels.tolist())
    missing = [name for label, name in enumerate(classes) if label not in present]
    parts = []
    if unknown:
        parts.append(
            f"The classes of {unknown} of {len(test)} images of {test.source} are unknown; test accuracies are computed on the others."
        )
    if missing:
        parts.append(f"{test.source} has no image of {first_of(missing, 10)}. Their accuracy is not measured.")
    return " ".join(parts) or None


def untaught_classes(lessons: int, shown: int, num_classes: int) -> str | None:
    """A course whose pairs are too few to show every class once."""
    if 2 * lessons >= num_classes:
        return None
    needed = math.ceil(num_classes / 2)
    return (
        f"The course shows {shown} of {num_classes} classes. Set --iterations to {needed} or more to teach all of them."
    )


def one_answer(confusion: np.ndarray, classes: Sequence[str], source: object) -> str | None:
    """A classifier with the same answer for every image of a list of several classes.

    Args:
        confusion: counts (C, C), rows the true class, columns the answer.
        classes: class names in label order.
        source: the list file.
    """
    answered = np.flatnonzero(confusion.sum(0))
    if len(answered) > 1 or np.count_nonzero(confusion.sum(1)) < 2:
        return None
    return (
        f"The classifier answers {classes[answered[0]]} for every image of {source}. "
        "Train it again with another --lr or more --epochs."
    )


def _counts(labels: Tensor) -> np.ndarray:
    """Images per class; unknown classes are not counted."""
    return np.bincount(labels[labels != UNKNOWN].cpu().numpy())


def chance(labels: Tensor, num_classes: int) -> float:
    """Chance level in 0 .. 1: 1 / C, or the share of the most frequent class if that is larger. A list of one class has 1 / C."""
    counts = _counts(labels)
    return max(1 / num_classes, counts.max() / counts.sum()) if np.count_nonzero(counts) > 1 else 1 / num_classes


def never_above_chance(test_accuracies: Sequence[float], labels: Tensor, num_classes: int, remedies: str) -> str | None:
    """Test accuracies that guessing could reach: chance plus three standard deviations of a binomial share.

    Args:
        test_accuracies: in percent, after each lesson or of each classifier; at least one.
        labels: of the test list. If it is so short that guessing could reach 100 %, the bound is chance itself.
        num_classes: C.
        remedies: the settings that the warning names.
    """
    images, share = _counts(labels).sum(), chance(labels, num_classes)
    if images == 0:
        return None
    bound = 100 * (share + DEVIATIONS * math.sqrt(share * (1 - share) / images))
    best = max(test_accuracies)
    if best > (bound if bound < 100 else 100 * share) + ROUNDING:
        return None
    return (
        f"Test accuracy never rose above chance: {best:.1f} % at best; guessing reaches up to {min(bound, 100):.1f} % "
        f"on {images} images of {num_classes} classes. Try other values of {remedies}."
    )


def not_converged(losses: Sequence[float], labels: Tensor) -> str | None:
    """A linear probe that learned nothing, or was still learning at the end.

    Args:
        losses: mean cross-entropy of every epoch, at least one.
        labels: of the training list (N,); the loss of guessing is the entropy of their shares.
    """
    counts = _counts(labels)
    shares = counts[counts > 0] / counts.sum()
    guessing, last = float(-(shares * np.log(shares)).sum()), losses[-1]
    before = losses[max(0, len(losses) - 1 - max(1, len(losses) // 10))]
    if last >= guessing:
        return (
            f"The linear probe learned nothing: its loss {last:.3f} is not below that of guessing ({guessing:.3f}). "
            "Change --probe-lr, raise --probe-epochs, or use another encoder."
        )
    if before - last > STILL_FALLING * guessing:
        return (
            f"The linear probe has not converged: its loss fell from {before:.3f} to {last:.3f} over the last tenth of "
            "its epochs. Raise --probe-epochs or --probe-lr."
        )
    return None


def no_contrast(loss: float, batch_sizes: Sequence[int]) -> str | None:
    """SimCLR with the loss of identical projections, log(2 B - 1) for a batch of B images.

    Args:
        loss: mean NT-Xent of the last epoch.
        batch_sizes: images per batch.
    """
    identical = sum(size * math.log(2 * size - 1) for size in batch_sizes) / sum(batch_sizes)
    if loss < NO_CONTRAST * identical:
        return None
    return (
        f"SimCLR does not separate images: its loss {loss:.3f} is that of identical projections ({identical:.3f}). "
        "Lower --lr or raise --epochs."
    )


def random_features(pretrained: str, frozen: bool = True) -> str | None:
    if pretrained != "none" or not frozen:
        return None
    return "--pretrained none: the features are random and frozen. Use imagenet or the path of a checkpoint."
