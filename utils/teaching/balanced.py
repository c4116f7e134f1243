"""The baseline that keeps classes even: random images, classes in turn."""

from torch import Tensor

from utils.teaching.choice import Choice, Labels
from utils.teaching.pairing import next_classes
from utils.teaching.random_pairs import RandomPairs


class Balanced(RandomPairs):
    """A random image of each of the two classes whose turn it is."""

    def choose(self, seen: Labels, remaining: Tensor) -> Choice | None:
        """As in `Selector`; nothing is scored."""
        turn = next_classes(seen.labels, remaining, seen.num_classes)
        if turn is None:
            return None
        own, counter = turn
        image = self.pick(remaining & (seen.labels == own))
        partners = self.partners(seen, remaining, own)
        return Choice(image, partners[counter], counter, partners, None)
