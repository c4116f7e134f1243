"""Looks into image files: are they there, do they decode, what do they hold."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from utils.base.files import file_digest
from utils.base.machine import processors
from utils.data.images import Undecodable, read_picture

MOST_THREADS = 8  # more would wait for the disk
READ_AHEAD = 32  # files that threads may be ahead of whoever looks at the results


@dataclass(frozen=True)
class Inspection:
    """What an image file holds.

    Attributes:
        problem: "" or why the file cannot be used: "is missing", "is empty", "does not decode (...)".
        remedy: what to do about a picture that does not decode, or is not where a link leads ("" where the problem says enough).
        content: hash of the bytes ("" with a problem).
        pixels: hash of the size and the RGB values of the picture that training sees ("" with a problem).
    """

    problem: str = ""
    remedy: str = ""
    content: str = ""
    pixels: str = ""


def inspect_images(files: Iterable[Path]) -> dict[Path, Inspection]:
    """Decodes each file once, with a progress bar."""
    files = list(dict.fromkeys(files))
    return dict(zip(files, inspections(files), strict=True))


def inspections(files: Sequence[Path], formats: tuple[str, ...] | None = None) -> Iterator[Inspection]:
    """What each file holds, in their order, with a progress bar.

    Threads decode (Pillow does so without the interpreter lock), a few files ahead of the caller.

    Args:
        files: the files.
        formats: as in `inspect_image`.
    """
    pool = ThreadPoolExecutor(min(MOST_THREADS, processors()))
    waiting: deque[Future] = deque()
    try:
        with tqdm(total=len(files), unit="image", desc="decode") as bar:
            for file in files:
                waiting.append(pool.submit(inspect_image, file, formats))
                if len(waiting) > READ_AHEAD:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
    finally:
        # After Ctrl-C, the images that still wait are not decoded.
        pool.shutdown(cancel_futures=True)


def inspect_image(file: Path, formats: tuple[str, ...] | None = None) -> Inspection:
    """Reads and decodes one image file; what is wrong with it is part of the result, not an exception.

    No more of it is in memory than its picture takes: a file may be called a picture, begin as one, and have gigabytes.

    Args:
        file: the file.
        formats: the formats, by Pillow's names, that are taken; of a file of another kind no more than its beginning is read. None
            takes all that Pillow knows.
    """
    if formats is not None and (problem := _format_problem(file, formats)):
        return Inspection(problem)
    try:
        with open(file, "rb") as stream:
            if not stream.peek(1):
                return Inspection("is empty")
        rgb = read_picture(file)
        pixels = hashlib.sha256(f"{rgb.size}".encode())
        pixels.update(rgb.tobytes())
        return Inspection(content=file_digest(file, "sha256"), pixels=pixels.hexdigest())
    except Undecodable as error:
        return Inspection(str(error))
    except MemoryError:
        return Inspection("does not fit into memory")
    except OSError as error:
        return Inspection(
            "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )


def _format_problem(file: Path, formats: tuple[str, ...]) -> str:
    """Why a file is no picture of one of the formats, by its beginning; "" if it is one, or cannot be read or is empty."""
    try:
        with Image.open(file, formats=formats):
            return ""
    except UnidentifiedImageError:
        return "is no picture, or one of a kind that is not taken" if file.stat().st_size else ""
    except OSError as error:
        # Errors of the disk have a number; Pillow's own, about broken files, have none, and decoding says them too.
        return f"cannot be read ({error.strerror})" if error.errno else ""
    except Exception:  # on damaged files Pillow raises errors of many kinds; decoding says what is wrong
        return ""
