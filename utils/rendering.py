"""The two renderings of an explanation: for the machine student and for people."""

import torch
from torch import Tensor
from torch.nn import functional as F

RED = (255, 0, 0)
BORDER = 2  # pixels


def fill_outside(images: Tensor, masks: Tensor) -> Tensor:
    """The machine student's rendering: pixels inside the mask, and the inside's mean colour everywhere else.

    Args:
        images: uint8 (M, 3, h, w).
        masks: bool (M, h, w), none of them empty.

    Returns:
        uint8 (M, 3, h, w).
    """
    inside = masks[:, None]  # (M, 1, h, w)
    total = (images * inside).sum((-2, -1), keepdim=True, dtype=torch.float64)  # (M, 3, 1, 1)
    mean = (total / inside.sum((-2, -1), keepdim=True)).round().to(torch.uint8)
    return torch.where(inside, images, mean)


def borders(masks: Tensor, width: int = BORDER) -> Tensor:
    """The mask's own pixels within `width` pixels of its outside, or of the picture's edge: a closed line.

    Args:
        masks: bool (M, h, w).
        width: in pixels.

    Returns:
        bool (M, h, w).
    """
    outside = F.pad(~masks, (width, width, width, width), value=True)[:, None].float()  # (M, 1, h + 2 width, w + 2 width)
    near = F.max_pool2d(outside, 2 * width + 1, stride=1)[:, 0] > 0  # (M, h, w)
    return masks & near


def draw_borders(images: Tensor, masks: Tensor) -> Tensor:
    """People's rendering: the whole image with the mask's border in red.

    Args:
        images: uint8 (M, 3, h, w).
        masks: bool (M, h, w).

    Returns:
        uint8 (M, 3, h, w).
    """
    red = torch.tensor(RED, dtype=torch.uint8, device=images.device).view(1, 3, 1, 1)
    return torch.where(borders(masks)[:, None], red, images)
