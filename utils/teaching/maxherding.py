"""MaxHerding (Bae, Noh & Sutherland, ECCV 2024): the images that cover their class best, classes in turn."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.teaching.choice import Choice, Seeded, Survey
from utils.teaching.pairing import best_of_class, next_classes

BLOCK = 2_048  # images at a time, so that no kernel matrix of a whole class is held
SAMPLED = 2_000  # images of a class from which the median distance is taken


def coverage(features: Tensor, shown: Tensor) -> Tensor:
    """How well each image of a class would cover it together with those shown already.

    Args:
        features: of the class, (n, d).
        shown: which of them were shown, bool (n,).

    Returns:
        mean over x of the class of max over x' shown or the image itself of k(x, x'), float64 (n,), with
        k = exp(-||u - u'||^2 / median), u the unit features, and the median over the pairs of the class.
    """
    unit = F.normalize(features.double(), dim=1)
    width = _median_square(unit)

    def kernel(some: Tensor) -> Tensor:
        return torch.exp(-_squares(some, unit) / width)  # (b, n)

    covered = torch.zeros(len(unit), dtype=torch.float64)  # of every x by those shown
    for some in unit[shown].split(BLOCK) if shown.any() else ():
        covered = torch.maximum(covered, kernel(some).amax(0))
    return torch.cat([torch.maximum(kernel(some), covered).mean(1) for some in unit.split(BLOCK)])


def _squares(one: Tensor, other: Tensor) -> Tensor:
    """||u - u'||^2 of unit vectors, (n, n')."""
    return (2 - 2 * one @ other.T).clamp(min=0)


def _median_square(unit: Tensor) -> float:
    """The median squared distance of two different images; 1 where all are alike."""
    some = unit[:: -(-len(unit) // SAMPLED)]
    rows, columns = torch.triu_indices(len(some), len(some), offset=1)
    squares = _squares(some, some)[rows, columns]
    return squares.median().item() or 1.0 if len(squares) else 1.0


class MaxHerding(Seeded):
    """The best covering image of each of the two classes whose turn it is."""

    looks: Literal[True] = True

    def choose(self, seen: Survey, remaining: Tensor) -> Choice | None:
        """As in `Selector`; the score is the first image's."""
        turn = next_classes(seen.labels, remaining, seen.num_classes)
        if turn is None:
            return None
        values = torch.zeros(len(remaining), dtype=torch.float64)
        for c in range(seen.num_classes):
            members = seen.labels == c
            if members.any():
                values[members] = coverage(seen.features[members], ~remaining[members])
        own, counter = turn
        rows = {c: best_of_class(values, seen.labels, remaining, c) for c in range(seen.num_classes)}
        best = {c: row for c, row in rows.items() if row is not None}
        partners = {c: row for c, row in best.items() if c != own}
        return Choice(best[own], best[counter], counter, partners, values[best[own]].item())
