"""Masks against a plain sort."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from utils.explanations.explainers import Explainer
from utils.explanations.masks import constant, masks, moved
from utils.explanations.scout import EPS

upsample = Explainer().upsample


@pytest.mark.parametrize(
    ("fraction", "side", "expected"), [(0.05, 224, 2508), (0.29, 100, 2900), (0.3, 224, 15052), (0.01, 5, 1)]
)
def test_mask_pixels_by_hand(fraction, side, expected):
    assert masks(torch.rand(1, side, side), (fraction,)).sum() == expected


@pytest.mark.parametrize("side", [56, 97])
def test_masks_against_a_plain_sort(side):
    d = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(1))
    fractions = (0.01, 0.05, 0.30)
    cut = masks(upsample(d, side), fractions)
    upsampled = F.interpolate(d[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0].numpy()
    for image in range(len(d)):
        best = np.argsort(-upsampled[image].ravel(), kind="stable")  # ties: first in reading order
        for place, fraction in enumerate(fractions):
            expected = np.zeros(side * side, bool)
            expected[best[: math.floor(round(fraction * side * side, 9))]] = True
            assert np.array_equal(cut[image, place].numpy().ravel(), expected)


def tied_maps(levels, side):
    """Maps of a few whole numbers, as large as the picture: interpolation would break the ties."""
    rng = torch.Generator().manual_seed(levels)
    return torch.randint(levels, (5, side, side), generator=rng).float()


@pytest.mark.parametrize("levels", [1, 2, 3, 40])
def test_ties_go_to_the_first_in_reading_order(levels):
    side, fractions = 20, (0.01, 0.05, 0.3, 0.99, 1.0)
    d = torch.cat([tied_maps(levels, side), torch.rand(1, side, side)])  # the last has no ties
    cut = masks(upsample(d, side), fractions)
    for values, of_map in zip(d, cut, strict=True):
        best = sorted(range(side * side), key=lambda place, values=values: (-values.flatten()[place].item(), place))
        for fraction, mask in zip(fractions, of_map, strict=True):
            assert mask.flatten().nonzero()[:, 0].tolist() == sorted(best[: round(fraction * side * side)])


def test_constant_maps():
    d = torch.tensor([[[[EPS, EPS], [EPS, EPS]], [[0.0, 0.0], [0.0, EPS]]]])  # (1, 2, 2, 2)
    assert constant(d).tolist() == [[True, False]]


def test_masks_move_with_their_maps():
    maps = torch.rand(5, 9, 9)
    masks = maps > 0.8
    shifted, with_it = moved(torch.Generator().manual_seed(0), masks, maps)
    assert torch.equal(shifted, with_it > 0.8) and torch.equal(shifted.sum((1, 2)), masks.sum((1, 2)))
    assert not torch.equal(shifted, masks)
