"""Looks into image files: are they there, do they decode, what do they hold."""

import hashlib
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from utils.data.decoding import Undecodable, read_picture


@dataclass(frozen=True)
class Inspection:
    """What an image file holds.

    Attributes:
        problem: "" or why the file cannot be used: "is missing", "is empty", "does not decode (...)".
        remedy: what to do about a picture that does not decode ("" with other problems).
        content: hash of the bytes ("" with a problem).
        pixels: hash of the size and the RGB values of the picture that training sees ("" with a problem).
    """

    problem: str = ""
    remedy: str = ""
    content: str = ""
    pixels: str = ""


def inspect_images(files: Iterable[Path]) -> dict[Path, Inspection]:
    """Decodes each file once, in threads (Pillow decodes without the interpreter lock), with a progress bar."""
    files = list(dict.fromkeys(files))
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        return dict(zip(files, tqdm(pool.map(inspect_image, files), total=len(files), unit="image", desc="decode"), strict=True))
    finally:
        # After Ctrl-C, the images that still wait are not decoded.
        pool.shutdown(cancel_futures=True)


def inspect_image(file: Path) -> Inspection:
    """Reads and decodes one image file; what is wrong with it is part of the result, not an exception."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return Inspection("is missing")
    except OSError as error:
        return Inspection(f"cannot be read ({error.strerror})")
    if not data:
        return Inspection("is empty")
    try:
        rgb = read_picture(io.BytesIO(data))
    except Undecodable as error:
        return Inspection(f"does not decode ({error.reason})", error.remedy)
    pixels = hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes())
    return Inspection(content=hashlib.sha256(data).hexdigest(), pixels=pixels.hexdigest())
