"""One image: decoding a file, and the deterministic views that networks see."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import EpsImagePlugin, Image, ImageOps
from torch import Tensor

from utils.base.errors import InputError

REDUCED_ABOVE = 32_000_000  # pixels, more than most cameras give; every view is far smaller
SHORTEST_REDUCED = 1024  # pixels that the shorter side of a reduced picture keeps
# Pillow would return the thumbnail of a raw file, and run the program that an EPS file is.
REFUSED = (
    ".eps",
    ".dng",
    ".nef",
    ".nrw",
    ".cr2",
    ".cr3",
    ".crw",
    ".arw",
    ".sr2",
    ".srw",
    ".orf",
    ".rw2",
    ".raf",
    ".pef",
)
EpsImagePlugin.gs_binary = False
warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged headers and large sizes, which are handled here

RESIZE_TO_CROP = 256 / 224  # evaluation view of ImageNet networks: shorter side to 256, centre crop of 224


class Undecodable(Exception):
    """A picture file that cannot be used. The message completes a sentence that begins with the file's name."""


def read_picture(file: str | Path) -> Image.Image:
    """Decodes a picture as RGB, upright (EXIF), transparency on white, the first of several frames.

    Greys of 16 bits are divided by 257. Floats and 32-bit integers are scaled from 0 .. 1 (floats only), 0 .. 255 or 0 .. 65535.
    Pictures above `REDUCED_ABOVE` pixels are halved while the shorter side keeps `SHORTEST_REDUCED`.

    Raises:
        Undecodable: the file is missing, damaged, of an unsupported kind, or has more than 179 megapixels (Pillow's limit).
    """
    if Path(file).suffix.lower() in REFUSED:
        raise Undecodable("is a camera's raw file or EPS. Convert it to JPEG or PNG")
    try:
        with Image.open(file) as image:
            factor = _reduction(*image.size)
            if factor > 1 and not image.info.get("progressive"):
                image.draft(
                    None, (image.width // factor, image.height // factor)
                )  # JPEG is reduced while it is decoded
            image.load()
            factor = _reduction(*image.size)
            rgb = _to_rgb(_upright(image), image.format)
            picture = rgb if factor == 1 else rgb.reduce(factor)
            picture.format = image.format  # course pages keep photographs in JPEG
            return picture
    except Undecodable:
        raise
    except FileNotFoundError as error:
        raise Undecodable("is missing. Restore it") from error
    except Image.DecompressionBombError as error:
        raise Undecodable("has more than 179 megapixels. Reduce its size") from error
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # for damaged files, Pillow raises OSError, SyntaxError, ValueError, struct.error and others
        reason = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
        raise Undecodable(f"cannot be decoded ({reason}). Restore it, or save it again as PNG or JPEG") from error


def decode(file: str | Path, listed_at: str) -> Image.Image:
    """Decodes a picture as `read_picture` does.

    Args:
        file: the image file.
        listed_at: list and line that name the file, for the error message.

    Raises:
        InputError: the picture cannot be used.
    """
    try:
        return read_picture(file)
    except Undecodable as error:
        raise InputError(f"{listed_at}: the image {file} {error}.") from error


def _reduction(width: int, height: int) -> int:
    """The factor 1, 2, 4, ... by which a picture is reduced."""
    factor = 1
    while width * height > REDUCED_ABOVE * factor**2 and min(width, height) >= 2 * factor * SHORTEST_REDUCED:
        factor *= 2
    return factor


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data, which viewers ignore
        return image


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled_greys(image, file_format)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    page = Image.new("RGB", image.size, (255, 255, 255))
    page.paste(rgba, mask=rgba.getchannel("A"))
    return page


def _scaled_greys(image: Image.Image, file_format: str | None) -> Image.Image:
    """Greys of more than 8 bits as RGB."""
    values = np.asarray(image, np.float32)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        white = 65535  # 16 bits, which Pillow may have put into 32
    else:
        floats = image.mode == "F"
        ranges = [(1, 0)] * floats + [(white, white / 8 * floats) for white in (255, 65535)]
        fitting = [white for white, least in ranges if low >= -0.001 and least <= high <= white + 0.001]
        if not fitting:
            raise Undecodable(
                f"has greys between {low:g} and {high:g}; expected 0 .. 1, 0 .. 255 or 0 .. 65535. Save it with 8 or 16 bits"
            )
        white = fitting[0]
    # Truncated like Pillow's colours of 16 bits; the small addend absorbs rounding errors.
    greys = (values * (255 / white) + 0.001).clip(0, 255).astype(np.uint8)
    return Image.fromarray(greys).convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """A PIL image as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


full_view = to_tensor  # the image in its own size, from which random crops are taken


def whole_view(image: Image.Image, size: int) -> Tensor:
    """The uncropped image resized to size x size, uint8: the view that is explained and taught, since masks must fit it."""
    return to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))


def eval_view(image: Image.Image, size: int) -> Tensor:
    """The test view: shorter side resized to 256/224 size, centre crop of size x size, uint8."""
    width, height = image.size
    scale = round(size * RESIZE_TO_CROP) / min(width, height)
    width, height = round(width * scale), round(height * scale)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return to_tensor(resized.crop((left, top, left + size, top + size)))
