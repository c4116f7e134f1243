"""How a network sees a list: its feature maps, batch by batch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.resnet import Network
from utils.base import processes
from utils.data.loading import ImageSet, batches, in_batches, to_float

HELD_BUDGET = 2 * 2**30  # bytes of feature maps that one list may hold


class FeatureMaps:
    """The feature maps of a list, in evaluation mode; iterated once for every look of the network at the list.

    A frozen backbone sees the same each time, so its maps are computed at the first look and held if all of them fit the budget; as soon
    as it shows that they do not, none are. Of several processes each looks at its share of the batches.

    Args:
        network: the network.
        images: the list.
        batch_size: images per forward pass.
        workers: threads that load.
        device: where the network lives.
        budget: bytes that may be held.
    """

    def __init__(
        self,
        network: Network,
        images: ImageSet,
        batch_size: int,
        workers: int,
        device: str,
        budget: int = HELD_BUDGET,
    ) -> None:
        self.network = network
        self.images = images
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self._budget = budget
        self._held: list[tuple[list[int], Tensor]] | None = None

    def groups(self) -> list[list[int]]:
        """The row numbers of the batches, in the order in which this process looks at them."""
        return list(processes.share(in_batches(range(len(self.images)), self.batch_size)))

    def __iter__(self) -> Iterator[tuple[list[int], Tensor]]:
        """Yields row numbers and feature maps (B, d, H, W) of batch after batch."""
        if self._held is not None:
            yield from self._held
            return
        held, room = [], self._budget if self.network.backbone_frozen else 0
        network = self.network.folded()
        for numbers, pixels in batches(self.images.__getitem__, self.groups(), self.workers):
            with torch.inference_mode():
                maps = network.feature_map(to_float(pixels, self.device))
            room -= maps.nbytes
            if room >= 0:
                held.append((numbers, maps))
            else:
                held.clear()  # now: the pass may be long, and they lie where the network computes
            yield numbers, maps
        self._held = held if room >= 0 else None

    @torch.no_grad()  # not inference mode: a probe is trained on what this returns
    def pooled(self) -> Tensor:
        """The features of all rows, (N, d), on the CPU."""
        features = torch.zeros(len(self.images), self.network.num_features)
        for numbers, maps in self:
            features[numbers] = maps.mean((2, 3)).cpu()
        return processes.merged(features, self.device)
