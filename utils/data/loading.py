"""From lists to batches: images are kept in memory as uint8 within a RAM budget and read ahead by threads."""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor

from utils.base import processes
from utils.base.errors import InputError
from utils.base.machine import helpers
from utils.data.catalog import Dataset
from utils.data.images import decode
from utils.data.lists import UNKNOWN, Example, Explanation, check_files, locate, read_examples

READ_AHEAD = 2  # batches that threads prepare while the network computes

Row = TypeVar("Row", bound=Example | Explanation, covariant=True)


class ImageSet(Generic[Row]):
    """The images of a list. Decoded images are kept in memory until the RAM budget is used up; the others are decoded each time.

    Args:
        rows: rows of an example or explanation list.
        source: the list file, for error messages.
        data_root: the folder that `./datasets/` in the list stands for.
        view: turns a decoded image into the uint8 tensor (3, h, w) that is kept.
        ram_budget: GiB of views to keep, shared by the processes on this machine; it never changes a result.

    Raises:
        InputError: a listed file is missing or empty.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        source: str | Path,
        data_root: str | Path,
        view: Callable[[Image.Image], Tensor],
        ram_budget: float = 0,
    ) -> None:
        check_files(rows, source, data_root)
        self.rows = rows
        self.source = source
        self.data_root = data_root
        self.view = view
        self.labels = torch.tensor([row.label for row in rows])  # (N,)
        self.ram_budget = ram_budget
        self._bytes_left = int(ram_budget * 2**30) // processes.on_this_node()
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_known(self) -> int:
        """Number of images with a known label; accuracies are computed on these."""
        return int((self.labels != UNKNOWN).sum())

    def seen_as(self, view: Callable[[Image.Image], Tensor]) -> "ImageSet[Row]":
        """The same images in another view; none of them is kept yet."""
        other = copy.copy(self)
        other.view, other._kept = view, {}
        return other

    def __getitem__(self, number: int) -> Tensor:
        """The view of row `number`, uint8 (3, h, w).

        Raises:
            InputError: the image cannot be decoded.
        """
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
    view: Callable[[Image.Image], Tensor],
    list_path: str | None = None,
    ram_budget: float = 0,
    labels: bool = True,
) -> ImageSet[Example]:
    """Opens a list of a dataset.

    Args:
        dataset: the dataset.
        split: "train", "test" or "rest".
        data_root: the folder that contains the dataset's folder.
        view, ram_budget: as in `ImageSet`.
        list_path: another list of the same classes, in which an image may have several rows, such as a teaching set.
        labels: set to False if labels are not used; then a training list that is a rest list may have unknown ones.

    Raises:
        InputError: the list or an image is missing or malformed, an index is repeated, or a class has no training image.
    """
    path = list_path or dataset.list_path(data_root, split)
    unlabelled = split != "train" or (dataset.trains_on_rest and not labels)
    rows = read_examples(path, len(dataset.classes), unique=list_path is None, rest=unlabelled)
    present = {row.label for row in rows}
    absent = [name for label, name in enumerate(dataset.classes) if label not in present]
    if absent and split == "train" and not unlabelled:
        raise InputError(f"{path} has no image of class {absent[0]}. Add some; a classifier needs all classes.")
    return ImageSet(rows, path, data_root, view, ram_budget)


def in_batches(order: Sequence[int], batch_size: int, smallest: int = 1) -> list[list[int]]:
    """Cuts a sequence into batches. A last batch of fewer than `smallest` joins the one before it."""
    order = list(order)
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(groups) > 1 and len(groups[-1]) < smallest:
        last = groups.pop()
        groups[-1] += last
    return groups


def batches(
    load: Callable[[int], Tensor], groups: Sequence[list[int]], workers: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Loads batches ahead in threads while the caller computes.

    Threads, not processes: decoding and resizing release Python's lock, and threads share the decoded images.

    Args:
        load: from a number to a tensor, all of one shape, such as an image, uint8 (3, h, w).
        groups: the numbers of each batch.
        workers: number of threads; 0 loads in the calling thread.

    Yields:
        The numbers of a batch and its stacked tensors, such as uint8 (B, 3, h, w).
    """
    if workers == 0:
        for group in groups:
            yield group, torch.stack([load(number) for number in group])
        return
    with helpers(workers) as pool:
        ahead: deque[tuple[list[int], list[Future]]] = deque()
        try:
            for group in groups:
                ahead.append((group, [pool.submit(load, number) for number in group]))
                if len(ahead) > READ_AHEAD:
                    yield _collect(*ahead.popleft())
            while ahead:
                yield _collect(*ahead.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(group: list[int], tensors: list[Future]) -> tuple[list[int], Tensor]:
    return group, torch.stack([tensor.result() for tensor in tensors])


def to_float(images: Tensor, device: torch.device | str) -> Tensor:
    """Moves uint8 images (B, 3, h, w) to `device` as floats in [0, 1], channels last (fastest for convolutions)."""
    return images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last).float().div_(255)
