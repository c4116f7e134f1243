"""The interface of an explainer, and the registry of those that `--explanation` names."""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from models.resnet import Network
from utils.explanations.margin import Margin
from utils.explanations.scout import Scout
from utils.explanations.storage import Explained, Stored


class Explainer(Protocol):
    """A frozen dataclass. Its fields, if any, are settings of the same names."""

    def stored(self, network: Network, num_classes: int, image_size: int) -> dict[str, Stored]:
        """Describes the arrays that it leaves in heatmaps.npz."""
        ...

    def __call__(
        self, network: Network, pixels: Tensor, label: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> Explained:
        """Explains a batch of N images.

        Args:
            network: in evaluation mode, folded.
            pixels: (N, 3, s, s) in [0, 1].
            label: a, the true class of each image, (N,).
            choose: returns the counter classes (N, B) for logits (N, C), ascending.
        """
        ...

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """Computes the relevance (N, B, H, W) from arrays of heatmaps.npz, for labels (N,) and counter classes (N, B)."""
        ...

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Brings relevance (M, H, W) to the size of the image: (M, size, size). Masks are cut from this."""
        ...

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """Returns the final masks, none of them empty.

        Args:
            masks: bool (M, T, s, s), as they were cut.
            upsampled: the maps that they were cut from, (M, s, s).
        """
        ...

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        """Returns maps (H, W) of one image with their titles, for the contact sheet."""
        ...


Method = Literal["margin", "scout"]
EXPLAINERS: dict[str, type[Explainer]] = {"margin": Margin, "scout": Scout}


def counters(label: Tensor, num_classes: int) -> Tensor:
    """Returns every wrong class of each image, ascending: labels (N,) give (N, C - 1)."""
    classes = torch.arange(num_classes - 1, device=label.device)  # (C - 1,)
    return classes + (classes >= label[:, None])


def strongest_counters(logits: Tensor, label: Tensor) -> Tensor:
    """Sorts the wrong classes of each image by their logits, largest first; ties by class: logits (N, C) and labels (N,) give (N, C - 1)."""
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, :-1]


def chosen_counters(label: Tensor, count: int, logits: Tensor) -> Tensor:
    """Returns the `count` strongest wrong classes of each image, ascending: labels (N,) and logits (N, C) give (N, count)."""
    return strongest_counters(logits, label)[:, :count].sort(1).values
