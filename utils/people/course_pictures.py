"""Pictures as people see them on the course page: whole, of a handy size, and in lessons with the explained part marked."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from utils.base.errors import InputError
from utils.base.files import channels_last, encode_png
from utils.data.images import decode, to_tensor
from utils.data.lists import Example, check_file, check_files, locate
from utils.data.outputs import IMG, MASK, sibling
from utils.explanations.rendering import BORDER, RED, borders

DRAWN_AT = 224  # pixels: side of the pictures that borders of `BORDER` pixels are drawn on
HALO = (255, 255, 255)  # thin line around the red one, which would be hard to see on a reddish wing
PHOTOGRAPHS = ("JPEG", "MPO")  # formats, by Pillow's names: the second is that of cameras which add a preview to a JPEG
QUALITY = 90  # of JPEG, 0 .. 100


class Encoded(NamedTuple):
    """A picture as it lies on the disk: the ending of its name, `jpg` or `png`, and its bytes, in which nothing is told but the pixels."""

    ending: str
    content: bytes


def encode(pixels: Tensor, photograph: bool) -> Encoded:
    """A picture, uint8 (3, h, w), as PNG, or as JPEG where its pixels come from one: as PNG, it would be five times as large."""
    if not photograph:
        return Encoded("png", encode_png(channels_last(pixels)))
    file = io.BytesIO()
    # All colours in full resolution: kinds may differ in a small spot of colour.
    Image.fromarray(channels_last(pixels)).save(file, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return Encoded("jpg", file.getvalue())


class ListedPictures:
    """The images of a list as the page shows them, each read when it is asked for; none is held in memory.

    They are encoded anew, since a file's own bytes, or what a camera wrote into it, would tell which file it is.

    Args:
        rows: rows of the list.
        source: the list file, for error messages.
        data_root: what `./datasets/` in the list stands for.
        longest: longer side in pixels, at most.

    Raises:
        InputError: a listed file is missing or empty.
    """

    def __init__(self, rows: Sequence[Example], source: Path, data_root: str, longest: int) -> None:
        check_files(rows, source, data_root)
        self.rows, self.source = rows, source
        self._data_root, self._longest = data_root, longest

    def __getitem__(self, number: int) -> Encoded:
        """The picture of row `number`.

        Raises:
            InputError: the image cannot be decoded.
        """
        image = decode(locate(self.rows[number].path, self._data_root), f"{self.source}, line {number + 1}")
        return encode(fitted_view(image, self._longest), image.format in PHOTOGRAPHS)


def fitted_view(image: Image.Image, longest: int) -> Tensor:
    """The whole image in its own shape, shrunk so that its longer side is at most `longest`, as uint8 (3, h, w)."""
    return to_tensor(image.resize(_shape(image, min(longest, max(image.size))), Image.Resampling.BICUBIC))


def _shape(image: Image.Image, longest: int) -> tuple[int, int]:
    """Width and height with the image's proportions, the longer one being `longest`."""
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    return width, height


@dataclass(frozen=True)
class Explained:
    """The files behind one picture of a pair.

    Attributes:
        image: the plain picture.
        mask: its 0/255 mask; None where there is none.
        human: the picture with its red border, as the explanation script drew it; None where there is none.
        machine: the machine student's rendering, which shows the explained part alone; it may be missing where one of these is there.
        listed: how the course names that one.
        where: course and lesson, for error messages.
    """

    image: str
    mask: str | None
    human: str | None
    machine: str
    listed: str
    where: str

    @classmethod
    def find(cls, image: str, machine: str, human: str | None, data_root: str, where: str) -> "Explained":
        """Looks for the files, given as course.json names them. The paper's lists may come without masks, or without pictures for people.

        Raises:
            InputError: the plain picture is missing, or all that could mark it.
        """
        plain, rendering = locate(image, data_root), locate(machine, data_root)
        check_file(image, data_root, where)
        mask, bordered = (_if_there(listed, data_root) for listed in (sibling(machine, IMG, MASK), human))
        if not (mask or bordered or os.path.isfile(rendering)):
            raise InputError(
                f"{where}: the explanation {rendering} is missing; explain the training list anew, from the same folder."
            )
        return cls(plain, mask, bordered, rendering, machine, where)

    @property
    def bordered(self) -> bool:
        """Whether the picture can be shown with its red border."""
        return bool(self.mask or self.human)


def _if_there(listed: str | None, data_root: str) -> str | None:
    """The file that a course names; None where it names none, or that is missing."""
    path = locate(listed, data_root) if listed else ""
    return path if os.path.isfile(path) else None


def explained_view(files: Explained, longest: int) -> Tensor:
    """A picture of a pair, as uint8 (3, h, w) in the shape of the plain picture.

    Its border is drawn on the plain picture where there is a mask, so that it is as sharp as the question was; else the picture
    for people is taken as it is, and where there is none, the machine student's.
    """
    plain = decode(files.image, files.where)
    if files.mask:
        mask = decode(files.mask, files.where)
        size = _shape(plain, min(longest, max(*plain.size, *mask.size)))
        return draw_visible_border(to_tensor(plain.resize(size, Image.Resampling.BICUBIC)), _resized_mask(mask, size))
    shown = decode(files.human or files.machine, files.where)
    return to_tensor(shown.resize(_shape(plain, min(longest, max(*plain.size, *shown.size))), Image.Resampling.BICUBIC))


def explained_picture(files: Explained, longest: int) -> Encoded:
    """The same as a file: a PNG, in which the thin lines stay sharp."""
    return encode(explained_view(files, longest), photograph=False)


def _resized_mask(mask: Image.Image, size: tuple[int, int]) -> Tensor:
    """A 0/255 mask in another size, bool (h, w)."""
    return torch.from_numpy(np.array(mask.convert("L").resize(size, Image.Resampling.BILINEAR)) > 127)


def draw_visible_border(image: Tensor, mask: Tensor) -> Tensor:
    """The image with the mask's border in red, and around that a thin white line.

    Args:
        image: uint8 (3, h, w).
        mask: bool (h, w).

    Returns:
        uint8 (3, h, w).
    """
    scale = max(1.0, max(mask.shape) / DRAWN_AT)
    width, halo = round(BORDER * scale), round(scale)
    near = F.max_pool2d(mask[None].float(), 2 * halo + 1, stride=1, padding=halo)[0] > 0  # (h, w)
    drawn = torch.where(near & ~mask, torch.tensor(HALO, dtype=torch.uint8).view(3, 1, 1), image)
    return torch.where(borders(mask[None], width)[0], torch.tensor(RED, dtype=torch.uint8).view(3, 1, 1), drawn)
