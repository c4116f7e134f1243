"""Counterfactual explanations: where an image shows that it is class a and not class b, and the mask cut from that."""

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.attribution import EPS, Maps


def discriminant(maps: Maps, label: Tensor, counter: Tensor) -> Tensor:
    """SCOUT's discriminant explanation D(x; a, b) = S (max(A_b) - A_b) A_a (Wang & Vasconcelos, CVPR 2020).

    Args:
        maps: attribution (N, C, H, W) and confidence (N, H, W).
        label: a, the true class of each image, (N,).
        counter: the classes b to tell it from, (N, B).

    Returns:
        D, (N, B, H, W). Where A_b is EPS everywhere (nothing speaks for b), D = S A_a.
    """
    images = torch.arange(len(label), device=label.device)
    own = maps.attribution[images, label][:, None]  # A_a, (N, 1, H, W)
    other = maps.attribution[images[:, None], counter]  # A_b, (N, B, H, W)
    peak = other.amax((-2, -1), keepdim=True)  # (N, B, 1, 1)
    absence = torch.where(peak > EPS, peak - other, torch.ones_like(other))
    return maps.confidence[:, None] * absence * own


def constant(discriminants: Tensor) -> Tensor:
    """Which maps D (..., H, W) are constant, and thus point nowhere: bool (...)."""
    return discriminants.amax((-2, -1)) == discriminants.amin((-2, -1))


def counters(label: Tensor, num_classes: int) -> Tensor:
    """Every wrong class of each image, ascending: (N,) labels give (N, C-1)."""
    classes = torch.arange(num_classes - 1, device=label.device)  # (C-1,)
    return classes + (classes >= label[:, None])


def mask_pixels(fraction: float, height: int, width: int) -> int:
    """k = floor(t H W), at least 1. The product is nudged, since 0.29 x 100 x 100 is 2899.9999999999995 in floating point."""
    return max(1, int(fraction * height * width + 1e-6))


def masks(discriminants: Tensor, fractions: tuple[float, ...], size: int) -> Tensor:
    """Cuts explanations to their highest pixels.

    Args:
        discriminants: D, (M, H, W).
        fractions: t, each the share of the image's pixels to keep.
        size: side in pixels of the image that D is upsampled to (bilinear, align_corners=False).

    Returns:
        bool (M, T, size, size): exactly the k highest pixels, k = floor(t size^2), at least 1. Of pixels that tie for the last places
        the first in reading order are in, so that no mask is larger than asked for and larger masks hold the smaller ones.
    """
    upsampled = F.interpolate(discriminants[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]  # (M, s, s)
    ranks = [mask_pixels(fraction, size, size) for fraction in fractions]
    kept = min(max(ranks) + 1, size * size)  # one more than is needed: whether the next pixel ties is seen without counting
    largest = upsampled.flatten(1).topk(kept, dim=1).values  # (M, k_max + 1), descending: one sort serves all sizes
    thresholds = largest[:, [rank - 1 for rank in ranks]]  # (M, T)
    cut = upsampled[:, None] >= thresholds[:, :, None, None]
    tied = thresholds == largest[:, [min(rank, kept - 1) for rank in ranks]]  # (M, T), the next largest is not below
    if tied.any():
        for place, rank in enumerate(ranks):
            several = tied[:, place].nonzero()[:, 0]
            places = rank - (largest[several] > thresholds[several, place, None]).sum(1)
            level = upsampled[several] == thresholds[several, place, None, None]
            owner, late = _behind(level.flatten(1), places)
            cut.flatten(2)[several[owner], place, late] = False  # a view: cut is contiguous
    return cut


def _behind(found: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """What is found (M, P) in each row behind the first `places` (M,) that are: rows and columns."""
    row, column = found.nonzero(as_tuple=True)  # row by row, columns ascending
    count = torch.bincount(row, minlength=len(found))  # (M,)
    first = count.cumsum(0) - count  # (M,), where in these lists a row begins
    late = torch.arange(len(row), device=row.device) - first[row] >= places[row]
    return row[late], column[late]
