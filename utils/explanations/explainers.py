"""Base class of explainers, and the counter classes of an image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.resnet import Network


@dataclass(frozen=True)
class Explained:
    """Explanations of N images of C classes, each against B counter classes.

    Attributes:
        logits: (N, C).
        counter: the counter classes b, ascending, (N, B).
        relevance: evidence for a and against b, 0 or more, (N, B, H, W).
        maps: arrays (N, ...) for heatmaps.npz, by name; maps of classes that were not computed are NaN.
    """

    logits: Tensor
    counter: Tensor
    relevance: Tensor
    maps: dict[str, Tensor]


@dataclass(frozen=True)
class Explainer:
    """Base class. Fields of a subclass are settings of the same names."""

    def __call__(
        self, network: Network, pixels: Tensor, label: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> Explained:
        """Explains N images.

        Args:
            network: in evaluation mode, folded.
            pixels: (N, 3, s, s) in [0, 1].
            label: a, the true class of each image, (N,).
            choose: returns the counter classes (N, B), ascending, for logits (N, C).
        """
        raise NotImplementedError

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """Computes relevance (N, B, H, W) from arrays of heatmaps.npz, for labels (N,) and counter classes (N, B)."""
        raise NotImplementedError

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Upsamples relevance (M, H, W) to (M, size, size). Masks are cut from the result."""
        return F.interpolate(relevance[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """Cleans masks bool (M, T, s, s) cut from maps (M, s, s), on the CPU. None of the results is empty."""
        return masks

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        """Returns maps (h, w) of one image with their titles, for the contact sheet."""
        relevance = self.relevance(maps, torch.tensor([label]), torch.tensor([[counter]]))
        return [(self.upsample(relevance[0], size)[0], "relevance")]


def strongest_counters(logits: Tensor, label: Tensor) -> Tensor:
    """Sorts the wrong classes of each image by their logits, largest first; ties by class.

    Logits (N, C) and labels (N,) give (N, C - 1).
    """
    others = logits.scatter(1, label[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, :-1]


def chosen_counters(label: Tensor, count: int, logits: Tensor) -> Tensor:
    """Returns the `count` strongest wrong classes of each image, ascending: (N, count)."""
    return strongest_counters(logits, label)[:, :count].sort(1).values
