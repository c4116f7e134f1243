"""Margin explanations: which places of an image hold the network's answer a above b, at an early layer's resolution.

The question "why a and not b" has one number, the margin z_a - z_b. HiResCAM (Draelos & Carin 2020: gradient times activation at every
position, without averaging the gradients) of that margin is the difference of two class maps, so C class maps serve every pair:

    H_c = sum over the channels k of a layer's map F of (dz_c / dF_k) F_k        signed, on the layer's grid
    M(x; a, b) = ReLU(H_a - H_b)

M is brought to the image's size (bilinear), smoothed by a Gaussian and cut. Of the mask people shall see a few parts, not crumbs.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.resnet import Layer, Network
from utils.explanations.explained import Choose, Explained, Stored, own_and_counters, spread

SIGMA = 5 / 224  # standard deviation of the Gaussian, as a share of the image's side
SPECK = 0.05  # parts smaller than this share of their mask are dropped
PARTS = 4  # of the others, at most so many stay
GRADIENTS = 64  # maps whose gradients are held at once: images times classes


def every_class(logits: Tensor) -> Tensor:
    """The numbers of all classes, for each image: logits (N, C) give (N, C)."""
    return torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)


def class_maps(
    network: Network, feature_map: Tensor, layer: Layer, choose: Choose = every_class
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits and the signed class maps H_c of images, from a layer's map of theirs.

    One pass from the layer on, and one backward pass for each class that is chosen, which reaches back to the layer alone and to no
    weight. Classes are taken together as one larger batch, which costs less than one pass after another (torch.func, 1 thread: 0.6 times).

    Args:
        network: in evaluation mode.
        feature_map: F, (N, channels, H, W), as `network.feature_map(images, layer)` gives it.
        layer: which layer's it is.
        choose: of which K classes of each image maps are wanted, from the logits (N, C).

    Returns:
        Logits (N, C), those classes (N, K), and H (N, K, H, W), in the type of the feature map.
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
    """A (size, grid), float32, such that A M A^T is a map M (grid, grid) upsampled to (size, size) and then smoothed.

    Both steps are linear and go along rows and columns alike: bilinear upsampling (align_corners=False), then a Gaussian of `SIGMA`
    times the size, cut off at 4 standard deviations, for which pixels beyond the picture's edge are its mirror image (the edge itself
    doubled: SciPy's mode `reflect`), so that the edge neither loses nor gains.
    """
    from scipy.ndimage import gaussian_filter1d  # here, since it takes long to import and scripts shall start soon

    upsampling = F.interpolate(torch.eye(grid, dtype=torch.float64)[:, None], size, mode="linear", align_corners=False)[
        :, 0
    ].T
    return torch.from_numpy(
        gaussian_filter1d(upsampling.numpy(), SIGMA * size, axis=0, mode="reflect", truncate=4.0)
    ).float()


def main_parts(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A mask without its specks: its connected parts that are `SPECK` of it or more, of those the `PARTS` that hold most weight.

    Where every part is a speck, the one that holds most weight stays alone.

    Args:
        mask: bool (h, w). Pixels are connected by their edges, not by their corners (SciPy's `ndimage.label` as it is called plainly).
        weight: (h, w), 0 or more.
    """
    from scipy.ndimage import label

    parts, count = label(mask)
    if count == 1:
        return mask
    inside = parts[mask]  # few of all pixels: what follows is fast
    pixels = np.bincount(inside)[1:]  # (count,)
    held = np.bincount(inside, weights=weight[mask])[1:]
    ranked = np.argsort(-held, kind="stable")
    kept = [part for part in ranked if pixels[part] >= SPECK * pixels.sum()][:PARTS] or ranked[:1]
    stays = np.zeros(count + 1, dtype=bool)
    stays[np.array(kept) + 1] = True
    return stays[parts]


@dataclass(frozen=True)
class Margin:
    """The explanation by the margin; see `Explainer` for what each part is.

    Attributes:
        explanation_layer: the layer l on whose grid it explains.
    """

    explanation_layer: Layer
    gradient_mode = torch.no_grad  # not inference mode, in whose tensors torch.func cannot take gradients

    def grid(self, network: Network, image_size: int) -> int:
        """The grid of the layer."""
        return network.grid(image_size, self.explanation_layer)

    def stored(self, network: Network, num_classes: int, image_size: int) -> dict[str, Stored]:
        """`class_maps`, the signed H_c, (N, C, H, W), float16."""
        grid = self.grid(network, image_size)
        return {"class_maps": Stored((num_classes, grid, grid), np.dtype(np.float16), of_some=True)}

    def __call__(self, network: Network, pixels: Tensor, label: Tensor, choose: Choose) -> Explained:
        """One forward pass, and a backward pass down to the layer for an image's own class and for each counter class."""
        layer, own = self.explanation_layer, label[:, None]
        feature_map = network.feature_map(pixels, layer)
        logits, classes, some = class_maps(
            network, feature_map, layer, lambda logits: own_and_counters(label, choose(logits))
        )
        counter = classes[classes != own].view(len(label), -1)  # (N, B)
        maps = spread(some, classes, logits.shape[1])
        largest = torch.finfo(torch.float16).max  # what is beyond it is stored as it, not as infinity
        return Explained(
            logits, counter, self._relevance(maps, label, counter), {"class_maps": maps.clamp(-largest, largest).half()}
        )

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """M, up to the rounding of what is stored."""
        return self._relevance(maps["class_maps"].float(), label, counter)

    def _relevance(self, maps: Tensor, label: Tensor, counter: Tensor) -> Tensor:
        images = torch.arange(len(label), device=label.device)
        return (maps[images, label][:, None] - maps[images[:, None], counter]).relu()  # (N, B, H, W)

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Bilinear and smoothed."""
        matrix = smoothing_matrix(relevance.shape[-1], size).to(relevance)
        return matrix @ relevance @ matrix.T

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """The main parts of the pixels that speak for a at all; where none does (M is 0 everywhere), the mask as it was cut."""
        speaks = upsampled > 0  # (M, s, s)
        inside = masks & (speaks | ~speaks.any(2).any(1)[:, None, None])[:, None]
        weights = upsampled.cpu().numpy()
        kept = [
            [main_parts(mask, weight) for mask in sizes]
            for sizes, weight in zip(inside.cpu().numpy(), weights, strict=True)
        ]
        return torch.from_numpy(np.array(kept)).to(masks.device)

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        """M against the counter class, as it is cut."""
        relevance = self.relevance(maps, torch.tensor([label]), torch.tensor([[counter]]))
        return [(self.upsample(relevance[0], size)[0], "M")]
