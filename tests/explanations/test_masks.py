"""Masks against a plain sort."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from utils.explanations.masks import constant, mask_pixels, masks, moved, resized


@pytest.mark.parametrize(("fraction", "side", "expected"), [(0.05, 224, 2508), (0.29, 100, 2900), (0.3, 224, 15052), (0.01, 5, 1)])
def test_mask_pixels_by_hand(fraction, side, expected):
    assert mask_pixels(fraction, side, side) == expected


@pytest.mark.parametrize("side", [56, 97])
def test_masks_against_a_plain_sort(side):
    d = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(1))
    fractions = (0.01, 0.05, 0.30)
    cut = masks(resized(d, side), fractions)
    upsampled = F.interpolate(d[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0].numpy()
    for image in range(len(d)):
        values = np.sort(upsampled[image].ravel())[::-1]
        for place, fraction in enumerate(fractions):
            threshold = values[math.floor(round(fraction * side * side, 9)) - 1]
            assert np.array_equal(cut[image, place].numpy(), upsampled[image] >= threshold)


def test_ties_at_the_threshold_are_all_in():
    d = torch.zeros(1, 7, 7)
    assert masks(resized(d, 56), (0.05,)).all()


def test_masks_of_growing_size_are_nested():
    cut = masks(resized(torch.rand(4, 7, 7), 64), tuple(t / 100 for t in range(1, 31)))
    for smaller, larger in zip(cut.unbind(1)[:-1], cut.unbind(1)[1:], strict=True):
        assert (smaller <= larger).all()


def test_moved_masks_keep_their_size_and_take_their_maps_along():
    maps = torch.rand(5, 9, 9)
    masks = maps > 0.8
    shifted, with_it = moved(torch.Generator().manual_seed(0), masks, maps)
    assert torch.equal(shifted, with_it > 0.8) and torch.equal(shifted.sum((1, 2)), masks.sum((1, 2)))
    assert not torch.equal(shifted, masks)


def test_constant_maps_are_found():
    maps = torch.rand(2, 3, 5, 5)
    maps[0, 1], maps[1, 2] = 0, 0.5
    assert constant(maps).tolist() == [[False, True, False], [False, False, True]]
