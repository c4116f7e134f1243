"""From scores to pairs: what several selectors do alike."""

from torch import Tensor

from utils.teaching.choice import Choice
from utils.training.evaluation import TIE


def first_argmax(values: Tensor, allowed: Tensor) -> int | None:
    """Row of the largest value among the allowed ones, the first of equals; None where none is allowed."""
    rows = allowed.nonzero()[:, 0]
    return int(rows[values[rows].argmax()]) if len(rows) else None


def best_of_class(values: Tensor, labels: Tensor, remaining: Tensor, label: int) -> int | None:
    """The remaining image of a class with the largest value; of all its images where every one is taught already, since people must
    see one; None where the class has none at all."""
    members = labels == label
    row = first_argmax(values, members & remaining)
    return row if row is not None else first_argmax(values, members)


def left_classes(labels: Tensor, remaining: Tensor, num_classes: int) -> list[int]:
    """The classes that have an image left, ascending."""
    return labels[remaining].bincount(minlength=num_classes).nonzero()[:, 0].tolist()


def next_classes(labels: Tensor, remaining: Tensor, num_classes: int) -> tuple[int, int] | None:
    """The two classes whose turn it is: those that were shown least of those that have an image left; of equals the lower labels.

    Returns:
        Two classes, or None where fewer than two have an image left.
    """
    shown = labels[~remaining].bincount(minlength=num_classes).tolist()
    turn = sorted(left_classes(labels, remaining, num_classes), key=lambda c: (shown[c], c))
    return (turn[0], turn[1]) if len(turn) >= 2 else None


def strongest_first(logits: Tensor) -> list[int]:
    """The classes by falling logits (C,), of equals the lower labels first.

    Classes that a student was taught nothing of have the same logit but for rounding, which is another with every processor and number of
    threads; so has what follows from their order.
    """
    falling, order = logits.sort(descending=True, stable=True)
    place = (
        ((falling[:-1] - falling[1:]) > TIE * logits.abs().max()).cumsum(0).tolist()
    )  # of all but the first, among distinct values
    return [label for _, label in sorted(zip([0, *place], order.tolist(), strict=True))]


def pair_by_score(scores: Tensor, logits: Tensor, labels: Tensor, remaining: Tensor) -> Choice | None:
    """The pair of the largest score (method of CMaxGrad; with scores that do not depend on b, of MaxGrad).

    b is what the student takes i for, or, where it is right, the strongest wrong class; classes without a remaining image give way to the
    next strongest. Ties go to the image that stands first in the list, and to the lower class.

    Args:
        scores: log s(i, b), (N, C).
        logits: the student's, (N, C).
        labels: c_i, (N,).
        remaining: which rows may still be chosen, bool (N,).

    Returns:
        The choice, its score being log s, or None where no image of another class remains to pair with.
    """
    best = scores.amax(1)  # (N,)
    image = first_argmax(best, remaining)
    if image is None:
        return None
    own = int(labels[image])
    by_strength = [b for b in strongest_first(logits[image]) if b != own]
    # A wrong answer is the largest logit, so it comes first here; after a right answer the strongest wrong class does.
    partners = {b: best_of_class(best, labels, remaining, b) for b in sorted(by_strength)}
    shown = {b: row for b, row in partners.items() if row is not None}
    left = set(left_classes(labels, remaining, scores.shape[1]))
    available = [b for b in by_strength if b in left]
    if not available:
        return None
    counter = available[0]
    return Choice(image, shown[counter], counter, shown, best[image].item())
