"""What a selector sees and what it says: the interface between the teaching loop and the methods that pick the next pair."""

from dataclasses import dataclass, replace
from typing import Protocol

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
class Survey:
    """The pool through the eyes of a student that is about to be taught, all on the CPU: N images, M explanations, C classes.

    A selector that does not look (`Selector.looks`) is given labels and table alone, and the rest is None.

    Attributes:
        labels: c_i, (N,).
        table: which explanation is that of image i against class b, (N, C): a row of the explanations below, -1 where there is none
            (at b = c_i always).
        logits: z = W f of the images, (N, C).
        codewords: W, (C, d).
        features: f of the images, (N, d).
        explained_logits: of the explanations, (M, C); None where explanations are not looked at.
        explained_features: of the explanations, (M, d); None in the same case.
    """

    labels: Tensor
    table: Tensor
    logits: Tensor | None = None
    codewords: Tensor | None = None
    features: Tensor | None = None
    explained_logits: Tensor | None = None
    explained_features: Tensor | None = None

    @property
    def num_classes(self) -> int:
        return self.table.shape[1]

    def part(self, rows: Tensor) -> "Survey":
        """Some of the images alone; the explanations stay as they are, and the table points to them."""
        logits, features = (values if values is None else values[rows] for values in (self.logits, self.features))
        return replace(self, labels=self.labels[rows], table=self.table[rows], logits=logits, features=features)

    def through(self, codewords: Tensor) -> "Survey":
        """The same features through another bias-free head (C, d)."""
        explained = None if self.explained_features is None else logits_of(self.explained_features, codewords)
        return replace(self, codewords=codewords, logits=logits_of(self.features, codewords), explained_logits=explained)


def logits_of(features: Tensor, codewords: Tensor) -> Tensor:
    """z = W f of features (N, d) and a head (C, d), float64 (N, C)."""
    return torch.cat([some.double() @ codewords.double().T for some in features.split(BLOCK)])


class Selector(Protocol):
    """A method that picks the next pair. It is made with a generator and alpha, as `Seeded` is.

    Attributes:
        explains: whether its authors score and teach explanations.
        looks: whether it looks at the pool through the student's eyes; one that does not costs no pass over the pool.
    """

    explains: bool
    looks: bool

    def choose(self, seen: Survey, remaining: Tensor) -> Choice | None:
        """The next pair.

        Args:
            seen: how the student sees the pool.
            remaining: which rows may still be chosen, bool (N,).

        Returns:
            The choice, or None where no pair of two classes remains.
        """
        ...

    def state_dict(self) -> dict:
        """Tensors and plain values from which an interrupted course goes on."""
        ...

    def load_state_dict(self, state: dict) -> None:
        """Takes up what `state_dict` gave."""
        ...


class Seeded:
    """What selectors have in common: their randomness, which is all their state.

    Args:
        rng: where their draws come from.
        alpha: weight of the image against its explanation in the score, 0 .. 1 (CMaxGrad).
    """

    explains = False
    looks = True

    def __init__(self, rng: Generator, alpha: float) -> None:
        self.rng = rng
        self.alpha = alpha

    def state_dict(self) -> dict:
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.rng.set_state(state["rng"])
