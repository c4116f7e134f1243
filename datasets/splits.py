"""Stratified lists, for those who do not use the paper's."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.trees import Picture
from utils.base.errors import InputError
from utils.data.lists import DATASETS_PREFIX, Example

TEST_SHARE = 0.2  # of a user's labelled images, unless they say otherwise


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
        raise InputError(
            f"{available} images are too few: the list {empty} would be empty; give an archive with more images."
        )
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


@dataclass(frozen=True)
class Shares:
    """How the labelled images of each class are shared out.

    Attributes:
        test: the test list's part of them, above 0 and below 1; None for `TEST_SHARE`, or what the user has chosen as test images.
        expert: images of the others that the expert labels; None for as many as `expert_share` says.
        expert_share: the expert's part of the others, above 0; 1 for all.
        seed: of the draw.
    """

    test: float | None = None
    expert: int | None = None
    expert_share: float = 1.0
    seed: int = 0


def share_out(pictures: Sequence[Picture], shares: Shares) -> dict[str, list[Picture]]:
    """Shares the pictures of a user out to the lists `train`, `test` and `rest`, class by class.

    Of n pictures of a class, n times `test` go into the test list, rounded (a half up), but at least one and not all where there are two or
    more; of the m others, `expert` or m times `expert_share` (rounded, at least one) into the training list, and what remains into the rest
    list, with all that have no label. What looks the same stays together; where it does not fit, a list gets less.

    Args:
        pictures: all of them. Those whose part is "test" are the test list, if there are any.
        shares: how many of each class.

    Returns:
        The three lists. The draw of a class depends on the seed, its name and its pictures, and on no other class.
    """
    lists: dict[str, list[Picture]] = {"train": [], "test": [], "rest": []}
    by_class: dict[str, list[Picture]] = {}
    for picture in sorted(pictures, key=lambda picture: picture.source):
        if picture.label is None:
            lists["rest"].append(picture)
        else:
            by_class.setdefault(picture.label, []).append(picture)
    part = TEST_SHARE if shares.test is None else shares.test
    chosen = any(picture.part == "test" for picture in pictures)
    for label, members in by_class.items():
        left = _drawn([picture for picture in members if picture.part != "test"], f"{shares.seed} {label}")
        if chosen:
            test = [picture for picture in members if picture.part == "test"]
        else:
            test, left = _take(left, min(max(_rounded(part * len(members)), 1), len(members) - 1))
        others = sum(map(len, left))
        wanted = max(_rounded(shares.expert_share * others), 1) if shares.expert is None else shares.expert
        train, rest = _take(left, wanted)
        if not train and rest:
            train, rest = rest[0], rest[1:]
        lists["test"] += test
        lists["train"] += train
        lists["rest"] += [picture for group in rest for picture in group]
    return lists


def _drawn(members: Sequence[Picture], seed: str) -> list[list[Picture]]:
    """Groups of pictures that look the same, most of them of one picture, in random order."""
    groups: dict[str, list[Picture]] = {}
    for picture in members:
        groups.setdefault(picture.pixels, []).append(picture)
    drawn = list(groups.values())
    random.Random(seed).shuffle(drawn)
    return drawn


def _take(groups: Sequence[list[Picture]], wanted: int) -> tuple[list[Picture], list[list[Picture]]]:
    """The pictures of the first groups that fit into `wanted`, and the groups that are left."""
    taken: list[Picture] = []
    left: list[list[Picture]] = []
    for group in groups:
        if len(taken) + len(group) <= wanted:
            taken += group
        else:
            left.append(group)
    return taken, left


def _rounded(number: float) -> int:
    return math.floor(number + 0.5)
