"""Margin explanations: where the evidence for class a exceeds that for class b, on the grid of an early layer.

"Why a and not b" is one number, the margin z_a - z_b. Its HiResCAM (Draelos & Carin 2020: gradient times activation at
every position, gradients not averaged) is the difference of two class maps, so C class maps serve every pair:

    H_c = sum over the channels k of a layer's map F of (dz_c / dF_k) F_k        signed, on the grid of the layer
    M(x; a, b) = ReLU(H_a - H_b) (E / max E)^p        E = ReLU(H_a) of the last layer, upsampled

By its formula this is Finer-CAM (Zhang et al., CVPR 2025) with HiResCAM as its base, one reference class and weight 1.
The early layer, the focus E, the smoothing and the clean-up are ours. Early layers are sharp but also respond to the
background; the last layer localizes the animal.

M is upsampled (bilinear), smoothed by a Gaussian and cut. Small components of the mask are removed, because people
should see a few clear regions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.resnet import Layer, Network, Outputs
from utils.explanations.explainers import Explained, Explainer

SIGMA = 5 / 224  # standard deviation of the Gaussian, as a fraction of the image's side
SPECK = 0.05  # components smaller than this fraction of their mask are removed
PARTS = 4  # maximum number of components
GRADIENTS = 64  # maps (images times classes) whose gradients are in memory at once


def class_maps(
    network: Network, feature_map: Tensor, layer: Layer, choose: Callable[[Tensor], Tensor]
) -> tuple[Outputs, Tensor, Tensor]:
    """Computes signed class maps H_c from the feature map of a layer.

    Takes one pass from the layer on, and one backward pass per chosen class, down to the layer only and to no weight.
    Several classes share a batch, which takes 0.6 times as long as one pass after another (torch.func, 1 thread).

    Args:
        network: in evaluation mode.
        feature_map: F, (N, channels, H, W), from `network.feature_map(images, layer)`.
        layer: the layer of the feature map.
        choose: returns K classes of each image, (N, K), for logits (N, C).

    Returns the outputs of the network, the chosen classes (N, K), and their maps H (N, K, H, W).
    """

    def pass_on(values: Tensor) -> tuple[Tensor, Outputs]:
        outputs = network.from_layer(values, layer)
        return outputs.logits, outputs

    logits, backward, *more = torch.func.vjp(pass_on, feature_map, has_aux=True)

    def class_map(cotangent: Tensor) -> Tensor:
        (gradient,) = backward(cotangent)  # (N, channels, H, W)
        return (gradient * feature_map).sum(dim=1)

    count, num_classes = logits.shape
    classes = choose(logits)  # (N, K)
    chosen = F.one_hot(classes.T, num_classes).to(logits)  # (K, N, C)
    maps = torch.vmap(class_map, chunk_size=max(1, GRADIENTS // count))(chosen)  # (K, N, H, W)
    return more[0], classes, maps.transpose(0, 1)


def evidence(feature_map: Tensor, head: nn.Linear, label: Tensor) -> Tensor:
    """Computes E / max E, (N, H, W), from the last feature map (N, d, H, W) and a, (N,). 1 if E is 0 everywhere."""
    own = torch.einsum("nk,nkhw->nhw", head.weight[label], feature_map).relu()  # E times H W
    peak = own.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, own / peak, 1)


@lru_cache
def smoothing_matrix(grid: int, size: int) -> Tensor:
    """Returns A (size, grid), float32: A M A^T is a map M (grid, grid) upsampled to (size, size) and smoothed.

    Upsampling is bilinear (align_corners=False). The Gaussian is truncated at 4 standard deviations and mirrors the
    picture at its edge (SciPy's mode `reflect`), so the edge neither loses nor gains.
    """
    from scipy.ndimage import gaussian_filter1d  # imported here because it is slow, and --help must be fast

    identity = torch.eye(grid, dtype=torch.float64)[:, None]
    upsampling = F.interpolate(identity, size, mode="linear", align_corners=False)[:, 0].T
    smoothed = gaussian_filter1d(upsampling.numpy(), SIGMA * size, axis=0, mode="reflect", truncate=4.0)
    return torch.from_numpy(smoothed).float()


def main_parts(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Removes small connected components from a mask bool (h, w).

    Keeps the `PARTS` components with the largest sum of `weight` (h, w) among those of at least `SPECK` of the mask. If
    all are smaller, it keeps one. Pixels connect by their edges, not by their corners (SciPy's default).
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
class Margin(Explainer):
    """Explains by the margin of two classes.

    Stores `class_maps`, the signed H_c, (N, C, H, W), and with a focus `evidence`, E / max E, (N, h, w), as float16.
    """

    explanation_layer: Layer  # the layer on whose grid it explains
    focus: float  # p; 0: no focus

    def __call__(
        self, network: Network, pixels: Tensor, label: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> Explained:
        layer = self.explanation_layer
        outputs, classes, maps = class_maps(
            network,
            network.feature_map(pixels, layer),
            layer,
            lambda logits: torch.cat([label[:, None], choose(logits)], dim=1),
        )
        count, num_classes = outputs.logits.shape
        largest = torch.finfo(torch.float16).max  # larger values are clipped, not stored as infinity
        stored = maps.new_full((count, num_classes, *maps.shape[2:]), torch.nan, dtype=torch.float16)
        stored[torch.arange(count, device=maps.device)[:, None], classes] = maps.clamp(-largest, largest).half()
        relevance, kept = (maps[:, :1] - maps[:, 1:]).relu(), {"class_maps": stored}
        if self.focus:
            kept["evidence"] = evidence(outputs.feature_map, network.fc, label).half()
        return Explained(outputs.logits, classes[:, 1:], self._focused(relevance, kept), kept)

    def _focused(self, relevance: Tensor, maps: dict[str, Tensor]) -> Tensor:
        if not self.focus:
            return relevance
        grid = relevance.shape[-2:]
        return relevance * F.interpolate(maps["evidence"][:, None].float(), grid, mode="bilinear") ** self.focus

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """M, up to the rounding of the stored class maps."""
        images, values = torch.arange(len(label)), maps["class_maps"].float()
        return self._focused((values[images, label][:, None] - values[images[:, None], counter]).relu(), maps)

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Bilinear and smoothed."""
        matrix = smoothing_matrix(relevance.shape[-1], size).to(relevance)
        return matrix @ relevance @ matrix.T

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """Keeps the main components of the pixels where M is above 0. If M is 0 everywhere, the mask is unchanged."""
        positive = upsampled > 0  # (M, s, s)
        inside = masks & (positive | ~positive.any(2).any(1)[:, None, None])[:, None]
        kept = [
            [main_parts(mask, weight) for mask in sizes]
            for sizes, weight in zip(inside.numpy(), upsampled.numpy(), strict=True)
        ]
        return torch.from_numpy(np.array(kept))
