"""Stratified lists, for those who do not use the paper's."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from utils.base.errors import InputError
from utils.data.lists import DATASETS_PREFIX, Example


@dataclass(frozen=True)
class Part:
    """One list of a split. No image is in two parts.

    Attributes:
        stem: the list's name without `.txt`.
        size: how many images it has in the paper.
        first_index: the index of its first row.
        whole: parts that name the same whole are numbered through, and written together as that list too.
    """

    stem: str
    size: int
    first_index: int = 0
    whole: str = ""


def draw_lists(folder: str, files: dict[str, list[str]], parts: Sequence[Part], seed: int) -> dict[str, list[Example]]:
    """Draws the lists of `parts` at random, each with the classes in the proportion in which the images are there.

    Where there are fewer images than the parts want, each part is made smaller in proportion.

    Args:
        folder: the dataset's folder under the data root.
        files: file names by class, the classes in label order.
        parts: the lists wanted.
        seed: the same files and seed give the same lists, in whichever order the files are given.

    Returns:
        The rows of each list (parts and wholes) by its stem.

    Raises:
        InputError: there are so few images that a list would be empty.
    """
    chance = random.Random(seed)
    left = []
    for names in files.values():
        left.append(sorted(names))
        chance.shuffle(left[-1])
    lists: dict[str, list[Example]] = {}
    for part, size in zip(parts, part_sizes(parts, sum(map(len, left))), strict=True):
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


def part_sizes(parts: Sequence[Part], available: int) -> list[int]:
    """How many images each part gets: its size in the paper, or less, in proportion, where fewer images are available.

    Raises:
        InputError: a part would get none.
    """
    sizes = [part.size for part in parts]
    if available < sum(sizes):
        sizes = apportion(available, sizes)
    if 0 in sizes:
        empty = parts[sizes.index(0)].stem
        raise InputError(f"{available} images are too few: the list {empty} would be empty; give an archive with more images.")
    return sizes


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divides `total` in proportion to `weights` into whole numbers, by largest remainders.

    With `total` at most the sum of the weights, no share exceeds its weight.
    """
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares
