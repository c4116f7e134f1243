"""Borders against loops over pixels. Complete pictures are tested in test_scripts.py."""

import torch

from utils.explanations.rendering import BORDER, borders


def test_border_is_every_mask_pixel_within_two_pixels_of_the_outside():
    """Of three discs, two at the edge of the picture."""
    side, places = 24, torch.arange(24.0)
    masks = torch.stack([(places[:, None] - y).hypot(places - x) < 6.3 for y, x in ((12, 11), (2, 20), (23, 5))])
    for mask, border in zip(masks.numpy(), borders(masks).numpy(), strict=True):
        for y in range(side):
            for x in range(side):
                around = [(y + dy, x + dx) for dy in range(-BORDER, BORDER + 1) for dx in range(-BORDER, BORDER + 1)]
                out = any(not (0 <= v < side and 0 <= u < side) or not mask[v, u] for v, u in around)
                assert border[y, x] == (mask[y, x] and out)
