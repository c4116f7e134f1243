"""Random views for training.

Callers pass a generator for (seed, epoch, image). Threads, processes and interruptions therefore change no view.
"""

import math

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as TF

ASPECT_RATIOS = (3 / 4, 4 / 3)
# Color jitter of SimCLR: brightness, contrast and saturation are multiplied by 1 - 0.8 .. 1 + 0.8.
JITTER = 0.8
JITTER_HUE = 0.2
JITTER_PROBABILITY = 0.8
GRAY_PROBABILITY = 0.2


def _uniform(low: float, high: float, rng: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=rng).item()


def crop_box(height: int, width: int, smallest: float, rng: Generator) -> tuple[int, int, int, int]:
    """Draws a crop: area uniform in smallest .. 1 of the image, log aspect ratio uniform in 3/4 .. 4/3.

    As in Inception (Szegedy et al., CVPR 2015): if ten draws do not fit, the central part of the image. Returns top,
    left, height and width.
    """
    for _ in range(10):
        area = height * width * _uniform(smallest, 1.0, rng)
        ratio = math.exp(_uniform(math.log(ASPECT_RATIOS[0]), math.log(ASPECT_RATIOS[1]), rng))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(_uniform(0, height - h + 1, rng)), int(_uniform(0, width - w + 1, rng)), h, w
    w, h = min(width, round(height * ASPECT_RATIOS[1])), min(height, round(width / ASPECT_RATIOS[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def random_view(image: Tensor, size: int, smallest: float, rng: Generator) -> Tensor:
    """Crops to an area of `smallest` .. 1, resizes and flips at random: uint8 (3, h, w) to (3, size, size)."""
    top, left, height, width = crop_box(image.shape[1], image.shape[2], smallest, rng)
    view = TF.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    return TF.horizontal_flip(view) if _uniform(0, 1, rng) < 0.5 else view


def simclr_view(image: Tensor, size: int, smallest: float, rng: Generator) -> Tensor:
    """SimCLR's view: `random_view`, then color jitter with probability 0.8, then grayscale with probability 0.2."""
    view = random_view(image, size, smallest, rng)
    if _uniform(0, 1, rng) < JITTER_PROBABILITY:
        view = _color_jitter(view, rng)
    return TF.rgb_to_grayscale(view, num_output_channels=3) if _uniform(0, 1, rng) < GRAY_PROBABILITY else view


def _color_jitter(image: Tensor, rng: Generator) -> Tensor:
    """Brightness, contrast, saturation and hue, in random order."""
    low, high = 1 - JITTER, 1 + JITTER
    for change in torch.randperm(4, generator=rng).tolist():
        if change == 3:
            image = TF.adjust_hue(image, _uniform(-JITTER_HUE, JITTER_HUE, rng))
        else:
            adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)[change]
            image = adjust(image, _uniform(low, high, rng))
    return image
