"""Pictures of the course page: the whole image, scaled down, with the explained region outlined in lessons."""

import io
import os
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from utils.base.errors import InputError
from utils.base.files import channels_last, encode_png
from utils.data.images import decode, to_tensor
from utils.data.lists import locate
from utils.data.outputs import IMG, MASK, sibling
from utils.explanations.rendering import BORDER, RED, borders

DRAWN_AT = 224  # pixels: side of the pictures that borders of `BORDER` pixels are drawn on
HALO = (255, 255, 255)  # thin outer line, because red is hard to see on a reddish wing
PHOTOGRAPHS = ("JPEG", "MPO")  # Pillow's names; MPO is a JPEG with a preview, as some cameras write it
QUALITY = 90  # of JPEG, 0 .. 100


class Encoded(NamedTuple):
    """A picture file: `jpg` or `png`, and its bytes, which contain pixels and no metadata."""

    ending: str
    content: bytes


def encode(pixels: Tensor, photograph: bool) -> Encoded:
    """Encodes uint8 (3, h, w) as PNG, or as JPEG if it comes from one: as PNG it would be five times as large."""
    if not photograph:
        return Encoded("png", encode_png(channels_last(pixels)))
    file = io.BytesIO()
    # No chroma subsampling: classes may differ in a small spot of color.
    Image.fromarray(channels_last(pixels)).save(file, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return Encoded("jpg", file.getvalue())


def whole_picture(file: str, where: str, longest: int) -> Encoded:
    """Returns the whole image, its longer side at most `longest` pixels; `where` begins error messages."""
    image = decode(file, where)
    return encode(resized(image, min(longest, max(image.size))), image.format in PHOTOGRAPHS)


def resized(image: Image.Image, longest: int) -> Tensor:
    """Scales an image so that its longer side is `longest`; returns uint8 (3, h, w)."""
    return to_tensor(image.resize(_shape(image, longest), Image.Resampling.BICUBIC))


def _shape(image: Image.Image, longest: int) -> tuple[int, int]:
    """Width and height with the image's proportions; the longer side is `longest`."""
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    return width, height


def marked_file(machine: str, human: str | None, data_root: str, where: str) -> tuple[str, str]:
    """Finds the file that shows the explained region. The paper's lists may come without some of them.

    Args:
        machine: the rendering for the student, which shows only the explained region, as course.json names it.
        human: the picture with a red border, if there is one.
        data_root: what `./datasets/` in paths stands for.
        where: course and lesson, for the error message.

    Returns:
        "mask", "human" or "machine", and the file.

    Raises:
        InputError: all of them are missing.
    """
    files = {"mask": sibling(machine, IMG, MASK), "human": human, "machine": machine}
    for kind, listed in files.items():
        if listed and os.path.isfile(file := locate(listed, data_root)):
            return kind, file
    raise InputError(f"{where}: the explanation {machine} is missing. Explain the training list again.")


def explained_picture(file: str, kind: str, marked: str, where: str, longest: int) -> Encoded:
    """Returns the image `file` with its explained region, its longer side at most `longest`, as PNG for sharp lines.

    With a mask, the border is drawn on the image at full resolution. Otherwise the file `marked` is shown.
    """
    plain, found = decode(file, where), decode(marked, where)
    size = _shape(plain, min(longest, max(*plain.size, *found.size)))
    if kind != "mask":
        return encode(to_tensor(found.resize(size, Image.Resampling.BICUBIC)), photograph=False)
    mask = torch.from_numpy(np.array(found.convert("L").resize(size, Image.Resampling.BILINEAR)) > 127)
    drawn = draw_visible_border(to_tensor(plain.resize(size, Image.Resampling.BICUBIC)), mask)
    return encode(drawn, photograph=False)


def draw_visible_border(image: Tensor, mask: Tensor) -> Tensor:
    """Draws the border of a mask (h, w) on uint8 (3, h, w), in red with a thin white line around it."""
    scale = max(1.0, max(mask.shape) / DRAWN_AT)
    width, halo = round(BORDER * scale), round(scale)
    near = F.max_pool2d(mask[None].float(), 2 * halo + 1, stride=1, padding=halo)[0] > 0  # (h, w)
    drawn = torch.where(near & ~mask, torch.tensor(HALO, dtype=torch.uint8).view(3, 1, 1), image)
    return torch.where(borders(mask[None], width)[0], torch.tensor(RED, dtype=torch.uint8).view(3, 1, 1), drawn)
