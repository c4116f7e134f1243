"""The maps of a whole list in one `.npz`, gathered on disk so that the list may be longer than memory."""

from pathlib import Path

import numpy as np

from utils.attribution import Maps
from utils.files import replacing
from utils.loading import ImageSet


class HeatmapFile:
    """Collects maps batch by batch and leaves `attribution` (N, C, H, W), `confidence` (N, H, W), `label` and `path` (N,).

    Used as a context manager; the file appears at the end, whole, and not at all after an error.

    Args:
        path: the `.npz` to write.
        images: the list whose maps come.
    """

    def __init__(self, path: Path, images: ImageSet) -> None:
        self.path = path
        self.images = images
        self._arrays: dict[str, np.memmap] = {}

    def __enter__(self) -> "HeatmapFile":
        return self

    def _part(self, name: str) -> Path:
        return self.path.with_name(f".{self.path.stem}.{name}.part.npy")

    def add(self, numbers: list[int], maps: Maps) -> None:
        """Stores the maps of the rows `numbers`."""
        for name, value in maps._asdict().items():
            value = value.cpu().numpy()
            if name not in self._arrays:
                shape = (len(self.images), *value.shape[1:])
                self._arrays[name] = np.lib.format.open_memmap(self._part(name), mode="w+", dtype=np.float32, shape=shape)
            self._arrays[name][numbers] = value

    def __exit__(self, kind, error, trace) -> None:
        try:
            if error is None:
                paths = np.array([row.path for row in self.images.rows])
                with replacing(self.path) as temporary:
                    np.savez(temporary, **self._arrays, label=self.images.labels.numpy(), path=paths)
        finally:
            for name in Maps._fields:
                self._part(name).unlink(missing_ok=True)
