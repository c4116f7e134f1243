"""The pool of a course: a list of images and their explanations, in the view of the student."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from utils.base.errors import InputError
from utils.data.catalog import Dataset
from utils.data.images import eval_view, to_tensor, whole_view
from utils.data.lists import Example, Explanation, read_explanations
from utils.data.loading import ImageSet, open_list
from utils.data.outputs import IMG, MASK, explanation_name, sibling
from utils.explanations.faithfulness import trusted
from utils.running.records import check_explained

ExplanationView = Literal["image", "attention"]


def match_explanations(
    images: ImageSet[Example], rows: Sequence[Explanation], source: str | Path, num_classes: int
) -> Tensor:
    """Returns the row of every explanation (i, b) in an explanation list, (N, C); -1 if missing (always at b = c_i).

    Raises InputError if a row explains no listed image, or images have different numbers of rows.
    """
    number_of = {row.index: number for number, row in enumerate(images.rows)}
    table = torch.full((len(images), num_classes), -1, dtype=torch.long)
    for line, row in enumerate(rows, start=1):
        number = number_of.get(row.index)
        image = None if number is None else images.rows[number]
        # Names are compared too, because a new version of a list may have other images at the same indices.
        name = image and explanation_name(image.path, image.label, row.counter, row.index)
        if image is None or Path(row.path).name != name or image.label != row.label:
            raise InputError(
                f"{source}, line {line}: {row.path} is not an explanation of an image of {images.source}. "
                "Explain that list again."
            )
        table[number, row.counter] = line - 1
    counts = (table >= 0).sum(1)  # (N,)
    if counts.min() < counts.max():
        image = images.rows[int(counts.argmin())]
        raise InputError(
            f"{source} has {counts.min()} explanations of {image.path}, but {counts.max()} of other images. "
            "Explain the list again."
        )
    return table


def mask_weights(mask: Image.Image, grid: int) -> Tensor:
    """Averages a 0/255 mask over the cells of a feature map: w in 0 .. 1, (grid, grid)."""
    inside = (to_tensor(mask)[:1] > 127).float()  # (1, h, w)
    return F.adaptive_avg_pool2d(inside, (grid, grid))[0]


class Pool:
    """Images of a list, in the whole view of `image_size`, and their explanations (None: no explanations).

    `view`: the student sees an explanation as a picture (`image`) or as a region of its image (`attention`).

    Attributes:
        rows: the explanation list.
        table: its row for every image and class, as in `match_explanations`.
        outlined: True for rows that people see outlined, bool (M,), with the `threshold`; see `trusted`.
        explained: pictures of its rows in the image view, masks in the attention view, uint8 (3, s, s).

    Raises InputError if the lists do not match, a file is missing, or a picture has changed since it was explained.
    """

    def __init__(
        self,
        images: ImageSet[Example],
        ce_list: str | None,
        num_classes: int,
        view: ExplanationView,
        image_size: int,
        outlined_share: float = 1.0,
    ) -> None:
        self.images = images
        self.view = view
        self.rows = read_explanations(ce_list, num_classes) if ce_list else []
        self.table = torch.full((len(images), num_classes), -1)
        if ce_list:
            self.table = match_explanations(images, self.rows, ce_list, num_classes)
            check_explained(ce_list, images.data_root)
        outlined, self.threshold = trusted(ce_list, outlined_share, self.rows) if ce_list else ({}, "")
        self.outlined = torch.tensor([outlined.get(Path(row.path).name, True) for row in self.rows], dtype=torch.bool)
        shown = self.rows
        view_of_one: Callable[[Image.Image], Tensor] = partial(whole_view, size=image_size)
        if view == "attention":
            shown, view_of_one = [replace(row, path=sibling(row.path, IMG, MASK)) for row in self.rows], to_tensor
        self.explained = ImageSet(shown, ce_list or "no explanations", images.data_root, view_of_one, images.ram_budget)
        self._regions: dict[int, ImageSet[Explanation]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def weights(self, row: int, grid: int) -> Tensor:
        """The mask of an explanation as in `mask_weights`; attention view only. Raises InputError if it is empty."""
        if grid not in self._regions:
            # Several threads may be here at once.
            self._regions.setdefault(grid, self.explained.seen_as(partial(mask_weights, grid=grid)))
        weights = self._regions[grid][row]
        if not weights.any():
            mask = f"{self.explained.source}, line {row + 1}: the mask {self.explained.rows[row].path}"
            raise InputError(f"{mask} is empty. Explain the list again.")
        return weights

    def image_weights(self, number: int, grid: int) -> Tensor:
        """Masks of an image's explanations against every class, (C, grid, grid); ones if an explanation is missing."""
        ones = torch.ones(grid, grid)
        return torch.stack([self.weights(row, grid) if row >= 0 else ones for row in self.table[number].tolist()])


def open_pool(dataset: Dataset, cfg) -> tuple[Pool, ImageSet[Example]]:
    """Opens the images and explanations to choose from, and the test images; `cfg` is the `Config` of the script."""
    whole, cropped = (partial(view, size=cfg.image_size) for view in (whole_view, eval_view))
    images = open_list(dataset, "train", cfg.data_root, whole, ram_budget=cfg.ram_budget)
    test = open_list(dataset, "test", cfg.data_root, cropped, ram_budget=cfg.ram_budget)
    how = cfg.explanation_view, cfg.image_size, cfg.outlined_share
    return Pool(images, cfg.ce_list, len(dataset.classes), *how), test
