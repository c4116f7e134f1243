"""What the network says about a whole list, gathered on disk so that the list may be longer than memory and the run interrupted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data.images import decode, to_tensor
from utils.data.lists import Example, read_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import MASK, Layout, explanation_name
from utils.explanations.explained import Stored
from utils.running.resuming import Unfinished

# (N, 3 + B): 1 + the network's answer, 1 + its strongest wrong class, 1 + the number of constant maps, 1 + the B classes that it is
# explained against, ascending; 0 where a row is not done
ANSWERS = "answers"


class HeatmapFile:
    """Collects maps batch by batch and leaves them as the explainer names them, (N, ...), with `label` and `path` (N,).

    What is collected stands in parts in the folder of the unfinished run, where a run that goes on finds them. They are written to
    as files, not mapped into memory, where a full disk would end the process without a word.

    Args:
        path: the `.npz` to write.
        images: the list whose maps come.
        stored: shapes and types of the maps by name.
        num_counters: B, the number of classes that each image is explained against.
        unfinished: the run.
    """

    def __init__(self, path: Path, images: ImageSet[Example], stored: dict[str, Stored], num_counters: int, unfinished: Unfinished) -> None:
        self.path = path
        self.images = images
        self.stored = stored
        self.num_counters = num_counters
        self.unfinished = unfinished
        self._make_parts()
        processes.wait()

    def _part(self, name: str) -> Path:
        return self.unfinished.folder / f"{name}.npy"

    @processes.first_only
    def _make_parts(self) -> None:
        for name, (shape, kind) in (self.stored | {ANSWERS: Stored((3 + self.num_counters,), np.dtype(np.int64))}).items():
            if not self._part(name).exists():
                self._make_part(name, (len(self.images), *shape), kind)

    def _store(self, name: str, numbers: list[int], values: np.ndarray) -> None:
        """Writes consecutive rows of a part; what was never written reads as 0."""
        place = np.load(self._part(name), mmap_mode="r").offset + numbers[0] * values[0].nbytes
        with open(self._part(name), "r+b") as file:
            file.seek(place)
            file.write(values.tobytes())

    def _make_part(self, name: str, shape: tuple[int, ...], kind: np.dtype) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        with replacing(self._part(name)) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + int(np.prod(shape)) * kind.itemsize)

    def _read(self, name: str) -> np.ndarray:
        return np.load(self._part(name), mmap_mode="r")

    def add(self, numbers: list[int], maps: dict[str, Tensor]) -> None:
        """Stores the maps of the consecutive rows `numbers`."""
        for name, (_, kind) in self.stored.items():
            self._store(name, numbers, maps[name].cpu().numpy().astype(kind, copy=False))

    def finish(self, numbers: list[int], answers: Tensor, rivals: Tensor, flat: Tensor, counter: Tensor) -> None:
        """Says that rows are done, their maps stored and their pictures written, by storing what the network answered.

        Args:
            numbers: consecutive rows, n.
            answers: the network's answers, (n,).
            rivals: its strongest wrong classes, (n,).
            flat: of each row, how many of its maps of relevance are constant, (n,).
            counter: the classes that it is explained against, ascending, (n, B).
        """
        values = torch.cat([torch.stack([answers, rivals, flat], dim=1), counter], dim=1)
        self._store(ANSWERS, numbers, 1 + values.cpu().numpy())
        self.unfinished.advanced = True

    def done(self) -> np.ndarray:
        """Which rows are done, bool (N,)."""
        return np.all(self._read(ANSWERS) > 0, axis=1)

    def answers(self) -> Tensor:
        """The network's answer and its strongest wrong class for every row, (N, 2)."""
        return torch.from_numpy(self._read(ANSWERS)[:, :2] - 1)

    def counters(self) -> np.ndarray:
        """The classes that each row is explained against, ascending, (N, B); -1 where a row is not done."""
        return self._read(ANSWERS)[:, 3:] - 1

    def constant_maps(self) -> int:
        """How many maps of relevance are constant, over all rows."""
        return int((self._read(ANSWERS)[:, 2] - 1).sum())

    def maps(self, numbers: list[int]) -> dict[str, Tensor]:
        """The maps of some rows."""
        return {name: torch.from_numpy(self._read(name)[numbers]) for name in self.stored}

    def write(self) -> None:
        """Writes the file from the parts, whole or not at all."""
        parts = {name: self._read(name) for name in self.stored}
        paths = np.array([row.path for row in self.images.rows])
        with replacing(self.path) as temporary:
            np.savez(temporary, **parts, label=self.images.labels.numpy(), path=paths)  # type: ignore[arg-type]  # no part is "allow_pickle"


def listed_counters(layout: Layout, rows: Sequence[Example], num_classes: int) -> list[list[int]]:
    """The classes that each image of a list is explained against, ascending, as the explanation list in an output folder says; every
    wrong class where there is no such list.

    Raises:
        InputError: the explanation list is malformed, or does not have every image.
    """
    path = layout.explanation_list()
    if not path.exists():
        return [[b for b in range(num_classes) if b != row.label] for row in rows]
    found: dict[int, list[int]] = {}
    for explanation in read_explanations(path, num_classes):
        found.setdefault(explanation.index, []).append(explanation.counter)
    for row in rows:
        if row.index not in found:
            raise InputError(f"{path} has no explanation of {row.path} (index {row.index}); explain that list anew.")
    return [sorted(found[row.index]) for row in rows]


def read_masks(layout: Layout, row: Example, counter: Sequence[int], size: float) -> Tensor:
    """The masks of an image against some counter classes at one mask size, bool (B, s, s).

    Raises:
        InputError: one is missing or cannot be decoded.
    """
    files = [layout.explanations(MASK, size) / explanation_name(row.path, row.label, b, row.index) for b in counter]
    return torch.stack([to_tensor(decode(str(file), str(layout.explanation_list())))[0] > 127 for file in files])
