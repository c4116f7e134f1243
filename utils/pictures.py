"""Writing pictures: PNG files encoded by threads beside the computation; and whether one on disk is whole."""

import io
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from utils.files import write_bytes

# Run-length matching only: on photographs several times faster than zlib's search and hardly larger, since PNG's row filters leave
# little else to find.
COMPRESSION = zlib.Z_RLE
SIGNATURE = b"\x89PNG\r\n\x1a\n"
WAITING = 64  # pictures per thread that may wait to be encoded, so that memory stays flat when encoding is slower than computing


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 (h, w, 3) or (h, w)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_type=COMPRESSION)
    return file.getvalue()


def write_png(path: str | Path, picture: Tensor) -> None:
    """Writes uint8 (3, h, w) as RGB or (h, w) as greyscale, whole or not at all."""
    pixels = picture.numpy() if picture.ndim == 2 else picture.permute(1, 2, 0).contiguous().numpy()
    write_bytes(path, encode_png(pixels))


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
        if end > len(content) or zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return None
        place = end
    return place


class PictureWriter:
    """Encodes and writes pictures in threads; used as a context manager, at whose end every picture is written.

    Args:
        workers: number of threads; 0 writes in the calling thread.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._pending: deque[Callable[[], None]] = deque()  # waits for a picture, or does what must come after some
        self._limit = WAITING * workers

    def __enter__(self) -> "PictureWriter":
        return self

    def write(self, path: str | Path, picture: Tensor) -> None:
        """Queues a picture; waits where too many wait already. Errors of earlier pictures are raised here or at the end."""
        if self._pool is None:
            write_png(path, picture)
            return
        self._queue(self._pool.submit(write_png, path, picture).result)

    def afterwards(self, action: Callable[[], None]) -> None:
        """Calls `action` in the calling thread, some time after all pictures queued so far are written."""
        if self._pool is None:
            action()
        else:
            self._queue(action)

    def _queue(self, action: Callable[[], None]) -> None:
        self._pending.append(action)
        while len(self._pending) > self._limit:
            self._pending.popleft()()

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            for action in self._pending:
                action()
