"""Base class of selections: from the pool, as the student sees it, to the next pair."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

BLOCK = 8_192  # rows converted to double precision at a time; limits memory for large pools
DOUBT = 0.01  # share of the score that a pair loses if neither of its explanations can be trusted


@dataclass(frozen=True)
class Choice:
    """The images of one lesson, as rows of the pool.

    Attributes:
        image: i.
        partner: j, of class `counter`.
        counter: counter class b.
        partners: for every wrong answer r the image of class r to compare i with; classes without images are missing.
        score: finite score of this choice, or None if the selection does not score.
    """

    image: int
    partner: int
    counter: int
    partners: dict[int, int]
    score: float | None

    def items(self, labels: Tensor, table: Tensor, explain: bool) -> list[tuple[int, int | None]]:
        """Items of the lesson: x_i, x_j and, if `explain` and they exist, E(x_i; a, b) and E(x_j; b, a).

        Each item is the row of an image, and the number of its explanation or None for the image itself.
        """
        pair = ((self.image, self.partner), (self.partner, self.image))
        explanations = [(number, int(table[number, labels[other]])) for number, other in pair if explain]
        return [(number, None) for number, _ in pair] + [item for item in explanations if item[1] >= 0]


class Look(NamedTuple):
    """Logits (M, C) and features (M, d) of M pictures, on the CPU."""

    logits: Tensor
    features: Tensor


class Seen(NamedTuple):
    """The pool through a network and its head: N images, M explanations, C classes."""

    logits: Tensor  # z = W f of the images, (N, C)
    features: Tensor  # f, (N, d); their inner product is the kernel by which the student generalizes
    codewords: Tensor  # W, (C, d)
    explained: Look | None  # None if explanations are not taught


class Survey:
    """The pool as a student sees it.

    `labels` (N,) are c_i. `table` (N, C) numbers the explanation of image i against class b; -1 if missing (always at
    b = c_i). `seen` calls `look`, the student's pass over the pool. A selection that needs only labels costs no pass.
    `outlined` (M,) is true for explanations that can be trusted, so that people see them outlined; None: all.
    """

    def __init__(self, labels: Tensor, table: Tensor, look: Callable[[], Seen], outlined: Tensor | None = None) -> None:
        self.labels, self.table, self._look, self.outlined = labels, table, look, outlined

    @cached_property
    def seen(self) -> Seen:
        return self._look()

    @cached_property
    def _trusted(self) -> Tensor:
        """True if E(x_i; c_i, b) can be trusted, (N, C); everywhere if all can, or if explanations are not taught."""
        if self.outlined is None or self.outlined.all() or self.seen.explained is None:
            return torch.ones_like(self.table, dtype=torch.bool)
        return F.pad(self.outlined, (0, 1))[self.table]  # row -1, a missing explanation, is False

    @property
    def num_classes(self) -> int:
        return self.table.shape[1]

    def doubtful(self, one: Tensor, two: Tensor) -> Tensor:
        """True for pairs of n rows i and n' rows j in which neither E(i; c_j) nor E(j; c_i) can be trusted, (n, n')."""
        trusted, labels = self._trusted, self.labels
        return ~(trusted[one][:, labels[two]] | trusted[two][:, labels[one]].T)

    def through(self, codewords: Tensor) -> "Survey":
        """The same features with another bias-free head (C, d)."""
        _, features, _, explained = self.seen
        explained = explained and Look(logits_of(explained.features, codewords), explained.features)
        seen = Seen(logits_of(features, codewords), features, codewords, explained)
        return Survey(self.labels, self.table, lambda: seen, self.outlined)


def logits_of(features: Tensor, codewords: Tensor) -> Tensor:
    """z = W f of features (N, d) and a head (C, d), float64 (N, C)."""
    return torch.cat([block.double() @ codewords.double().T for block in features.split(BLOCK)])


class Selector(ABC):
    """Base class of selections. Subclasses implement `choose` and draw random numbers only from `rng`.

    `alpha` is the weight of the image against its explanation in the score of CMaxGrad, 0 .. 1.
    """

    explains = False  # True if the method scores and teaches explanations

    def __init__(self, rng: Generator, alpha: float) -> None:
        self.rng, self.alpha = rng, alpha

    @abstractmethod
    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        """Returns the next pair of `remaining` rows, bool (N,), which have two classes or more."""

    def state_dict(self) -> dict:
        """Everything that an interrupted course needs to continue."""
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.rng.set_state(state["rng"])


def left_classes(labels: Tensor, remaining: Tensor) -> list[int]:
    """Classes with a remaining image, ascending."""
    return labels[remaining].unique().tolist()


def next_classes(labels: Tensor, remaining: Tensor) -> list[int]:
    """The two classes with a remaining image that were shown least, lower labels first."""
    shown = {c: int((labels[~remaining] == c).sum()) for c in left_classes(labels, remaining)}
    return sorted(shown, key=lambda c: (shown[c], c))[:2]


def candidates(labels: Tensor, remaining: Tensor, c: int) -> Tensor:
    """Rows of the remaining images of class c; of all its images if none remains, because people must see one."""
    members = labels == c
    left = members & remaining
    return (left if left.any() else members).nonzero()[:, 0]


def best_of_each_class(values: Tensor, labels: Tensor, remaining: Tensor) -> dict[int, int]:
    """The candidate with the largest value in each class of the pool; ties go to the first in the list."""
    rows = {c: candidates(labels, remaining, c) for c in labels.unique().tolist()}
    return {c: int(of_class[values[of_class].argmax()]) for c, of_class in rows.items()}
