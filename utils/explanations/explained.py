"""What a way of explaining gives for a batch, and what it must say of itself so that lists can be explained by it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from models.resnet import Network
from utils.base.errors import InputError
from utils.data.loading import to_float
from utils.explanations.masks import constant

# From the logits (N, C) of images to the classes that each is explained against, ascending, (N, B).
Choose = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Explained:
    """What one batch of N images yields, for C classes and B counter classes an image.

    Attributes:
        logits: of the network, (N, C).
        counter: the classes that each image is explained against, ascending, (N, B).
        relevance: how much each position speaks for the image's class and not the counter class, 0 or more, (N, B, H, W).
        maps: what is stored of the batch by name, each (N, ...), of the shapes and types that the explainer's `stored` says.
    """

    logits: Tensor
    counter: Tensor
    relevance: Tensor
    maps: dict[str, Tensor]

    def on_cpu(self) -> "Explained":
        """The same in main memory."""
        maps = {name: values.cpu() for name, values in self.maps.items()}
        return Explained(self.logits.cpu(), self.counter.cpu(), self.relevance.cpu(), maps)


class Stored(NamedTuple):
    """One array of heatmaps.npz.

    Attributes:
        shape: its shape, without the images' axis.
        kind: its type.
        of_some: whether its next axis is that of the classes, and only the maps of an image's own class and of its counter classes are
            made; those of the others are NaN.
    """

    shape: tuple[int, ...]
    kind: np.dtype
    of_some: bool = False


class Explainer(Protocol):
    """A way of explaining: a frozen dataclass whose fields, if any, are settings of the same names.

    Attributes:
        gradient_mode: the context in which it is called and rendered, such as `torch.inference_mode`.
    """

    @property
    def gradient_mode(self) -> Callable[[], AbstractContextManager]: ...

    def grid(self, network: Network, image_size: int) -> int:
        """Side of its maps for images of a side in pixels."""
        ...

    def stored(self, network: Network, num_classes: int, image_size: int) -> dict[str, Stored]:
        """The arrays that it leaves in heatmaps.npz."""
        ...

    def __call__(self, network: Network, pixels: Tensor, label: Tensor, choose: Choose) -> Explained:
        """Explains images.

        Args:
            network: in evaluation mode, folded.
            pixels: (N, 3, s, s) in [0, 1].
            label: a, the true class of each image, (N,).
            choose: which classes b to tell it from, once the network has answered.
        """
        ...

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """The relevance (N, B, H, W) again, from stored maps of N images."""
        ...

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Relevance (M, H, W) brought to the image's size and smoothed: (M, size, size); masks are cut from this."""
        ...

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """Masks bool (M, T, s, s) as they are rendered, none of them empty; `upsampled` (M, s, s) is what they were cut from."""
        ...

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        """What the contact sheet shows between image and mask, from stored maps of one image: maps (H, W) with their titles."""
        ...


def explain_batch(
    network: Network, explainer: Explainer, pixels: Tensor, label: Tensor, num_counters: int, device: str
) -> tuple[Explained, Tensor]:
    """Explains a batch on a device, and keeps what comes of it on the CPU.

    Args:
        network: in evaluation mode, folded, on the device.
        explainer: the way of explaining.
        pixels: uint8 (N, 3, s, s), on the CPU.
        label: a, the true class of each image, (N,), on the CPU.
        num_counters: B; each image is explained against the strongest.
        device: where the network lives.

    Returns:
        The explanations, and which of their maps of relevance are constant, bool (N, B).

    Raises:
        InputError: the network's outputs are not finite numbers.
    """
    label = label.to(device)
    explained = explainer(network, to_float(pixels, device), label, partial(chosen_counters, label, num_counters))
    if not (explained.logits.isfinite().all() and explained.relevance.isfinite().all()):
        raise InputError(
            "The teacher's outputs are not finite numbers; replace what --checkpoint or --pretrained name."
        )
    return explained.on_cpu(), constant(explained.relevance).cpu()


def counters(label: Tensor, num_classes: int) -> Tensor:
    """Every wrong class of each image, ascending: (N,) labels give (N, C-1)."""
    classes = torch.arange(num_classes - 1, device=label.device)  # (C-1,)
    return classes + (classes >= label[:, None])


def strongest_counters(logits: Tensor, label: Tensor) -> Tensor:
    """Every wrong class of each image, that of the largest logit first, the lower of equals: logits (N, C), labels (N,) give (N, C-1)."""
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, :-1]


def chosen_counters(label: Tensor, count: int, logits: Tensor) -> Tensor:
    """The `count` strongest wrong classes of each image, ascending: labels (N,) and logits (N, C) give (N, count)."""
    return strongest_counters(logits, label)[:, :count].sort(1).values


def own_and_counters(label: Tensor, counter: Tensor) -> Tensor:
    """The classes that an image's explanations are about, ascending: labels (N,) and counter classes (N, B) give (N, 1 + B)."""
    return torch.cat([label[:, None], counter], dim=1).sort(1).values


def spread(some: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Maps of some classes among those of all, the others being NaN.

    Args:
        some: (N, K, ...).
        classes: which they are of, (N, K).
        num_classes: C.

    Returns:
        (N, C, ...).
    """
    maps = some.new_full((len(some), num_classes, *some.shape[2:]), torch.nan)
    maps[torch.arange(len(some), device=some.device)[:, None], classes] = some
    return maps
