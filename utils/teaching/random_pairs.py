"""The baseline: random pairs of two classes."""

from typing import Literal

import torch
from torch import Tensor

from utils.teaching.choice import Choice, Labels, Seeded
from utils.teaching.pairing import left_classes


class RandomPairs(Seeded):
    """A random remaining image, a random other class that has one left, and a random image of it."""

    looks: Literal[False] = False

    def choose(self, seen: Labels, remaining: Tensor) -> Choice | None:
        """As in `Selector`; nothing is scored."""
        available = left_classes(seen.labels, remaining, seen.num_classes)
        if len(available) < 2:
            return None
        image = self.pick(remaining)
        own = int(seen.labels[image])
        others = [b for b in available if b != own]
        counter = others[int(torch.randint(len(others), (), generator=self.rng))]
        partners = self.partners(seen, remaining, own)
        return Choice(image, partners[counter], counter, partners, None)

    def partners(self, seen: Labels, remaining: Tensor, own: int) -> dict[int, int]:
        """For every class but `own` a random image, a remaining one where there is any."""
        found = {}
        for b in range(seen.num_classes):
            members = seen.labels == b
            if b != own and members.any():
                found[b] = self.pick(members & remaining if (members & remaining).any() else members)
        return found

    def pick(self, allowed: Tensor) -> int:
        """A random row among the allowed ones."""
        rows = allowed.nonzero()[:, 0]
        return int(rows[torch.randint(len(rows), (), generator=self.rng)])
