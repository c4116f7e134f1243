"""What an explanation run stores: its working arrays, heatmaps.npz, and the record of an explanation list."""

import dataclasses
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import replacing, write_json
from utils.data.images import decode, to_tensor
from utils.data.lists import Example, read_explanations
from utils.data.loading import ImageSet, in_batches
from utils.data.outputs import MASK, Layout, explanation_name, listed_size
from utils.running import resuming
from utils.running.resuming import Unfinished

ROWS_AT_ONCE = 16  # rows of heatmaps.npz that are in memory at once while it is written
FASTEST = 1  # compression level; NaN shrinks at any level, and maps hardly at all
# Settings that are no property of the explanations.
PLACES = {"out", "data_root", "checkpoint", "device", "workers", "resume"}


@dataclasses.dataclass(frozen=True)
class Explained:
    """Explanations of N images of C classes, each against B counter classes.

    Attributes:
        logits: (N, C).
        counter: the counter classes, ascending, (N, B).
        relevance: evidence for the image's class and against the counter class, 0 or more, (N, B, H, W).
        maps: the arrays to store, by name, as `Explainer.stored` describes them.
    """

    logits: Tensor
    counter: Tensor
    relevance: Tensor
    maps: dict[str, Tensor]


class Stored(NamedTuple):
    """One array of heatmaps.npz.

    Attributes:
        shape: without the axis of the images.
        kind: its type.
        of_some: the first axis of `shape` is that of the classes, and `Explained.maps` contains only the own class and the counter
            classes of each image, ascending. In the file, the maps of all other classes are NaN.
    """

    shape: tuple[int, ...]
    kind: np.dtype
    of_some: bool = False


def own_and_counters(label: Tensor, counter: Tensor) -> Tensor:
    """Joins the classes of images (N,) with their counter classes (N, B): (N, 1 + B), ascending."""
    return torch.cat([label[:, None], counter], dim=1).sort(1).values


def spread(some: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Puts maps (N, K, ...) of the classes (N, K) at their places among all C classes: (N, C, ...), NaN elsewhere."""
    maps = some.new_full((len(some), num_classes, *some.shape[2:]), torch.nan)
    maps[torch.arange(len(some), device=some.device)[:, None], classes] = some
    return maps


class Heatmaps:
    """Collects the results of a run batch by batch, and writes heatmaps.npz (`path`) at the end.

    The working arrays are files in the folder of the unfinished run, so a list may exceed memory and a resumed run knows what is done.
    Each access maps a file only briefly, because mapped pages count as memory of the process. `num_counters` is B.
    """

    def __init__(
        self,
        path: Path,
        images: ImageSet[Example],
        stored: dict[str, Stored],
        num_counters: int,
        unfinished: Unfinished,
    ) -> None:
        self.path, self.images, self.stored = path, images, stored
        self.num_counters, self.unfinished = num_counters, unfinished
        arrays = {"answers": ((3 + num_counters,), np.dtype(np.int64)), "done": ((), np.dtype(np.bool_))}
        for name, array in stored.items():
            arrays[name] = ((1 + num_counters, *array.shape[1:]) if array.of_some else array.shape, array.kind)
        for name, (shape, kind) in arrays.items():
            self._make(name, (len(images), *shape), kind)
        processes.wait()

    @processes.first_only
    def _make(self, name: str, shape: tuple[int, ...], kind: np.dtype) -> None:
        """Makes a working array of zeros, unless an interrupted run left it."""
        if self._file(name).exists():
            return
        with replacing(self._file(name)) as temporary:
            np.lib.format.open_memmap(temporary, "w+", kind, shape)
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here; later it would kill the process
                with open(temporary, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)

    def _file(self, name: str) -> Path:
        return self.unfinished.folder / f"{name}.npy"

    def _open(self, name: str, mode: str = "r") -> np.ndarray:
        return np.load(self._file(name), mmap_mode=mode)

    def done(self) -> np.ndarray:
        """Returns which images are done, bool (N,)."""
        return np.array(self._open("done"))

    def answers(self) -> np.ndarray:
        """Predicted class, strongest wrong class, number of constant maps and counter classes of each image, (N, 3 + B)."""
        return self._open("answers")

    def add(self, numbers: list[int], maps: dict[str, Tensor], answers: Tensor) -> None:
        """Stores the images `numbers` and marks them as done; maps as in `Explained`, answers as in `answers`, on the CPU."""
        for name, array in self.stored.items():
            self._open(name, "r+")[numbers] = maps[name].numpy().astype(array.kind, copy=False)
        self._open("answers", "r+")[numbers] = answers.numpy()
        self._open("done", "r+")[numbers] = True
        self.unfinished.advanced = True

    def maps(self, name: str, numbers: list[int]) -> Tensor:
        """Returns some rows of an array as heatmaps.npz contains them."""
        maps = torch.from_numpy(self._open(name)[numbers])
        if not self.stored[name].of_some:
            return maps
        counter = torch.from_numpy(self.answers()[numbers, 3:])
        return spread(maps, own_and_counters(self.images.labels[numbers], counter), self.stored[name].shape[0])

    def write(self) -> None:
        """Writes heatmaps.npz, a few rows at a time. It is compressed if it contains gaps."""
        gaps = any(array.of_some and array.shape[0] > 1 + self.num_counters for array in self.stored.values())
        method, count = zipfile.ZIP_DEFLATED if gaps else zipfile.ZIP_STORED, len(self.images)
        with (
            replacing(self.path) as temporary,
            zipfile.ZipFile(temporary, "w", method, compresslevel=FASTEST) as archive,
        ):
            for name, (shape, kind, _) in self.stored.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    header = {"descr": kind.str, "fortran_order": False, "shape": (count, *shape)}
                    np.lib.format.write_array_header_1_0(member, header)
                    for numbers in in_batches(range(count), ROWS_AT_ONCE):
                        member.write(self.maps(name, numbers).numpy().tobytes())
            paths = np.array([row.path for row in self.images.rows])
            for name, values in {"label": self.images.labels.numpy(), "path": paths}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)


@processes.first_only
def write_explanation_record(cfg, layout: Layout) -> None:
    """Writes how an explanation list was made: settings, and the SHA-256 of the teacher and the example list.

    It contains no paths, times or versions: the same explanations have the same record.
    """
    digests = resuming.inputs(cfg)
    contents = {name: digest for name, digest in digests.items() if name not in ("test list", "rest list")}
    settings = {name: value for name, value in dataclasses.asdict(cfg).items() if name not in PLACES | set(contents)}
    about = {"variant": layout.variant, "mask_size": listed_size(cfg.mask_sizes), "contents": contents}
    write_json(layout.explanation_record, settings | about)


def listed_counters(layout: Layout, rows: Sequence[Example], num_classes: int) -> list[list[int]]:
    """Returns the counter classes of each image, ascending, as the explanation list names them.

    Raises:
        InputError: the explanation list is missing or malformed, or an image is not in it.
    """
    path = layout.explanation_list()
    found: dict[int, list[int]] = {}
    for explanation in read_explanations(path, num_classes):
        found.setdefault(explanation.index, []).append(explanation.counter)
    for row in rows:
        if row.index not in found:
            raise InputError(f"{path} has no explanation of {row.path} (index {row.index}). Explain that list again.")
    return [sorted(found[row.index]) for row in rows]


def read_masks(layout: Layout, row: Example, counter: Sequence[int], size: float) -> Tensor:
    """Reads the masks of an image against some counter classes at one mask size, bool (B, s, s).

    Raises:
        InputError: a mask is missing or cannot be decoded.
    """
    names = [explanation_name(row.path, row.label, b, row.index) for b in counter]
    files = [str(layout.explanations(MASK, size) / name) for name in names]
    return torch.stack([to_tensor(decode(file, str(layout.explanation_list())))[0] > 127 for file in files])
