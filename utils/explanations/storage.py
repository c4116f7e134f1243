"""Files of an explanation run: results of its batches, heatmaps.npz, the record; and reading lists and masks back."""

import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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

# Stored next to the explainer's maps: logits (N, C); effects of blurring (N, B, 3); for each image the number of its
# constant maps, and its CRC-32 (N,).
LOGITS, EFFECTS, CONSTANT, CHECKSUM = OTHERS = "logits", "effects", "constant", "checksum"
# Settings that do not describe the explanations.
PLACES = {"out", "data_root", "checkpoint", "device", "workers", "resume"}


@dataclasses.dataclass(frozen=True)
class Results:
    """Results of a run, one file per batch, because a list may exceed memory. A batch is done if its file exists."""

    folder: Path  # of the unfinished run
    batches: Sequence[list[int]]  # numbers of the images of each batch
    gaps: bool  # maps of some classes are NaN, so files are compressed

    def _file(self, numbers: list[int]) -> Path:
        return self.folder / f"batch_{numbers[0]}.npz"

    def missing(self, batches: Sequence[list[int]]) -> list[list[int]]:
        return [numbers for numbers in batches if not self._file(numbers).exists()]

    def add(self, numbers: list[int], arrays: dict[str, Tensor]) -> None:
        """Stores arrays (n, ...) of a batch of n images, and marks the batch as done."""
        content: dict[str, Any] = {name: values.numpy() for name, values in arrays.items()}
        save = np.savez_compressed if self.gaps else np.savez
        with replacing(self._file(numbers)) as temporary:
            save(temporary, **content)

    def read(self, name: str) -> Iterator[np.ndarray]:
        """Yields an array batch by batch."""
        for numbers in self.batches:
            with np.load(self._file(numbers)) as batch:
                yield batch[name]

    def maps(self, number: int) -> dict[str, Tensor]:
        """Returns the maps of one image, (1, ...)."""
        (numbers,) = (batch for batch in self.batches if number in batch)
        with np.load(self._file(numbers)) as batch:
            names = [name for name in batch.files if name not in OTHERS]
            return {name: torch.from_numpy(batch[name][[numbers.index(number)]]) for name in names}

    def checksums(self, rows: Sequence[Example]) -> dict[str, int]:
        """CRC-32 of the explained pictures by listed path; `rows` are all images."""
        found: dict[str, int] = {}
        for numbers in self.batches:
            if self._file(numbers).exists():
                with np.load(self._file(numbers)) as batch:
                    found |= zip((rows[number].path for number in numbers), batch[CHECKSUM].tolist(), strict=True)
        return found

    def write_heatmaps(self, path: Path, rows: Sequence[Example]) -> None:
        """Writes heatmaps.npz: the maps, `label` and `path` of all images."""
        method = zipfile.ZIP_DEFLATED if self.gaps else zipfile.ZIP_STORED
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", method, compresslevel=1) as archive:
            for name, values in self.maps(0).items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    first = values.numpy()
                    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (len(rows), *first.shape[1:])}
                    np.lib.format.write_array_header_1_0(member, header)
                    for part in self.read(name):
                        member.write(part.tobytes())
            about = {"label": np.array([row.label for row in rows]), "path": np.array([row.path for row in rows])}
            for name, column in about.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, column, allow_pickle=False)


@processes.first_only
def write_explanation_record(cfg, layout: Layout, images: ImageSet[Example], folder: Path) -> None:
    """Writes how an explanation list was made: settings, SHA-256 of teacher and example list, CRC-32 of the pictures.

    It contains no output paths, times or versions: the same explanations have the same record. `folder` has batches.
    """
    digests = resuming.inputs(cfg)
    used = {name: digest for name, digest in digests.items() if name not in ("test list", "rest list")}
    record = {name: value for name, value in dataclasses.asdict(cfg).items() if name not in PLACES | set(used)}
    record |= {"variant": layout.variant, "mask_size": listed_size(cfg.mask_sizes)}
    record |= {f"content of {name}": digest[:16] for name, digest in used.items()}
    results = Results(folder, in_batches(range(len(images)), cfg.batch_size), gaps=False)
    write_json(layout.explanation_record, record | {"pictures": results.checksums(images.rows)})


def listed_counters(layout: Layout, rows: Sequence[Example], num_classes: int) -> list[list[int]]:
    """Returns the counter classes of each image, ascending, as the explanation list names them.

    Raises InputError if the explanation list is missing or malformed, or an image is not in it.
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
    """Reads the masks of an image against B counter classes, bool (B, s, s). Raises InputError if one is missing."""
    names = [explanation_name(row.path, row.label, b, row.index) for b in counter]
    files = [str(layout.explanations(MASK, size) / name) for name in names]
    return torch.stack([to_tensor(decode(file, str(layout.explanation_list())))[0] > 127 for file in files])
