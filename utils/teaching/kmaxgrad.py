"""KMaxGrad: the gradient of the pool's risk measured through the student's own kernel (ours).

MaxGrad takes the example at which the functional gradient is longest, as if teaching x changed the student at x alone; it chases outliers,
which teach nothing about the rest. A linear head generalises by k(x, x') = <f(x), f(x')>, and KMaxGrad asks how far a lesson, taken as a
direction of the head, lowers the risk of the whole pool. Relatives: omniscient teaching (Liu et al., ICML 2017), GradMatch (Killamsetty et
al., ICML 2021).

    g(x) = softmax(z(x)) - onehot(c)        f~(x) = f(x) - mean of f over the pool        G = sum over the pool of g(x) f~(x)^T
    U(i; b) = g(x_i) f~(x_i)^T + g(E) f~(E)^T, E = E(x_i; c_i, b); without the second term where there is no such explanation
    score of a pair (i, j), c_i != c_j:  < U(i; c_j) + U(j; c_i), G >  /  || U(i; c_j) + U(j; c_i) ||

U(i; b) has rank 2, so no C x d matrix is ever made: < g f^T, g' f'^T > = <g, g'> <f, f'>.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Literal

import torch
from torch import Tensor

from utils.teaching.choice import BLOCK as ROWS
from utils.teaching.choice import Choice, Look, Seeded, Survey
from utils.teaching.pairing import left_classes

EXACT = 20_000  # images up to which all pairs are scored
SHORTLIST = 4_000  # beyond, the images of a class that take part, those of the largest own score
BLOCK = 1_024  # images of a class against all of another at a time
TIE = 1e-10  # scores that differ by less, relative to the larger, are equal but for rounding


@dataclass(frozen=True)
class Pulls:
    """What items pull at: residuals g (n, C) and centred features f~ (n, d), float64; the item's pull is g f~^T."""

    residuals: Tensor
    features: Tensor

    def rows(self, rows: Tensor | slice) -> "Pulls":
        return Pulls(self.residuals[rows], self.features[rows])

    def inner(self, other: "Pulls") -> Tensor:
        """< g f~^T, g' f~'^T > of every two items, (n, n')."""
        return (self.residuals @ other.residuals.T) * (self.features @ other.features.T)

    def inner_rowwise(self, other: "Pulls") -> Tensor:
        """The same of items row by row, (n,)."""
        return (self.residuals * other.residuals).sum(1) * (self.features * other.features).sum(1)

    def along(self, gradient: Tensor) -> Tensor:
        """< g f~^T, G >, (n,)."""
        return ((self.residuals @ gradient) * self.features).sum(1)


@dataclass(frozen=True)
class Group:
    """Images with their explanations against one class, or without any.

    Attributes:
        rows: of the pool, (n,).
        labels: their classes, (n,).
        images, explanations: what they pull at; where an image has no explanation its pull is 0.
        along: p = < U, G >, (n,).
        square: q = || U ||^2, (n,).
    """

    rows: Tensor
    labels: Tensor
    images: Pulls
    explanations: Pulls | None
    along: Tensor
    square: Tensor

    @property
    def own(self) -> Tensor:
        """What each would score alone, p / sqrt(q), (n,); 0 where it pulls at nothing."""
        return _ratio(self.along, self.square)

    def part(self, rows: Tensor | slice) -> "Group":
        explanations = self.explanations and self.explanations.rows(rows)
        return Group(
            self.rows[rows],
            self.labels[rows],
            self.images.rows(rows),
            explanations,
            self.along[rows],
            self.square[rows],
        )

    def scores(self, other: "Group") -> Tensor:
        """Scores of every pair, (n, n')."""
        pulls = [[one for one in (group.images, group.explanations) if one is not None] for group in (self, other)]
        cross = sum((one.inner(two) for one in pulls[0] for two in pulls[1]), torch.zeros(()))
        return _ratio(self.along[:, None] + other.along, self.square[:, None] + other.square + 2 * cross)


def _ratio(along: Tensor, square: Tensor) -> Tensor:
    """p / sqrt(q), 0 where q is 0 (to within rounding it may be negative there)."""
    return torch.where(square > 0, along / square.clamp(min=torch.finfo(square.dtype).tiny).sqrt(), 0)


class Gradient:
    """The pool's gradient, and what images and explanations pull at.

    Args:
        seen: the pool through the student's eyes.
    """

    def __init__(self, seen: Survey) -> None:
        self._seen = seen
        self._mean = seen.features.mean(0, dtype=torch.float64)
        numbers = torch.arange(len(seen.labels)).split(ROWS)
        pulls = map(self._images, numbers)
        self._gradient = sum((some.residuals.T @ some.features for some in pulls), torch.zeros(()))  # G, (C, d)

    def _images(self, rows: Tensor) -> Pulls:
        seen = self._seen
        return self._pulls(seen.logits[rows], seen.features[rows], seen.labels[rows])

    def _explanations(self, explained: Look, rows: Tensor, counter: int) -> Pulls:
        """Of the explanations against a class."""
        listed = self._seen.table[rows, counter]
        pulls = self._pulls(explained.logits[listed], explained.features[listed], self._seen.labels[rows])
        return Pulls(pulls.residuals * (listed >= 0)[:, None], pulls.features)

    def _pulls(self, logits: Tensor, features: Tensor, labels: Tensor) -> Pulls:
        residuals = logits.double().softmax(1)
        residuals[torch.arange(len(labels)), labels] -= 1
        return Pulls(residuals, features.double() - self._mean)

    def group(self, rows: Tensor, counter: int | None) -> Group:
        """Images with their explanations against `counter`, if those are looked at; None: without."""
        images, explained = self._images(rows), self._seen.explained
        explanations = None if counter is None or explained is None else self._explanations(explained, rows, counter)
        along, square = images.along(self._gradient), images.inner_rowwise(images)
        if explanations is not None:
            along = along + explanations.along(self._gradient)
            square = square + explanations.inner_rowwise(explanations) + 2 * images.inner_rowwise(explanations)
        return Group(rows, self._seen.labels[rows], images, explanations, along, square)

    def shortlist(self, rows: Tensor, counter: int | None, length: int) -> Tensor:
        """The rows of the largest own score, in list order."""
        if len(rows) <= length:
            return rows
        own = torch.cat([self.group(some, counter).own for some in rows.split(ROWS)])
        return rows[own.argsort(descending=True, stable=True)[:length].sort().values]


@dataclass(frozen=True)
class Found:
    """The best pair so far: score, and rows with the one of the larger own score first."""

    score: float
    image: int
    partner: int

    def better_of(self, other: "Found | None") -> "Found":
        """The one of the larger score; of equals the one whose images stand first in the list."""
        if other is None or self.score > other.score + TIE * abs(other.score):
            return self
        if other.score > self.score + TIE * abs(self.score):
            return other
        return min(self, other, key=lambda found: sorted((found.image, found.partner)))


def best_pair(one: Group, two: Group, apart: Tensor) -> Found | None:
    """The pair of the largest score of two groups, block by block.

    Args:
        one, two: images; a pair has one of each.
        apart: whether a pair may be of two classes, bool (C, C).

    Returns:
        None where no pair may be.
    """
    best = None
    for start in range(0, len(one.rows), BLOCK):
        block = one.part(slice(start, start + BLOCK))
        allowed = apart[block.labels][:, two.labels]
        if allowed.any():
            scores = block.scores(two).masked_fill(~allowed, -torch.inf)
            top = scores.max().item()
            best = _first(block, two, scores >= top - TIE * abs(top), top).better_of(best)
    return best


def _first(one: Group, two: Group, equal: Tensor, score: float) -> Found:
    """Of several pairs of equal score the one that stands first in the list, the image of the larger own score first."""
    places = equal.nonzero()
    pairs = torch.stack([one.rows[places[:, 0]], two.rows[places[:, 1]]], 1).sort(1).values
    first = pairs[:, 0] == pairs[:, 0].min()
    place = places[first][pairs[first, 1].argmin()]
    own = (one.own[place[0]].item(), two.own[place[1]].item())
    rows = (int(one.rows[place[0]]), int(two.rows[place[1]]))
    level = abs(own[0] - own[1]) <= TIE * max(map(abs, own))
    swapped = rows[1] < rows[0] if level else own[1] > own[0]
    return Found(score, *(reversed(rows) if swapped else rows))


def _encounters(gradient: Gradient, seen: Survey, remaining: Tensor) -> Iterator[tuple[Group, Group, Tensor]]:
    """Groups between which all pairs of remaining images of different classes lie, and the classes (C, C) whose pairs count there.

    Two classes of which images are explained against each other meet alone, since what an image pulls at depends on the other class. All
    others, which are most where classes are many, meet in groups of any classes.
    """
    length = len(remaining) if remaining.sum() <= EXACT else SHORTLIST
    members = {
        c: (remaining & (seen.labels == c)).nonzero()[:, 0]
        for c in left_classes(seen.labels, remaining, seen.num_classes)
    }
    explained = torch.zeros(seen.num_classes, seen.num_classes, dtype=torch.bool)
    if seen.explained is not None:
        for c, rows in members.items():
            explained[c] = (seen.table[rows] >= 0).any(0)
        explained |= explained.T.clone()
    for a, b in combinations(members, 2):
        if explained[a, b]:
            one, two = (
                gradient.group(gradient.shortlist(members[c], other, length), other) for c, other in ((a, b), (b, a))
            )
            yield one, two, explained
    others = ~explained & ~torch.eye(seen.num_classes, dtype=torch.bool)
    if members and others.any():
        rows = torch.cat([gradient.shortlist(some, None, length) for some in members.values()])
        groups = [gradient.group(some, None) for some in rows.split(SHORTLIST)]
        for one, two in combinations_with_replacement(groups, 2):
            yield one, two, others


class KMaxGrad(Seeded):
    """The pair of the largest score over all pairs of remaining images of different classes."""

    explains = True
    looks: Literal[True] = True

    def choose(self, seen: Survey, remaining: Tensor) -> Choice | None:
        """As in `Selector`; the score is the pair's."""
        gradient, best = Gradient(seen), None
        for one, two, apart in _encounters(gradient, seen, remaining):
            found = best_pair(one, two, apart)
            best = found.better_of(best) if found else best
        if best is None:
            return None
        counter = int(seen.labels[best.partner])
        partners = self._partners(gradient, seen, remaining, best.image) | {counter: best.partner}
        return Choice(best.image, best.partner, counter, dict(sorted(partners.items())), best.score)

    @staticmethod
    def _partners(gradient: Gradient, seen: Survey, remaining: Tensor, image: int) -> dict[int, int]:
        """For every wrong class the image that makes the best pair with this one; one that was taught already where none remains."""
        own, partners = int(seen.labels[image]), {}
        for r in range(seen.num_classes):
            of_class = seen.labels == r
            rows = (of_class & remaining if (of_class & remaining).any() else of_class).nonzero()[:, 0]
            if r == own or not len(rows):
                continue
            alone = gradient.group(torch.tensor([image]), r)
            scores = torch.cat([alone.scores(gradient.group(some, own))[0] for some in rows.split(ROWS)])
            top = scores.max().item()
            partners[r] = int(rows[(scores >= top - TIE * abs(top)).nonzero()[0, 0]])
        return partners
