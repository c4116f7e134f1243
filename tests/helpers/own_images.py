"""Folders of images with the names that people, cameras and other programs give."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = (
    *("Kleiner Fuchs", "Großes Ochsenauge", "菜粉蝶", "Admiral", "admiral", "a & b"),
    *("100", "20", "É", "x..", "-rf", "o'Neil"),
)
FILES = ("IMG 0001.JPG", "Ä ö ü.png", "tief/unten/蝶 1.PNG", "-v.png", "x" * 240 + ".png", "蝶" * 80 + ".webp")


def draw(path: Path, seed: int, size: tuple[int, int] = (12, 10), **options) -> Path:
    """Writes a picture of random pixels (width x height) in the format of the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def draw_classes(folder: Path, first: int = 0, **classes: int) -> Path:
    """Draws classes with the given number of pictures."""
    for number, (name, count) in enumerate(sorted(classes.items())):
        for i in range(count):
            draw(folder / name / f"{i}.png", first + 1000 * number + i)
    return folder


def draw_badly_named(folder: Path, size: tuple[int, int] = (12, 10)) -> Path:
    """Draws twelve classes of six pictures with inconvenient names."""
    for number, name in enumerate(CLASSES):
        for i, file in enumerate(FILES):
            draw(folder / name / file, 100 * number + i, size)
    return folder
