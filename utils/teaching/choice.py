"""What a selector sees and what it says: the interface between the teaching loop and the methods that pick the next pair."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

BLOCK = 8_192  # rows at a time in double precision, so that memory does not grow with the pool


@dataclass(frozen=True)
class Choice:
    """One lesson's images, as rows of the pool.

    Attributes:
        image: i.
        partner: j, of class `counter`.
        counter: b, the class that i is told apart from.
        partners: for every wrong class r, the row of the image shown beside i when the answer is r; classes without any image have none.
        score: what the method gives this choice, a finite number; None where nothing was scored.
    """

    image: int
    partner: int
    counter: int
    partners: dict[int, int]
    score: float | None


@dataclass(frozen=True)
class Labels:
    """The pool as everybody knows it who has not looked at it, on the CPU: N images of C classes.

    Attributes:
        labels: c_i, (N,).
        table: which explanation is that of image i against class b, (N, C): the number of an explanation, -1 where there is none
            (at b = c_i always).
    """

    labels: Tensor
    table: Tensor

    @property
    def num_classes(self) -> int:
        return self.table.shape[1]


class Look(NamedTuple):
    """What a network and its head make of M pictures: logits (M, C) and features (M, d)."""

    logits: Tensor
    features: Tensor


@dataclass(frozen=True)
class Survey(Labels):
    """The pool through the eyes of a student that is about to be taught, all on the CPU: N images, M explanations, C classes.

    Attributes:
        logits: z of the images, (N, C): W f of a linear head.
        codewords: W, (C, d); of a student without a linear head those by which the margins of its predictions are written.
        features: f of the images, (N, d), whose inner product is the kernel by which the student generalises.
        explained: the explanations, M, to which the table points; None where explanations are not looked at.
    """

    logits: Tensor
    codewords: Tensor
    features: Tensor
    explained: Look | None = None

    def part(self, rows: Tensor) -> "Survey":
        """Some of the images alone; the explanations stay as they are, and the table points to them."""
        return replace(
            self,
            labels=self.labels[rows],
            table=self.table[rows],
            logits=self.logits[rows],
            features=self.features[rows],
        )

    def through(self, codewords: Tensor) -> "Survey":
        """The same features through another bias-free head (C, d)."""
        explained = self.explained and Look(logits_of(self.explained.features, codewords), self.explained.features)
        return replace(self, codewords=codewords, logits=logits_of(self.features, codewords), explained=explained)


def logits_of(features: Tensor, codewords: Tensor) -> Tensor:
    """z = W f of features (N, d) and a head (C, d), float64 (N, C)."""
    return torch.cat([some.double() @ codewords.double().T for some in features.split(BLOCK)])


class Resumable(Protocol):
    """What every selector is. It is made with a generator and alpha, as `Seeded` is.

    Attributes:
        explains: whether its authors score and teach explanations.
    """

    explains: bool

    def state_dict(self) -> dict:
        """Tensors and plain values from which an interrupted course goes on."""
        ...

    def load_state_dict(self, state: dict) -> None:
        """Takes up what `state_dict` gave."""
        ...


class Looking(Resumable, Protocol):
    """A selector that looks at the pool through the student's eyes."""

    looks: Literal[True]

    def choose(self, seen: Survey, remaining: Tensor) -> Choice | None:
        """The next pair.

        Args:
            seen: how the student sees the pool.
            remaining: which rows may still be chosen, bool (N,).

        Returns:
            The choice, or None where no pair of two classes remains.
        """
        ...


class Blind(Resumable, Protocol):
    """A selector that does not look, and costs no pass over the pool."""

    looks: Literal[False]

    def choose(self, seen: Labels, remaining: Tensor) -> Choice | None:
        """As in `Looking`, from labels and table alone."""
        ...


Selector = Looking | Blind  # a method that picks the next pair


class Seeded:
    """What selectors have in common: their randomness, which is all their state.

    Args:
        rng: where their draws come from.
        alpha: weight of the image against its explanation in the score, 0 .. 1 (CMaxGrad).
    """

    explains = False

    def __init__(self, rng: Generator, alpha: float) -> None:
        self.rng = rng
        self.alpha = alpha

    def state_dict(self) -> dict:
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.rng.set_state(state["rng"])
