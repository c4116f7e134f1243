"""Splits images into training, test and rest lists: in the paper's sizes, or in shares of the user's own images."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from utils.data.lists import DATASETS_PREFIX, Example


class Part(NamedTuple):
    """One list of the paper. No image is in two parts."""

    stem: str  # name without .txt
    size: int  # number of images in the paper's list
    first_index: int = 0  # index of the first row
    whole: str = ""  # parts of the same whole are numbered consecutively, and also written as one list of this name


@dataclass(slots=True)
class Picture:
    source: str  # path below the folder, with slashes
    label: str | None  # class name as the user wrote it; None if unknown
    tested: bool = False  # True if the user put it into a folder of test images
    pixels: str = ""  # fingerprint of the decoded pixels
    group: str = ""  # images of one group stay in one list


def draw_lists(folder: str, files: dict[str, list[str]], parts: Sequence[Part], seed: int) -> dict[str, list[Example]]:
    """Draws random lists, stratified by class. With fewer images than in the paper, all lists shrink in proportion.

    `files` contains the file names of each class, in label order. Returns the rows of each part and whole, by stem.
    """
    chance = random.Random(seed)
    left = [sorted(names) for names in files.values()]
    for names in left:
        chance.shuffle(names)
    sizes = [part.size for part in parts]
    if (available := sum(map(len, left))) < sum(sizes):
        sizes = apportion(available, sizes)
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
    """Divides `total` into whole numbers in proportion to `weights`, by the method of largest remainders."""
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

    Of each class, `test_share` is for testing (at least one image, never all), unless the user made a test split. Of
    the other images, `expert` or the share `expert_share` (at least one) are for training. The rest list gets the
    remaining images and those without a label. Shares are rounded half up. Images of one group and images that look the
    same stay together, so a list may get slightly fewer (or a test list its smallest group). The draw of a class
    depends only on the seed, its name and its images, unless a group has images of several classes.
    """
    lists: dict[str, list[Picture]] = {"train": [], "test": [], "rest": []}
    by_class: dict[str, list[Picture]] = {}
    group_of: dict[str, str] = {}  # by pixels
    for picture in sorted(pictures, key=lambda picture: picture.source):
        picture.group = group_of.setdefault(picture.pixels, picture.group or picture.pixels)
        if picture.label is None:
            lists["rest"].append(picture)
        else:
            by_class.setdefault(picture.label, []).append(picture)
    split_by_user = any(picture.tested for picture in pictures)
    list_of: dict[str, str] = {}  # by group, if it had images of an earlier class
    for label, members in by_class.items():
        drawn: dict[str, list[Picture]] = {name: [] for name in lists}
        groups: dict[str, list[Picture]] = {}
        for picture in members:
            known = "test" if picture.tested else list_of.get(picture.group)
            (drawn[known] if known else groups.setdefault(picture.group, [])).append(picture)
        left = list(groups.values())
        random.Random(f"{seed} {label}").shuffle(left)
        if not split_by_user:
            wanted = min(max(int(test_share * len(members) + 0.5), 1), len(members) - 1) - len(drawn["test"])
            test, left = take(left, wanted)
            if not drawn["test"] + test and len(left) > 1:
                test = left.pop(left.index(min(left, key=len)))
            drawn["test"] += test
        others = len(members) - len(drawn["test"])
        wanted = max(int(expert_share * others + 0.5), 1) if expert is None else expert
        train, left = take(left, wanted - len(drawn["train"]))
        if not drawn["train"] + train and left:
            train, left = left[0], left[1:]
        drawn["train"] += train
        drawn["rest"] += [picture for group in left for picture in group]
        for name, taken in drawn.items():
            lists[name] += taken
            list_of |= {picture.group: name for picture in taken if not (split_by_user and name == "test")}
    return lists


def take(groups: Sequence[list[Picture]], wanted: int) -> tuple[list[Picture], list[list[Picture]]]:
    """Takes the groups that fit into `wanted` images, in order. Returns their images and the other groups."""
    taken: list[Picture] = []
    left: list[list[Picture]] = []
    for group in groups:
        if len(taken) + len(group) <= wanted:
            taken += group
        else:
            left.append(group)
    return taken, left
