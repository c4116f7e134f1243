"""Masks: cuts maps to their highest pixels."""

import torch
from torch import Tensor


def constant(maps: Tensor) -> Tensor:
    """Returns which maps (..., H, W) are constant, bool (...)."""
    return maps.amax((-2, -1)) == maps.amin((-2, -1))


def masks(upsampled: Tensor, fractions: tuple[float, ...]) -> Tensor:
    """Cuts maps (M, s, s) to their k = floor(t s^2) >= 1 highest pixels for each of T fractions t: bool (M, T, s, s).

    If pixels tie for the last places, the first in reading order win. So larger masks contain the smaller ones.
    """
    # The small addend corrects rounding: 0.29 x 100 x 100 is 2899.9999999999995.
    sizes = [max(1, int(fraction * upsampled[0].numel() + 1e-6)) for fraction in fractions]
    largest = upsampled.flatten(1).topk(max(sizes), dim=1).values  # (M, k_max), descending: one sort for all sizes
    thresholds = largest[:, [size - 1 for size in sizes]]  # (M, T)
    cut = upsampled[:, None] >= thresholds[:, :, None, None]
    excess = cut.sum((2, 3)) - torch.tensor(sizes, device=cut.device)  # (M, T), above 0 after ties
    for row, place in excess.nonzero().tolist():
        tied = (upsampled[row] == thresholds[row, place]).flatten().nonzero()[:, 0]
        cut[row, place].view(-1)[tied[-excess[row, place] :]] = False
    return cut


def moved(rng: torch.Generator, *stacks: Tensor) -> tuple[Tensor, ...]:
    """Rolls the pictures of each stack (M, h, w) by random offsets; picture m of every stack has the same offset."""
    count, *sides = stacks[0].shape
    offsets = torch.stack([torch.randint(0, side, (count,), generator=rng) for side in sides], dim=1).tolist()
    return tuple(
        torch.stack([one.roll(offset, (0, 1)) for one, offset in zip(stack, offsets, strict=True)]) for stack in stacks
    )
