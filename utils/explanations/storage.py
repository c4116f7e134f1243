"""What the network says about a whole list, gathered on disk so that the list may be longer than memory and the run interrupted."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data.images import decode, to_tensor
from utils.data.lists import Example, read_explanations
from utils.data.loading import ImageSet, in_batches
from utils.data.outputs import MASK, Layout, explanation_name
from utils.explanations.explained import Explained, Stored, own_and_counters, spread, strongest_counters
from utils.running.resuming import Unfinished

# (N, 3 + B): 1 + the network's answer, 1 + its strongest wrong class, 1 + the number of constant maps, 1 + the B classes that it is
# explained against, ascending; 0 where a row is not done
ANSWERS = "answers"
ROWS_AT_ONCE = 16  # of a file that is compressed
FASTEST = 1  # level of compression: gaps vanish at any, and maps hardly shrink at all


class HeatmapFile:
    """Collects maps batch by batch and leaves them as the explainer names them, (N, ...), with `label` and `path` (N,).

    What is collected stands in parts in the folder of the unfinished run, where a run that goes on finds them. They are written to
    as files, not mapped into memory, where a full disk would end the process without a word. Of arrays `of_some` classes, the parts
    hold the maps that are made alone, and the file is compressed, which leaves next to nothing of the others.

    Args:
        path: the `.npz` to write.
        images: the list whose maps come.
        stored: shapes and types of the maps by name.
        num_counters: B, the number of classes that each image is explained against.
        unfinished: the run.
    """

    def __init__(
        self,
        path: Path,
        images: ImageSet[Example],
        stored: dict[str, Stored],
        num_counters: int,
        unfinished: Unfinished,
    ) -> None:
        self.path = path
        self.images = images
        self.stored = stored
        self.num_counters = num_counters
        self.unfinished = unfinished
        self._make_parts()
        processes.wait()

    def _part(self, name: str) -> Path:
        return self.unfinished.folder / f"{name}.npy"

    @property
    def size(self) -> int:
        """Bytes of all maps that are made."""
        return sum(self._part(name).stat().st_size for name in self.stored)

    def _gappy(self, name: str) -> bool:
        """Whether maps of some classes alone are made of an array."""
        return self.stored[name].of_some and 1 + self.num_counters < self.stored[name].shape[0]

    @processes.first_only
    def _make_parts(self) -> None:
        some = 1 + self.num_counters
        shapes = {
            name: (some, *array.shape[1:]) if self._gappy(name) else array.shape for name, array in self.stored.items()
        }
        parts = {name: Stored(shape, self.stored[name].kind) for name, shape in shapes.items()}
        for name, array in (parts | {ANSWERS: Stored((3 + self.num_counters,), np.dtype(np.int64))}).items():
            if not self._part(name).exists():
                self._make_part(name, (len(self.images), *array.shape), array.kind)

    def _store(self, name: str, numbers: list[int], values: np.ndarray) -> None:
        """Writes consecutive rows of a part; what was never written reads as 0."""
        place = np.load(self._part(name), mmap_mode="r").offset + numbers[0] * values[0].nbytes
        with open(self._part(name), "r+b") as file:
            file.seek(place)
            file.write(values.tobytes())

    def _make_part(self, name: str, shape: tuple[int, ...], kind: np.dtype) -> None:
        with replacing(self._part(name)) as temporary, open(temporary, "wb") as file:
            _write_header(file, shape, kind)
            file.truncate(file.tell() + int(np.prod(shape)) * kind.itemsize)

    def _read(self, name: str) -> np.ndarray:
        return np.load(self._part(name), mmap_mode="r")

    def add(self, numbers: list[int], label: Tensor, explained: Explained) -> None:
        """Stores the maps of the consecutive rows `numbers`, of the classes `label` (n,)."""
        images, classes = (
            torch.arange(len(label), device=label.device)[:, None],
            own_and_counters(label, explained.counter),
        )
        for name, array in self.stored.items():
            maps = explained.maps[name][images, classes] if self._gappy(name) else explained.maps[name]
            self._store(name, numbers, maps.cpu().numpy().astype(array.kind, copy=False))

    def finish(self, numbers: list[int], label: Tensor, explained: Explained, flat: Tensor) -> None:
        """Says that rows are done, their maps stored and their pictures written, by storing what the network answered.

        Args:
            numbers: consecutive rows, n.
            label: their classes, (n,).
            explained: what the network says of them.
            flat: of each row, how many of its maps of relevance are constant, (n,).
        """
        rivals = strongest_counters(explained.logits, label)[:, 0]
        values = torch.cat([torch.stack([explained.logits.argmax(1), rivals, flat], dim=1), explained.counter], dim=1)
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

    def maps(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """The maps of some rows, NaN where they are not made."""
        return {name: self._maps(name, list(numbers)) for name in self.stored}

    def _maps(self, name: str, numbers: list[int]) -> Tensor:
        maps = torch.from_numpy(self._read(name)[numbers])
        if not self._gappy(name):
            return maps
        classes = own_and_counters(self.images.labels[numbers], torch.from_numpy(self.counters()[numbers]))
        return spread(maps, classes, self.stored[name].shape[0])

    def write(self) -> None:
        """Writes the file from the parts, whole or not at all."""
        about = {"label": self.images.labels.numpy(), "path": np.array([row.path for row in self.images.rows])}
        with replacing(self.path) as temporary:
            if any(map(self._gappy, self.stored)):
                self._write_compressed(temporary, about)
            else:
                parts = {name: self._read(name) for name in self.stored}
                np.savez(temporary, **parts, **about)  # type: ignore[arg-type]  # no part is "allow_pickle"

    def _write_compressed(self, path: Path, about: dict[str, np.ndarray]) -> None:
        """What np.savez_compressed would write, some rows at a time: all of them, with their gaps, may not fit into memory."""
        groups = in_batches(range(len(self.images)), ROWS_AT_ONCE)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=FASTEST) as archive:
            for name, array in self.stored.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _write_header(member, (len(self.images), *array.shape), array.kind)
                    for numbers in groups:
                        member.write(self._maps(name, numbers).numpy().tobytes())
            for name, values in about.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)


def _write_header(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype) -> None:
    """How a file begins that holds an array."""
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


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
