"""Masks: a map brought to the image's size and cut to its highest pixels."""

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(maps: Tensor, size: int) -> Tensor:
    """Maps (M, H, W) upsampled to (M, size, size): bilinear, align_corners=False."""
    return F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


def constant(maps: Tensor) -> Tensor:
    """Which maps (..., H, W) are constant, and thus point nowhere: bool (...)."""
    return maps.amax((-2, -1)) == maps.amin((-2, -1))


def mask_pixels(fraction: float, height: int, width: int) -> int:
    """k = floor(t H W), at least 1. The product is nudged, since 0.29 x 100 x 100 is 2899.9999999999995 in floating point."""
    return max(1, int(fraction * height * width + 1e-6))


def masks(upsampled: Tensor, fractions: tuple[float, ...]) -> Tensor:
    """Cuts explanations to their highest pixels.

    Args:
        upsampled: maps of the image's size, (M, s, s).
        fractions: t, each the share of the image's pixels to keep.

    Returns:
        bool (M, T, s, s): exactly the k highest pixels, k = floor(t s^2), at least 1. Of pixels that tie for the last places the first in
        reading order are in, so that no mask is larger than asked for and larger masks hold the smaller ones.
    """
    ranks = [mask_pixels(fraction, *upsampled.shape[1:]) for fraction in fractions]
    kept = min(
        max(ranks) + 1, upsampled[0].numel()
    )  # one more than is needed: whether the next pixel ties is seen without counting
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


def moved(rng: torch.Generator, *stacks: Tensor) -> tuple[Tensor, ...]:
    """The same shapes at random places: the pictures of each stack (M, h, w) shifted around the edges, by offsets drawn from `rng`.

    The first pictures of all stacks are shifted by one offset, the second by another.
    """
    offsets = torch.stack(
        [torch.randint(0, side, (len(stacks[0]),), generator=rng) for side in stacks[0].shape[1:]], dim=1
    ).tolist()
    return tuple(
        torch.stack([one.roll(offset, (0, 1)) for one, offset in zip(stack, offsets, strict=True)]) for stack in stacks
    )
