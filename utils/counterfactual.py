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
        bool (M, T, size, size): pixels not below the k-th largest value, k = floor(t size^2); ties at the threshold are all in.
    """
    upsampled = F.interpolate(discriminants[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]  # (M, s, s)
    ranks = [mask_pixels(fraction, size, size) for fraction in fractions]
    largest = upsampled.flatten(1).topk(max(ranks), dim=1).values  # (M, k_max), descending: one sort serves all sizes
    thresholds = largest[:, [rank - 1 for rank in ranks]]  # (M, T)
    return upsampled[:, None] >= thresholds[:, :, None, None]
