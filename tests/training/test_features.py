"""Feature maps are kept if all fit into the budget, and freed otherwise."""

import gc
import weakref

import pytest
import torch

from utils.training.features import FeatureMaps

MAP_BYTES = 2 * 4 * 3 * 3 * 4  # of a batch: two images, four features, 3 x 3 places, single precision


class Counting:
    """Replaces a frozen network; refers weakly to the maps that it has made."""

    backbone_frozen = True

    def __init__(self):
        self.made = []

    def folded(self):
        return self

    def feature_map(self, pixels):
        maps = pixels.mean((1, 2, 3))[:, None, None, None].expand(-1, 4, 3, 3).clone()
        self.made.append(weakref.ref(maps))
        return maps

    def alive(self):
        gc.collect()
        return [place for place, maps in enumerate(self.made) if maps() is not None]


def maps_of(batches, budget):
    """Returns a network and its feature maps of a list of `batches` batches of two images."""
    images = [torch.full((3, 4, 4), number, dtype=torch.uint8) for number in range(2 * batches)]
    network = Counting()
    return network, FeatureMaps(network, images, 2, 0, "cpu", budget)


def test_maps_that_all_fit_are_computed_once():
    network, maps = maps_of(3, 3 * MAP_BYTES)
    first, again = list(maps), list(maps)
    assert len(network.made) == 3 and [numbers for numbers, _ in again] == [[0, 1], [2, 3], [4, 5]]
    assert all(one is other for (_, one), (_, other) in zip(first, again, strict=True))


@pytest.mark.parametrize("budget", [0, MAP_BYTES - 1, 2 * MAP_BYTES, 5 * MAP_BYTES - 1])
def test_maps_that_do_not_fit_are_freed_at_once(budget):
    network, maps = maps_of(5, budget)
    fitting = budget // MAP_BYTES
    for place, (_numbers, _maps) in enumerate(maps):
        assert network.alive() == (list(range(place + 1)) if place < fitting else [place])
    del _maps
    assert network.alive() == []
    values = torch.cat([some for _, some in maps])[:, 0, 0, 0] * 255
    assert values.tolist() == pytest.approx(range(10))
