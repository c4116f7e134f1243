"""Drawing training, test and rest lists: in the paper's sizes, or in shares of the user's own images."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from utils.base.errors import InputError
from utils.data.lists import DATASETS_PREFIX, Example


class Part(NamedTuple):
    """One list of the paper. No image is in two parts."""

    stem: str  # name without .txt
    size: int  # number of images in the paper's list
    first_index: int = 0  # index of the first row
    whole: str = ""  # parts of the same whole are numbered consecutively, and also written as one list of this name


@dataclass(slots=True)
class Picture:
    """One image of the user's folder."""

    source: str  # path below the folder, with slashes
    label: str | None  # class name as the user wrote it; None if unknown
    tested: bool = False  # True if the user put it into a folder of test images
    pixels: str = ""  # fingerprint of the decoded pixels


def draw_lists(folder: str, files: dict[str, list[str]], parts: Sequence[Part], seed: int) -> dict[str, list[Example]]:
    """Draws random lists that are stratified by class. If there are fewer images than in the paper, all lists shrink.

    Args:
        folder: folder of the dataset below the data root.
        files: file names by class, in label order. Their order does not matter.
        parts: the lists to draw.
        seed: seed of the draw.

    Returns:
        The rows of each list (parts and wholes) by stem.
    """
    chance = random.Random(seed)
    left = []
    for names in files.values():
        left.append(sorted(names))
        chance.shuffle(left[-1])
    sizes = [part.size for part in parts]
    if (available := sum(map(len, left))) < sum(sizes):
        sizes = apportion(available, sizes)
    if 0 in sizes:
        raise InputError(f"{available} images are too few for {parts[sizes.index(0)].stem}. Use an archive with more.")
    lists: dict[str, list[Example]] = {}
    for part, size in zip(parts, sizes, strict=True):
        rows = []
        for label, (name, count) in enumerate(zip(files, apportion(size, [len(names) for names in left]), strict=True)):
            taken, left[label] = left[label][:count], left[label][count:]
            rows += [(f"{DATASETS_PREFIX}{folder}/images/{name}/{file}", label) for file in taken]
        chance.shuffle(rows)
        whole = lists.setdefault(part.whole, []) if part.whole else []
        first = part.first_index + len(whole)
        lists[part.stem] = [Example(path, label, first + position) for position, (path, label) in enumerate(rows)]
        whole += lists[part.stem]
    return lists


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divides `total` into whole numbers in proportion to `weights`, by the method of largest remainders.

    No share exceeds its weight if `total` is at most the sum of the weights.
    """
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def share_out(
    pictures: Sequence[Picture], test_share: float, expert: int | None, expert_share: float, seed: int
) -> dict[str, list[Picture]]:
    """Distributes the user's images over the lists `train`, `test` and `rest`, class by class.

    Images that look the same stay together, so a list may get slightly fewer than its share. The draw of a class
    depends only on the seed, its name and its images. Images without a label go into `rest`, with those that remain.

    Args:
        pictures: all images. If some are `tested`, they form the test list; otherwise it is drawn.
        test_share: share of each class to test on, rounded half up; at least one image, never all.
        expert: training images per class, or None to use `expert_share`.
        expert_share: share of the images that are not for testing, rounded half up; at least one image.
        seed: seed of the draw.
    """
    lists: dict[str, list[Picture]] = {"train": [], "test": [], "rest": []}
    by_class: dict[str, list[Picture]] = {}
    for picture in sorted(pictures, key=lambda picture: picture.source):
        if picture.label is None:
            lists["rest"].append(picture)
        else:
            by_class.setdefault(picture.label, []).append(picture)
    split_by_user = any(picture.tested for picture in pictures)
    for label, members in by_class.items():
        test = [picture for picture in members if picture.tested]
        groups: dict[str, list[Picture]] = {}
        for picture in members:
            if not picture.tested:
                groups.setdefault(picture.pixels, []).append(picture)
        left = list(groups.values())
        random.Random(f"{seed} {label}").shuffle(left)
        if not split_by_user:
            test, left = take(left, min(max(rounded(test_share * len(members)), 1), len(members) - 1))
        others = sum(map(len, left))
        train, left = take(left, max(rounded(expert_share * others), 1) if expert is None else expert)
        if not train and left:
            train, left = left[0], left[1:]
        lists["train"] += train
        lists["test"] += test
        lists["rest"] += [picture for group in left for picture in group]
    return lists


def take(groups: Sequence[list[Picture]], wanted: int) -> tuple[list[Picture], list[list[Picture]]]:
    """Takes the groups that fit into `wanted` images, in order, and returns their images and the other groups."""
    taken: list[Picture] = []
    left: list[list[Picture]] = []
    for group in groups:
        if len(taken) + len(group) <= wanted:
            taken += group
        else:
            left.append(group)
    return taken, left


def rounded(number: float) -> int:
    return math.floor(number + 0.5)
