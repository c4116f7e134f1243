"""Writing pictures: PNG files encoded by threads beside the computation."""

import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from torch import Tensor

from utils.files import replacing

# Run-length matching only: on photographs several times faster than zlib's search and hardly larger, since PNG's row filters leave
# little else to find.
COMPRESSION = zlib.Z_RLE
WAITING = 64  # pictures per thread that may wait to be encoded, so that memory stays flat when encoding is slower than computing


def write_png(path: str | Path, picture: Tensor) -> None:
    """Writes uint8 (3, h, w) as RGB or (h, w) as greyscale, whole or not at all."""
    pixels = picture.numpy() if picture.ndim == 2 else picture.permute(1, 2, 0).contiguous().numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_type=COMPRESSION)


class PictureWriter:
    """Encodes and writes pictures in threads; used as a context manager, at whose end every picture is written.

    Args:
        workers: number of threads; 0 writes in the calling thread.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._pending: deque[Future] = deque()
        self._limit = WAITING * workers

    def __enter__(self) -> "PictureWriter":
        return self

    def write(self, path: str | Path, picture: Tensor) -> None:
        """Queues a picture; waits where too many wait already. Errors of earlier pictures are raised here or at the end."""
        if self._pool is None:
            write_png(path, picture)
            return
        self._pending.append(self._pool.submit(write_png, path, picture))
        while len(self._pending) > self._limit:
            self._pending.popleft().result()

    def __exit__(self, kind, error, trace) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            for future in self._pending:
                future.result()
