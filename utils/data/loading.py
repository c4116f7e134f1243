"""Loads lists as batches: threads read ahead, and decoded images stay in memory within a RAM budget."""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import checksum
from utils.base.machine import side_by_side
from utils.data.catalog import Dataset
from utils.data.images import decode
from utils.data.lists import UNKNOWN, Example, Explanation, check_files, locate, read_examples

READ_AHEAD = 2  # batches that threads prepare while the network computes

Row = TypeVar("Row", bound=Example | Explanation, covariant=True)
View = Callable[[Image.Image], Tensor]


class ImageSet(Generic[Row]):
    """The images of a list in a view, decoded when asked for. Views stay in memory up to `ram_budget` GiB.

    The processes on a machine share the budget. If a file is missing, the InputError names `source` and the line.
    """

    def __init__(
        self, rows: Sequence[Row], source: str | Path, data_root: str | Path, view: View, ram_budget: float = 0
    ) -> None:
        check_files(rows, source, data_root)
        self.rows, self.source, self.data_root, self.view, self.ram_budget = rows, source, data_root, view, ram_budget
        self.labels = torch.tensor([row.label for row in rows])  # (N,)
        self._bytes_left = int(ram_budget * 2**30) // processes.on_this_node()
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_known(self) -> int:
        """Number of images with a known label; accuracies are computed on these."""
        return int((self.labels != UNKNOWN).sum())

    def seen_as(self, view: View) -> "ImageSet[Row]":
        """Returns the same images in another view."""
        other = copy.copy(self)
        other.view, other._kept = view, {}
        return other

    def checksum(self, number: int) -> int:
        return checksum(locate(self.rows[number].path, self.data_root))

    def __getitem__(self, number: int) -> Tensor:
        """Returns the view of row `number`, uint8 (3, h, w)."""
        if number in self._kept:
            return self._kept[number]
        file = locate(self.rows[number].path, self.data_root)
        view = self.view(decode(file, f"{self.source}, line {number + 1}"))
        if view.nbytes <= self._bytes_left:
            self._bytes_left -= view.nbytes
            self._kept[number] = view
        return view


def open_list(
    dataset: Dataset,
    split: str,
    data_root: str | Path,
    view: View,
    list_path: str | None = None,
    ram_budget: float = 0,
    labels: bool = True,
) -> ImageSet[Example]:
    """Opens a list of a dataset; `split` is "train", "test" or "rest".

    `list_path` is another list of the same classes, such as a teaching set; it may repeat images. Without `labels`, a
    training list that is a rest list may contain unknown ones. Raises InputError if a class has no training image.
    """
    path = list_path or dataset.list_path(data_root, split)
    unlabeled = split != "train" or (dataset.trains_on_rest and not labels)
    rows = read_examples(path, len(dataset.classes), unique=list_path is None, rest=unlabeled)
    present = {row.label for row in rows}
    absent = [name for label, name in enumerate(dataset.display_names) if label not in present]
    if absent and not unlabeled:
        raise InputError(f"{path} has no image of class {absent[0]}. Add some; a classifier needs all classes.")
    return ImageSet(rows, path, data_root, view, ram_budget)


def in_batches(order: Sequence[int], batch_size: int, smallest: int = 1) -> list[list[int]]:
    """Cuts a sequence into batches. A last batch of fewer than `smallest` joins the one before."""
    order = list(order)
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(groups) > 1 and len(groups[-1]) < smallest:
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def batches(load: Callable[[int], Tensor], groups: list[list[int]], workers: int) -> Iterator[tuple[list[int], Tensor]]:
    """Yields the numbers of each batch and its stacked tensors, such as uint8 (B, 3, h, w), loaded ahead in threads.

    Threads, not processes: decoding and resizing release Python's lock, and threads share the decoded images. With 0
    workers, the calling thread loads.
    """
    numbers, ahead = chain.from_iterable(groups), READ_AHEAD * max(map(len, groups), default=0)
    loaded = side_by_side(load, numbers, workers, ahead) if workers else map(load, numbers)
    for group in groups:
        yield group, torch.stack(list(islice(loaded, len(group))))


def to_float(images: Tensor, device: torch.device | str) -> Tensor:
    """Moves uint8 images (B, 3, h, w) to `device` as floats in [0, 1], channels last (fastest for convolutions)."""
    return images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last).float().div_(255)
