"""What students have in common that keep their features: images and explanations are looked at once, and lessons are taken from memory."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from utils.base.errors import InputError
from utils.data.loading import ImageSet
from utils.teaching.choice import Choice, Survey
from utils.teaching.pool import Pool
from utils.teaching.sgd import make_network
from utils.teaching.student import Sight, StudentSettings
from utils.training import evaluation

Kind = TypeVar("Kind", bound="FrozenStudent")


@dataclass(frozen=True)
class Features:
    """What a student sees that keeps its features, once and for all, in single precision.

    Attributes:
        labels, table: of the pool, as in `Labels`.
        images: of the pool, (N, d).
        explained: of its explanations, (M, d); M is 0 where none are taught.
        test: of the test list, (T, d).
        mean: of the pool's features before they were centred, float64 (d,).
        scale: mean norm of the pool's centred features, by which all are divided.
    """

    labels: Tensor
    table: Tensor
    images: Tensor
    explained: Tensor
    test: Tensor
    mean: Tensor
    scale: float

    @classmethod
    def standardised(cls, pool: Survey, test: Tensor) -> "Features":
        """From features as a network gives them."""
        explained = pool.explained.features if pool.explained else pool.features[:0]
        origin = torch.zeros(test.shape[1], dtype=torch.float64)
        return cls(pool.labels, pool.table, pool.features, explained, test, origin, 1.0).part(
            torch.arange(len(pool.labels))
        )

    def part(self, rows: Tensor) -> "Features":
        """For a pool of some of the images, centred and scaled by these."""
        images = self.images[rows]
        mean = images.mean(0, dtype=torch.float64)
        centred = (images - mean).float()
        scale = centred.norm(dim=1).double().mean().item() or 1.0

        def moved(features: Tensor) -> Tensor:
            return ((features - mean) / scale).float()

        seen = moved(images), moved(self.explained), moved(self.test)
        return Features(self.labels[rows], self.table[rows], *seen, self.mean + self.scale * mean, self.scale * scale)


class FrozenStudent(ABC):
    """What is the same in every student of frozen features; a kind of its own says what it learns and how it answers.

    Args:
        pool: what can be taught.
        test: the test list in test view, only measured.
        explain: whether explanations are taught.
        how: settings.
    """

    keeps_features = True

    def __init__(self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings) -> None:
        self.explain = explain
        self.labels, self.table = pool.images.labels, pool.table
        self._pool, self._test, self._how = pool, test, how
        self._network = make_network(
            how.arch, pool.table.shape[1], how.pretrained, how.seed, how.device, freeze_features=True
        )
        self._begin()

    def _begin(self) -> None:
        """Knows nothing."""
        self._taught: list[tuple[Tensor, int]] = []

    @abstractmethod
    def strengths(self, features: Tensor) -> Tensor:
        """How strongly it takes items of standardised features (N, d) for each class, float64 (N, C); the strongest is its answer."""

    @cached_property
    def features(self) -> Features:
        """What it sees; computed when they are first needed.

        Raises:
            InputError: they are not finite.
        """
        sight = Sight(self._network, self._pool, self._test, self._how, budget=0)
        pool, test = sight.survey(self.explain), sight.test.pooled()
        explained = [pool.explained.features] if pool.explained else []
        if not all(features.isfinite().all() for features in (pool.features, test, *explained)):
            raise InputError(
                f"--pretrained {self._how.pretrained}: these weights make features that are not finite; give others."
            )
        return Features.standardised(pool, test)

    def add(self, choice: Choice) -> None:
        """As in `Student`."""
        seen = self.features
        pair = ((choice.image, choice.partner), (choice.partner, choice.image))
        items = [(seen.images[number], self.labels[number]) for number, _ in pair]
        for number, other in pair if self.explain else ():
            row = self.table[number, self.labels[other]]
            if row >= 0:
                items.append((seen.explained[row], self.labels[number]))
        self._taught += [(features.double(), int(label)) for features, label in items]

    def _teaching_set(self) -> tuple[Tensor, Tensor]:
        """Features float64 (M, d) and classes (M,) of all that was taught, which must be something."""
        features, labels = zip(*self._taught, strict=True)
        return torch.stack(features), torch.tensor(labels)

    def accuracies(self) -> tuple[float, float]:
        """As in `Student`."""
        taught, labels = self._teaching_set()
        return (
            evaluation.share_right(self.strengths(taught), labels),
            evaluation.share_right(self.strengths(self.features.test), self._test.labels),
        )

    def anew(self: Kind, rows: Tensor) -> Kind:
        """As in `Student`; features are not computed again."""
        return self.sharing(self, rows)

    @classmethod
    def sharing(cls: type[Kind], other: "FrozenStudent", rows: Tensor) -> Kind:
        """An untaught student of this kind whose pool is some rows of another's, of whatever kind; features are not computed again."""
        one = cls.__new__(cls)
        vars(one).update(vars(other))
        one.labels, one.table, one.features = other.labels[rows], other.table[rows], other.features.part(rows)
        one._begin()
        return one
