"""The baseline: random pairs of two classes."""

import torch
from torch import Tensor

from utils.teaching.choice import Choice, Seeded, Survey
from utils.teaching.pairing import left_classes


class RandomPairs(Seeded):
    """A random remaining image, a random other class that has one left, and a random image of it."""

    looks = False

    def choose(self, seen: Survey, remaining: Tensor) -> Choice | None:
        """As in `Selector`; nothing is scored."""
        available = left_classes(seen.labels, remaining, seen.num_classes)
        if len(available) < 2:
            return None
        image = self.pick(remaining)
        own = seen.labels[image].item()
        others = [b for b in available if b != own]
        counter = others[torch.randint(len(others), (), generator=self.rng).item()]
        partners = self.partners(seen, remaining, own)
        return Choice(image, partners[counter], counter, partners, None)

    def partners(self, seen: Survey, remaining: Tensor, own: int) -> dict[int, int]:
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
        return rows[torch.randint(len(rows), (), generator=self.rng)].item()
