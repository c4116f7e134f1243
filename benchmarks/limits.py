"""What no implementation can avoid: a bare forward pass, decoding each image, encoding each picture."""

from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.timing import seconds
from models.resnet import Layer, Network
from utils.base.files import encode_png
from utils.base.machine import side_by_side
from utils.data.loading import ImageSet

BATCHES = (8, 16, 32, 64, 128)  # images per pass that are tried
TRIED_ON = 32  # images; the batches above it are tried on GPUs alone, on which they cost nothing


class BareForward:
    """The network's forward pass and nothing else, in the batch size and memory format that are fastest here.

    Tries the network as it is and with its batch norm folded, in both memory layouts, in every batch size.

    Args:
        network: the network.
        images: some images as floats (N, 3, s, s) to try on, on the network's device.
        device: where they are.
    """

    def __init__(self, network: Network, images: Tensor, device: str) -> None:
        images = images if device.startswith("cuda") else images[:TRIED_ON]
        best = float("inf")
        for tried in (network.eval(), network.folded()):
            for layout in (torch.contiguous_format, torch.channels_last):
                for batch in [size for size in BATCHES if size <= max(len(images), BATCHES[0])]:
                    forward = (tried, layout, batch)
                    self.use(*forward)
                    prepared = self.prepare(images)
                    self(prepared[:1])  # the first call of a shape costs more than all others
                    wall = min(seconds(partial(self, prepared), device)[0] for _ in range(2))
                    if wall < best:
                        best, fastest = wall, forward
        self.use(*fastest)

    def use(self, network: Network, layout: torch.memory_format, batch: int) -> None:
        """Settles on a network, a memory layout and a batch size."""
        self.network, self.layout, self.batch = network, layout, batch

    def prepare(self, images: Tensor) -> list[Tensor]:
        """Images (N, 3, s, s) as the batches that it takes."""
        return [batch.contiguous(memory_format=self.layout) for batch in images.split(self.batch)]

    @torch.inference_mode()
    def __call__(self, prepared: Sequence[Tensor]) -> None:
        """One pass over all batches."""
        for batch in prepared:
            self.network(batch)

    @torch.no_grad()
    def and_backward(self, prepared: Sequence[Tensor], layer: Layer = "layer1") -> None:
        """One pass over all batches, and from each logit back to a layer: the gradients of its map and nothing else.

        All classes of a batch at once, the fastest of the ways that were tried (one class after another takes 1.5 times as long).
        """
        for batch in prepared:
            first = self.network.feature_map(batch, layer)
            logits, backward, *_ = torch.func.vjp(lambda values: self.network.from_layer(values, layer).logits, first)
            torch.vmap(backward)(torch.eye(logits.shape[1], device=logits.device)[:, None].expand(-1, len(batch), -1))


def decode(images: ImageSet, workers: int) -> None:
    """Decodes every image of a list, in threads."""
    deque(side_by_side(images.__getitem__, range(len(images)), workers), maxlen=0)


def read_pictures(folder: Path) -> list[np.ndarray]:
    """Every picture of an explanation below a folder as pixels."""
    pictures = []
    for path in sorted(folder.rglob("*_counter_*.png")):
        with Image.open(path) as picture:
            pictures.append(np.array(picture))
    return pictures


def encode(pictures: Sequence[np.ndarray], workers: int) -> None:
    """Encodes every picture in memory, in threads; nothing is written."""
    deque(side_by_side(encode_png, pictures, workers), maxlen=0)
