"""Pictures of the course page: the whole image, scaled down, with the explained region outlined in lessons."""

import io
import os

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


def whole_picture(file: str, where: str, longest: int) -> tuple[str, bytes]:
    """Scales the whole image down to a longer side of at most `longest` pixels; `where` begins error messages.

    Returns:
        The ending and the bytes of a file without metadata: JPEG if the image comes from one, because as PNG it would
        be five times as large.
    """
    image = decode(file, where)
    small = image.resize(_shape(image, min(longest, max(image.size))), Image.Resampling.BICUBIC)
    pixels = channels_last(to_tensor(small))
    if image.format not in PHOTOGRAPHS:
        return "png", encode_png(pixels)
    content = io.BytesIO()
    # From the array, because Pillow would also save the comment of `small`. No chroma subsampling, because classes may
    # differ in a small spot of color.
    Image.fromarray(pixels).save(content, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return "jpg", content.getvalue()


def _shape(image: Image.Image, longest: int) -> tuple[int, int]:
    """Width and height with the image's proportions; the longer side is `longest`."""
    width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
    return width, height


def marked_file(machine: str, human: str | None, data_root: str, where: str) -> tuple[str, str]:
    """Finds the file that shows the explained region; returns its kind, "mask", "human" or "machine", and its path.

    `human` has a red border, `machine`, for the student, shows only the region. The paper's lists may lack some files.
    """
    files = {"mask": sibling(machine, IMG, MASK), "human": human, "machine": machine}
    for kind, listed in files.items():
        if listed and os.path.isfile(file := locate(listed, data_root)):
            return kind, file
    raise InputError(f"{where}: the explanation {machine} is missing. Explain the training list again.")


def explained_picture(file: str, kind: str, marked: str, where: str, longest: int) -> tuple[str, bytes]:
    """Shows the image `file` with its explained region, its longer side at most `longest`, as PNG for sharp lines.

    With a mask, the border is drawn on the image at full resolution. Otherwise the file `marked` is shown.
    """
    plain, found = decode(file, where), decode(marked, where)
    size = _shape(plain, min(longest, max(*plain.size, *found.size)))
    shown = to_tensor((plain if kind == "mask" else found).resize(size, Image.Resampling.BICUBIC))
    if kind == "mask":
        mask = np.array(found.convert("L").resize(size, Image.Resampling.BILINEAR)) > 127
        shown = draw_visible_border(shown, torch.from_numpy(mask))
    return "png", encode_png(channels_last(shown))


def draw_visible_border(image: Tensor, mask: Tensor) -> Tensor:
    """Draws the border of a mask (h, w) on uint8 (3, h, w), in red with a thin white line around it."""
    scale = max(1.0, max(mask.shape) / DRAWN_AT)
    width, halo = round(BORDER * scale), round(scale)
    near = F.max_pool2d(mask[None].float(), 2 * halo + 1, stride=1, padding=halo)[0] > 0  # (h, w)
    drawn = torch.where(near & ~mask, torch.tensor(HALO, dtype=torch.uint8).view(3, 1, 1), image)
    return torch.where(borders(mask[None], width)[0], torch.tensor(RED, dtype=torch.uint8).view(3, 1, 1), drawn)
