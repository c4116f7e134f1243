"""Masks: cuts maps to their highest pixels."""

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(maps: Tensor, size: int) -> Tensor:
    """Upsamples maps (M, H, W) to (M, size, size): bilinear, align_corners=False."""
    return F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


def constant(maps: Tensor) -> Tensor:
    """Returns which maps (..., H, W) are constant, bool (...)."""
    return maps.amax((-2, -1)) == maps.amin((-2, -1))


def mask_pixels(fraction: float, height: int, width: int) -> int:
    """Returns k = floor(t H W), at least 1. The small addend corrects rounding: 0.29 x 100 x 100 is 2899.9999999999995."""
    return max(1, int(fraction * height * width + 1e-6))


def masks(upsampled: Tensor, fractions: tuple[float, ...]) -> Tensor:
    """Cuts maps (M, s, s) to their highest pixels.

    Returns:
        bool (M, T, s, s), for T fractions t: exactly the k = floor(t s^2) highest pixels, at least 1. Ties for the last places go to the
        first pixels in reading order. So no mask is too large, and larger masks contain the smaller ones.
    """
    ranks = [mask_pixels(fraction, *upsampled.shape[1:]) for fraction in fractions]
    kept = min(max(ranks) + 1, upsampled[0].numel())  # one more than needed, to see whether the next pixel ties
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
    """Returns rows and columns of the True values of `found` (M, P) after the first `places` (M,) of each row."""
    row, column = found.nonzero(as_tuple=True)  # row by row, columns ascending
    count = torch.bincount(row, minlength=len(found))  # (M,)
    first = count.cumsum(0) - count  # (M,), start of each row in these lists
    late = torch.arange(len(row), device=row.device) - first[row] >= places[row]
    return row[late], column[late]


def moved(rng: torch.Generator, *stacks: Tensor) -> tuple[Tensor, ...]:
    """Moves the pictures of each stack (M, h, w) to random places, around the edges. Picture m of every stack has the same offset."""
    offsets = torch.stack(
        [torch.randint(0, side, (len(stacks[0]),), generator=rng) for side in stacks[0].shape[1:]], dim=1
    ).tolist()
    return tuple(
        torch.stack([one.roll(offset, (0, 1)) for one, offset in zip(stack, offsets, strict=True)]) for stack in stacks
    )
