"""Decodes image files, and makes the fixed views that networks see."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import EpsImagePlugin, Image, ImageOps
from torch import Tensor

from utils.base.errors import InputError
from utils.base.files import absence

# Pillow would return the thumbnail of a raw file. It would run an EPS file as a program.
RAW = ".eps .dng .nef .nrw .cr2 .cr3 .crw .arw .sr2 .srw .orf .rw2 .raf .pef".split()
REFUSED = dict.fromkeys(RAW, "is a raw camera file or EPS. Convert it to JPEG or PNG")
REFUSED |= dict.fromkeys(".zip .rar .7z .tar .gz .tgz .bz2 .xz .zst".split(), "is an archive. Unpack it")
EpsImagePlugin.gs_binary = False
warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged headers and large sizes are handled here

RESIZE_TO_CROP = 256 / 224  # test view of ImageNet networks: shorter side to 256, center crop of 224


class Undecodable(Exception):
    """An unusable image file. The message completes a sentence that starts with the file's name."""


def read_picture(file: str | Path) -> Image.Image:
    """Decodes an image: RGB, upright (EXIF), alpha on white, only the first frame.

    16-bit grays are divided by 257. Floats and 32-bit integers must lie in 0 .. 255 or 0 .. 65535 (floats: or 0 .. 1).
    Raises Undecodable.
    """
    if reason := REFUSED.get(Path(file).suffix.lower()):
        raise Undecodable(reason)
    try:
        with Image.open(file) as image:
            image.load()
            upright: Image.Image = image
            with suppress(Exception):  # viewers ignore damaged EXIF data, too
                upright = ImageOps.exif_transpose(image)
            picture = _to_rgb(upright, image.format)
            picture.format = image.format  # course pages keep photographs in JPEG
            return picture
    except (Undecodable, MemoryError):
        raise
    except FileNotFoundError as error:
        raise Undecodable(absence(file)) from error
    except Image.DecompressionBombError as error:
        raise Undecodable("has more than 179 megapixels. Reduce its size") from error
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, struct.error and others
        raise Undecodable(f"cannot be decoded ({error}). Restore it, or save it again as PNG or JPEG") from error


def decode(file: str | Path, listed_at: str) -> Image.Image:
    """Decodes an image as `read_picture` does. Raises InputError that names the list and line, `listed_at`."""
    try:
        return read_picture(file)
    except Undecodable as error:
        raise InputError(f"{listed_at}: the image {file} {error}.") from error


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled_grays(image, file_format)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", image.size, (255, 255, 255))
    page.paste(rgba, mask=rgba.getchannel("A"))
    return page


def _scaled_grays(image: Image.Image, file_format: str | None) -> Image.Image:
    """Converts grays of more than 8 bits to RGB."""
    values = np.asarray(image, np.float32)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        white = 65535  # Pillow may store 16 bits in 32
    else:
        ranges = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        white = next((most for most in ranges if -0.001 <= low <= high <= most + 0.001), 0)
        if white == 0:
            expected = "expected 0 .. 1, 0 .. 255 or 0 .. 65535. Save it with 8 or 16 bits"
            raise Undecodable(f"has grays between {low:g} and {high:g}; {expected}")
    # Truncated like Pillow's 16-bit colors; the small addend absorbs rounding errors.
    grays = (values * (255 / white) + 0.001).clip(0, 255).astype(np.uint8)
    return Image.fromarray(grays).convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """Converts a PIL image to uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


full_view = to_tensor  # the image in its own size, from which random crops are taken


def whole_view(image: Image.Image, size: int) -> Tensor:
    """Resizes to (3, size, size) without cropping: the view of explanations and lessons, because masks must fit it."""
    return to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))


def eval_view(image: Image.Image, size: int) -> Tensor:
    """Test view (3, size, size): shorter side resized to 256/224 size, then the center crop."""
    width, height = image.size
    scale = round(size * RESIZE_TO_CROP) / min(width, height)
    width, height = round(width * scale), round(height * scale)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return to_tensor(resized.crop((left, top, left + size, top + size)))
