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
        bool (M, T, s, s): pixels not below the k-th largest value, k = floor(t s^2); ties at the threshold are all in.
    """
    ranks = [mask_pixels(fraction, *upsampled.shape[1:]) for fraction in fractions]
    largest = upsampled.flatten(1).topk(max(ranks), dim=1).values  # (M, k_max), descending: one sort serves all sizes
    thresholds = largest[:, [rank - 1 for rank in ranks]]  # (M, T)
    return upsampled[:, None] >= thresholds[:, :, None, None]


def moved(rng: torch.Generator, *stacks: Tensor) -> tuple[Tensor, ...]:
    """The same shapes at random places: the pictures of each stack (M, h, w) shifted around the edges, by offsets drawn from `rng`.

    The first pictures of all stacks are shifted by one offset, the second by another.
    """
    offsets = torch.stack([torch.randint(0, side, (len(stacks[0]),), generator=rng) for side in stacks[0].shape[1:]], dim=1).tolist()
    return tuple(torch.stack([one.roll(offset, (0, 1)) for one, offset in zip(stack, offsets, strict=True)]) for stack in stacks)
