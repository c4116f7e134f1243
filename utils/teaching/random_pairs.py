"""Baselines that ignore the student: random pairs, and random images with classes in turn."""

import torch
from torch import Tensor

from utils.teaching.selector import Choice, Selector, Survey, candidates, left_classes, next_classes


class RandomPairs(Selector):
    """A random remaining image, a random other class, and a random image of that class."""

    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        image = self.pick(remaining.nonzero()[:, 0])
        others = [b for b in left_classes(survey.labels, remaining) if b != survey.labels[image]]
        counter = others[int(torch.randint(len(others), (), generator=self.rng))]
        return self.with_partners(survey, remaining, image, counter)

    def with_partners(self, survey: Survey, remaining: Tensor, image: int, counter: int) -> Choice:
        """Adds a random image of every other class."""
        others = [c for c in survey.labels.unique().tolist() if c != survey.labels[image]]
        partners = {c: self.pick(candidates(survey.labels, remaining, c)) for c in others}
        return Choice(image, partners[counter], counter, partners, None)

    def pick(self, rows: Tensor) -> int:
        return int(rows[torch.randint(len(rows), (), generator=self.rng)])


class Balanced(RandomPairs):
    """A random image of each of the two classes that were shown least."""

    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        own, counter = next_classes(survey.labels, remaining)
        image = self.pick(candidates(survey.labels, remaining, own))
        return self.with_partners(survey, remaining, image, counter)
