"""Feature maps of a list, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from models.resnet import Network
from utils.base import processes
from utils.data.loading import ImageSet, batches, in_batches, to_float

BUDGET = 2 * 2**30  # bytes of feature maps that a list may keep


@dataclass(eq=False)
class FeatureMaps:
    """Feature maps of a list in evaluation mode; each iteration is one pass over this rank's batches.

    The maps of a frozen backbone are kept after the first pass if all of them fit into `budget` bytes.
    """

    network: Network
    images: ImageSet
    batch_size: int
    workers: int
    device: str
    budget: int = BUDGET
    _kept: list[tuple[list[int], Tensor]] | None = field(default=None, init=False)

    def groups(self) -> list[list[int]]:
        """Returns the row numbers of this rank's batches."""
        return list(processes.share(in_batches(range(len(self.images)), self.batch_size)))

    def __iter__(self) -> Iterator[tuple[list[int], Tensor]]:
        """Yields row numbers and feature maps (B, d, H, W)."""
        if self._kept is not None:
            yield from self._kept
            return
        kept, bytes_left = [], self.budget if self.network.backbone_frozen else 0
        network = self.network.folded()
        for numbers, pixels in batches(self.images.__getitem__, self.groups(), self.workers):
            with torch.inference_mode():
                maps = network.feature_map(to_float(pixels, self.device))
            bytes_left -= maps.nbytes
            if bytes_left >= 0:
                kept.append((numbers, maps))
            else:
                kept.clear()  # frees memory for the rest of the pass
            yield numbers, maps
        self._kept = kept if bytes_left >= 0 else None

    @torch.no_grad()  # not inference mode: a probe is trained on the result
    def pooled(self) -> Tensor:
        """Returns the features of all rows, (N, d) on the CPU."""
        features = torch.zeros(len(self.images), self.network.num_features)
        for numbers, maps in tqdm(self, "features", len(self.groups()), unit="batch", disable=not processes.is_first()):
            features[numbers] = maps.mean((2, 3)).cpu()
        return processes.merged(features, self.device)
