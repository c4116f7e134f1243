"""Pictures of the course page: the whole image, scaled down, with the explained region outlined in lessons."""

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


class ListedPictures:
    """The images of a list as the page shows them: read when asked for, encoded again without metadata.

    Args:
        rows: rows of the list.
        source: the list file, for error messages.
        data_root: what `./datasets/` in the list stands for.
        longest: longer side in pixels, at most.

    Raises:
        InputError: a listed file is missing.
    """

    def __init__(self, rows: Sequence[Example], source: Path, data_root: str, longest: int) -> None:
        check_files(rows, source, data_root)
        self.rows, self.source = rows, source
        self._data_root, self._longest = data_root, longest

    def __getitem__(self, number: int) -> Encoded:
        """The picture of row `number`."""
        image = decode(locate(self.rows[number].path, self._data_root), f"{self.source}, line {number + 1}")
        return encode(fitted_view(image, self._longest), image.format in PHOTOGRAPHS)


def fitted_view(image: Image.Image, longest: int) -> Tensor:
    """The whole image in its own shape, its longer side at most `longest`, as uint8 (3, h, w)."""
    return to_tensor(image.resize(_shape(image, min(longest, max(image.size))), Image.Resampling.BICUBIC))


def _shape(image: Image.Image, longest: int) -> tuple[int, int]:
    """Width and height with the image's proportions; the longer side is `longest`."""
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    return width, height


@dataclass(frozen=True)
class ExplainedPicture:
    """The files of one picture of a pair. The paper's lists may come without masks, or without pictures for people."""

    image: str  # the plain picture
    mask: str | None  # its 0/255 mask, if there is one
    human: str | None  # the picture with its red border, if there is one
    machine: str  # the rendering for the student, which shows only the explained part
    where: str  # course and lesson, for error messages

    @classmethod
    def find(cls, image: str, machine: str, human: str | None, data_root: str, where: str) -> "ExplainedPicture":
        """Looks for the files, given as course.json names them.

        Raises:
            InputError: the plain picture is missing, or mask, bordered picture and rendering all are.
        """
        plain, rendering, mask = (locate(path, data_root) for path in (image, machine, sibling(machine, IMG, MASK)))
        bordered = locate(human, data_root) if human else ""
        check_file(image, data_root, where)
        if not any(map(os.path.isfile, (mask, bordered, rendering))):
            raise InputError(f"{where}: the explanation {rendering} is missing. Explain the training list again.")
        existing = (path if os.path.isfile(path) else None for path in (mask, bordered))
        return cls(plain, *existing, rendering, where)

    @property
    def bordered(self) -> bool:
        """True if the picture can be shown with its red border."""
        return bool(self.mask or self.human)

    def view(self, longest: int) -> Tensor:
        """The picture as uint8 (3, h, w) in the shape of the plain one, its longer side at most `longest`.

        With a mask, the border is drawn on the plain picture at full resolution. Otherwise this is the picture for
        people, or the student's rendering.
        """
        plain = decode(self.image, self.where)
        marked = decode(self.mask or self.human or self.machine, self.where)
        size = _shape(plain, min(longest, max(*plain.size, *marked.size)))
        if not self.mask:
            return to_tensor(marked.resize(size, Image.Resampling.BICUBIC))
        mask = torch.from_numpy(np.array(marked.convert("L").resize(size, Image.Resampling.BILINEAR)) > 127)
        return draw_visible_border(to_tensor(plain.resize(size, Image.Resampling.BICUBIC)), mask)

    def encoded(self, longest: int) -> Encoded:
        """Returns the view as a PNG file, which keeps thin lines sharp."""
        return encode(self.view(longest), photograph=False)


def draw_visible_border(image: Tensor, mask: Tensor) -> Tensor:
    """Draws the border of a mask in red, with a thin white line around it.

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
