"""What a course can be made of: the images of a list and their explanations, in the form that the student sees them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from utils.base.errors import InputError
from utils.data.catalog import Dataset
from utils.data.images import to_tensor, whole_view
from utils.data.lists import Example, Explanation, read_explanations
from utils.data.loading import ImageSet, open_list
from utils.data.outputs import IMG, MASK, explanation_name, sibling

ExplanationView = Literal["image", "attention"]


def match_explanations(
    images: ImageSet[Example], rows: Sequence[Explanation], source: str | Path, num_classes: int
) -> Tensor:
    """Finds the row of every explanation (i, b). A list may explain images against some wrong classes only, each against as many.

    Args:
        images: the example list.
        rows: the explanation list.
        source: the explanation list's file, for error messages.
        num_classes: C.

    Returns:
        Row numbers (N, C), -1 where the list has none (at b = c_i always).

    Raises:
        InputError: a row belongs to no example, contradicts its label, is named after another image or stands twice, or an image has
            fewer than others or none.
    """
    number_of = {row.index: number for number, row in enumerate(images.rows)}
    table = torch.full((len(images), num_classes), -1, dtype=torch.long)
    for line, row in enumerate(rows, start=1):
        number = number_of.get(row.index)
        if number is None:
            raise InputError(
                f"{source}, line {line}: {images.source} has no image of index {row.index}; explain that list anew."
            )
        if images.rows[number].label != row.label:
            raise InputError(
                f"{source}, line {line}: label {row.label}, but line {number + 1} of {images.source} says "
                f"{images.rows[number].label}; explain that list anew."
            )
        _refuse_others(row, images.rows[number], f"{source}, line {line}", f"line {number + 1} of {images.source}")
        if table[number, row.counter] >= 0:
            raise InputError(
                f"{source}, line {line}: repeats image {row.index} against class {row.counter}; explain the list anew."
            )
        table[number, row.counter] = line - 1
    _refuse_gaps(table, images, source)
    return table


def _refuse_others(row: Explanation, image: Example, where: str, there: str) -> None:
    """Proves that an explanation is called as that of its image is. Its index and label alone may be those of another image: a list that
    is made anew numbers its images anew.

    Raises:
        InputError: it is called otherwise; folders do not count.
    """
    name = explanation_name(image.path, row.label, row.counter, row.index)
    if row.path.rpartition("/")[2] != name:
        raise InputError(
            f"{where}: {row.path} is not named as an explanation of image {row.index}, {image.path} ({there}), is: {name}; explain that "
            "list anew."
        )


def _refuse_gaps(table: Tensor, images: ImageSet[Example], source: str | Path) -> None:
    """Proves that every image has as many explanations as any other, at least one: else rows were lost.

    Raises:
        InputError: naming the first image that has fewer.
    """
    counts = (table >= 0).sum(1)  # (N,)
    most, wanted = int(counts.max()), table.shape[1] - 1
    fewer = (counts < most).nonzero()
    if len(fewer):
        number = int(fewer[0])
        image = f"{images.rows[number].path} (line {number + 1} of {images.source})"
        absent = next(b for b, row in enumerate(table[number].tolist()) if row < 0 and b != images.rows[number].label)
        if most == wanted:
            raise InputError(f"{source} has no explanation of {image} against class {absent}; explain that list anew.")
        raise InputError(
            f"{source} has {counts[number]} explanations of {image}, and {most} of others; explain that list anew."
        )


def mask_weights(mask: Image.Image, grid: int) -> Tensor:
    """A 0/255 mask averaged down to the grid of the feature map: w in 0 .. 1, (grid, grid)."""
    inside = (to_tensor(mask)[:1] > 127).float()  # (1, h, w)
    return F.adaptive_avg_pool2d(inside, (grid, grid))[0]


class Pool:
    """Images and explanations of a list.

    Args:
        images: the example list, in the whole view of `image_size`.
        ce_list: the explanation list's file; None: nothing is explained.
        num_classes: C.
        view: how the student sees an explanation: `image`, as a picture of its own, or `attention`, as a region of the image.
        image_size: side of the images in pixels.

    Attributes:
        table: rows of the explanation list, (N, C), -1 where there is none (at b = c_i always).
        rows: the explanation list, empty where nothing is explained.
        explained: of each row, as uint8 (3, s, s), its picture in the image view, its mask in the attention view.

    Raises:
        InputError: the lists do not match, or a file is missing.
    """

    def __init__(
        self, images: ImageSet[Example], ce_list: str | None, num_classes: int, view: ExplanationView, image_size: int
    ) -> None:
        self.images = images
        self.view = view
        self._regions: dict[int, ImageSet[Explanation]] = {}
        self.rows: list[Explanation] = []
        if ce_list is None:
            self.table = torch.full((len(images), num_classes), -1)
            self.explained = ImageSet(self.rows, "no explanations", images.data_root, to_tensor, images.ram_budget)
            return
        self.rows = read_explanations(ce_list, num_classes)
        self.table = match_explanations(images, self.rows, ce_list, num_classes)
        if view == "attention":
            masks = [replace(row, path=sibling(row.path, IMG, MASK)) for row in self.rows]
            self.explained = ImageSet(masks, f"{ce_list} (masks)", images.data_root, to_tensor, images.ram_budget)
        else:
            self.explained = ImageSet(
                self.rows, ce_list, images.data_root, lambda image: whole_view(image, image_size), images.ram_budget
            )

    def __len__(self) -> int:
        return len(self.images)

    def weights(self, row: int, grid: int) -> Tensor:
        """Where the explanation of a row points, in the attention view, on the grid of a network's last feature map: (grid, grid).

        Raises:
            InputError: its mask is empty.
        """
        if grid not in self._regions:  # then several threads may come here at once, and one view is everyone's
            self._regions.setdefault(grid, self.explained.seen_as(partial(mask_weights, grid=grid)))
        weights = self._regions[grid][row]
        if not weights.any():
            raise InputError(
                f"{self.explained.source}, line {row + 1}: the mask {self.explained.rows[row].path} is empty; explain anew."
            )
        return weights

    def image_weights(self, number: int, grid: int) -> Tensor:
        """Where the explanations of an image point, against every class, (C, grid, grid); all ones at its own class."""
        ones = torch.ones(grid, grid)
        return torch.stack([self.weights(row, grid) if row >= 0 else ones for row in self.table[number].tolist()])


@dataclass(frozen=True)
class PoolSettings:
    """Settings of a pool: where its lists and pictures are, how an explanation is seen, and the side of the images in pixels."""

    data_root: str
    ce_list: str
    explanation_view: ExplanationView
    image_size: int
    ram_budget: float = 0


def open_pool(dataset: Dataset, how: PoolSettings) -> Pool:
    """The training list of a dataset and its explanations.

    Raises:
        InputError: a list or an image is missing or malformed, or the lists do not match.
    """
    images = open_list(
        dataset, "train", how.data_root, partial(whole_view, size=how.image_size), ram_budget=how.ram_budget
    )
    return Pool(images, how.ce_list, len(dataset.classes), how.explanation_view, how.image_size)
