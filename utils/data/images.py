"""One image: decoding a file, and the deterministic views of it that the networks see."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.base.errors import InputError
from utils.data.absent import why_absent
from utils.data.decoding import Undecodable, read_picture

# The usual evaluation view of ImageNet networks: resize the shorter side to 256, cut 224 from the centre.
RESIZE_TO_CROP = 256 / 224
LONGEST_RESIZED = 16  # sides of the crop; of longer pictures, only what the crop shows is resized


def decode(file: str | Path, listed_at: str) -> Image.Image:
    """Decodes an image file completely, as RGB, upright, as a viewer shows it; `utils.data.decoding.read_picture` says more.

    Args:
        file: the image file.
        listed_at: list and line that name the file, for the error message.

    Raises:
        InputError: the file is missing, unreadable, broken, cut short, too large or no image.
    """
    try:
        with open(file, "rb") as stream:
            return read_picture(stream)
    except Undecodable as error:
        raise InputError(
            f"{listed_at}: the image {file} cannot be decoded ({error.reason}); {error.remedy}."
        ) from error
    except OSError as error:
        problem, remedy = why_absent(file, error)
        raise InputError(f"{listed_at}: the image {file} {problem}; {remedy or 'restore it'}.") from error


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL image as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def full_view(image: Image.Image) -> Tensor:
    """The image as `decode` gives it, uint8 (3, h, w): what random crops are taken from."""
    return to_tensor(image)


def whole_view(image: Image.Image, size: int) -> Tensor:
    """The uncropped view, resized to size x size, uint8: the one that is explained and taught, since masks must fit it."""
    return to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))


def eval_view(image: Image.Image, size: int) -> Tensor:
    """The test view: shorter side resized to 256/224 size, centre crop of size x size, uint8."""
    shorter = round(size * RESIZE_TO_CROP)
    width, height = image.size
    scale = shorter / min(width, height)
    width, height = round(width * scale), round(height * scale)
    left, top = (width - size) // 2, (height - size) // 2
    if max(width, height) > LONGEST_RESIZED * size:  # the same but for a rounding: no value is off by more than 1
        across, down = image.width / width, image.height / height
        shown = (left * across, top * down, (left + size) * across, (top + size) * down)
        return to_tensor(image.resize((size, size), Image.Resampling.BILINEAR, box=shown))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return to_tensor(resized.crop((left, top, left + size, top + size)))
