"""Writing pictures as PNG files, and whether one on disk is whole."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from utils.base.files import write_bytes

# Run-length matching only: on photographs several times faster than zlib's search and hardly larger, since PNG's row filters leave
# little else to find.
COMPRESSION = zlib.Z_RLE
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 (h, w, 3) or (h, w)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_type=COMPRESSION)
    return file.getvalue()


def write_png(path: str | Path, picture: Tensor) -> None:
    """Writes uint8 (3, h, w) as RGB or (h, w) as greyscale, whole or not at all."""
    write_bytes(path, encode_png(picture.numpy() if picture.ndim == 2 else channels_last(picture)))


def channels_last(picture: Tensor) -> np.ndarray:
    """uint8 (3, h, w) as (h, w, 3), the layout of files and of Pillow."""
    # Stacking the three planes is three times as fast as copying their transpose.
    return np.stack(list(picture.numpy()), axis=-1)


def whole_png(path: str | Path, size: int | None = None) -> bool:
    """Whether a file is a PNG from its signature to its end, every chunk's checksum right.

    Args:
        path: the file, which need not exist.
        size: width and height that it must have; None: any.
    """
    try:
        content = memoryview(Path(path).read_bytes())
    except OSError:
        return False
    if content[:8] != SIGNATURE or content[12:16] != b"IHDR":
        return False
    if size is not None and struct.unpack_from(">II", bytes(content[16:24]).ljust(8)) != (size, size):
        return False
    return _end_of_chunks(content) == len(content)


def _end_of_chunks(content: memoryview) -> int | None:
    """Where the chunk IEND ends; None where a chunk before it is cut short or damaged."""
    place, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if place + 12 > len(content):
            return None
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length  # length, kind, data, checksum
        if end > len(content) or zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(
            content[end - 4 : end], "big"
        ):
            return None
        place = end
    return place
