"""Margin explanations: where in an image the evidence for class a exceeds that for class b, on the grid of an early layer.

"Why a and not b" is one number, the margin z_a - z_b. Its HiResCAM (Draelos & Carin 2020: gradient times activation at every position,
gradients not averaged) is the difference of two class maps, so C class maps serve every pair:

    H_c = sum over the channels k of a layer's map F of (dz_c / dF_k) F_k        signed, on the grid of the layer
    M(x; a, b) = ReLU(H_a - H_b)

M is upsampled (bilinear), smoothed by a Gaussian and cut. Small components of the mask are removed, so that people see a few clear regions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.resnet import Layer, Network
from utils.explanations.storage import Explained, Stored, own_and_counters

SIGMA = 5 / 224  # standard deviation of the Gaussian, as a fraction of the image's side
SPECK = 0.05  # components smaller than this fraction of their mask are removed
PARTS = 4  # maximum number of components
GRADIENTS = 64  # maps (images times classes) whose gradients are in memory at once


def every_class(logits: Tensor) -> Tensor:
    """Returns all class numbers for each image: logits (N, C) give (N, C)."""
    return torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)


def class_maps(
    network: Network, feature_map: Tensor, layer: Layer, choose: Callable[[Tensor], Tensor] = every_class
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes logits and signed class maps H_c from the feature map of a layer.

    Takes one pass from the layer on, and one backward pass per chosen class, down to the layer only and to no weight. Several classes
    share a batch, which takes 0.6 times as long as one pass after another (torch.func, 1 thread).

    Args:
        network: in evaluation mode.
        feature_map: F, (N, channels, H, W), from `network.feature_map(images, layer)`.
        layer: the layer of the feature map.
        choose: returns the K classes of each image that need maps, (N, K), for logits (N, C).

    Returns:
        Logits (N, C), the chosen classes (N, K), and H (N, K, H, W) in the type of the feature map.
    """
    logits, backward, *_ = torch.func.vjp(lambda values: network.from_layer(values, layer).logits, feature_map)

    def class_map(cotangent: Tensor) -> Tensor:
        (gradient,) = backward(cotangent)  # (N, channels, H, W)
        return (gradient * feature_map).sum(dim=1)

    count, num_classes = logits.shape
    classes = choose(logits)  # (N, K)
    chosen = F.one_hot(classes.T, num_classes).to(logits)  # (K, N, C)
    maps = torch.vmap(class_map, chunk_size=max(1, GRADIENTS // count))(chosen)  # (K, N, H, W)
    return logits, classes, maps.transpose(0, 1)


@lru_cache
def smoothing_matrix(grid: int, size: int) -> Tensor:
    """Returns A (size, grid), float32, for which A M A^T is a map M (grid, grid) upsampled to (size, size) and smoothed.

    Both steps are linear and act on rows and columns alike: bilinear upsampling (align_corners=False), then a Gaussian of `SIGMA` times
    the size, truncated at 4 standard deviations. Beyond its edge the picture is mirrored (SciPy's mode `reflect`), so the edge neither
    loses nor gains.
    """
    from scipy.ndimage import gaussian_filter1d  # imported here because it is slow, and --help must be fast

    identity = torch.eye(grid, dtype=torch.float64)[:, None]
    upsampling = F.interpolate(identity, size, mode="linear", align_corners=False)[:, 0].T
    smoothed = gaussian_filter1d(upsampling.numpy(), SIGMA * size, axis=0, mode="reflect", truncate=4.0)
    return torch.from_numpy(smoothed).float()


def main_parts(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Removes small connected components from a mask bool (h, w).

    Components of at least `SPECK` of the mask remain, and of these the `PARTS` of largest weight (h, w). If all are smaller, the one of
    largest weight remains. Pixels connect by their edges, not by their corners (SciPy's default).
    """
    from scipy.ndimage import label

    parts, count = label(mask)
    if count == 1:
        return mask
    inside = parts[mask]  # only these pixels matter, and they are few
    pixels = np.bincount(inside)[1:]  # (count,)
    weights = np.bincount(inside, weights=weight[mask])[1:]
    ranked = np.argsort(-weights, kind="stable")
    kept = [part for part in ranked if pixels[part] >= SPECK * pixels.sum()][:PARTS] or ranked[:1]
    remains = np.zeros(count + 1, dtype=bool)
    remains[np.array(kept) + 1] = True
    return remains[parts]


@dataclass(frozen=True)
class Margin:
    """Explains by the margin of two classes; implements `Explainer`.

    Attributes:
        explanation_layer: the layer l on whose grid it explains.
    """

    explanation_layer: Layer

    def stored(self, network: Network, num_classes: int, image_size: int) -> dict[str, Stored]:
        """`class_maps`, the signed H_c, (N, C, H, W), float16."""
        grid = network.grid(image_size, self.explanation_layer)
        return {"class_maps": Stored((num_classes, grid, grid), np.dtype(np.float16), of_some=True)}

    def __call__(
        self, network: Network, pixels: Tensor, label: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> Explained:
        """Takes one forward pass, and one backward pass each for the own class and every counter class."""
        layer = self.explanation_layer
        feature_map = network.feature_map(pixels, layer)
        logits, classes, maps = class_maps(
            network, feature_map, layer, lambda logits: own_and_counters(label, choose(logits))
        )
        is_own = classes == label[:, None]  # (N, 1 + B)
        counter = classes[~is_own].view(len(label), -1)  # (N, B)
        own, others = maps[is_own], maps[~is_own].view(*counter.shape, *maps.shape[2:])
        largest = torch.finfo(torch.float16).max  # larger values are clipped, not stored as infinity
        stored = {"class_maps": maps.clamp(-largest, largest).half()}
        return Explained(logits, counter, (own[:, None] - others).relu(), stored)

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """M, up to the rounding of the stored class maps."""
        images, values = torch.arange(len(label)), maps["class_maps"].float()
        return (values[images, label][:, None] - values[images[:, None], counter]).relu()  # (N, B, H, W)

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Bilinear and smoothed."""
        matrix = smoothing_matrix(relevance.shape[-1], size).to(relevance)
        return matrix @ relevance @ matrix.T

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """The main components of the pixels where M is above 0; the mask as it was cut if M is 0 everywhere."""
        positive = upsampled > 0  # (M, s, s)
        inside = masks & (positive | ~positive.any(2).any(1)[:, None, None])[:, None]
        weights = upsampled.cpu().numpy()
        kept = [
            [main_parts(mask, weight) for mask in sizes]
            for sizes, weight in zip(inside.cpu().numpy(), weights, strict=True)
        ]
        return torch.from_numpy(np.array(kept)).to(masks.device)

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        """M as it is cut."""
        relevance = self.relevance(maps, torch.tensor([label]), torch.tensor([[counter]]))
        return [(self.upsample(relevance[0], size)[0], "M")]
