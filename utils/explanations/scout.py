"""SCOUT: Grad-CAM maps of a classifier for a whole batch from one forward pass, and the discriminant explanation made of them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.resnet import Network, Outputs
from utils.explanations.explained import Choose, Explained, Stored
from utils.explanations.masks import resized

EPS = 1e-7  # zeros of a map are raised to this


class Maps(NamedTuple):
    """Grad-CAM maps on the grid of the feature map, each in EPS .. 1.

    Attributes:
        attribution: A_c for s = z_c, (N, C, H, W).
        confidence: S for s = max_c p_c, (N, H, W).
    """

    attribution: Tensor
    confidence: Tensor


def normalise(maps: Tensor) -> Tensor:
    """ReLU, then each map (..., H, W) shifted and scaled to 0 .. 1; a constant map becomes 0; zeros become EPS."""
    maps = maps.relu()
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    spread = high - low
    # The scale is made 1 where it is 0, so that a constant map becomes 0 / 1 and not 0 / 0.
    maps = (maps - low) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.where(maps == 0, EPS, maps)


def class_gradients(head: nn.Module, features: Tensor) -> Tensor:
    """dz_c/df of every class, by autograd through the head alone.

    Args:
        head: from features (N, d) to logits (N, C), each image by itself.
        features: f, (N, d).

    Returns:
        (N, C, d).
    """
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        logits = head(features)
        totals = logits.sum(dim=0)  # (C,): images do not mix, so the sum's gradient holds each image's own
        rows = [torch.autograd.grad(total, features, retain_graph=True)[0] for total in totals]
    return torch.stack(rows, dim=1)  # (N, C, d)


@torch.no_grad()
def explanation_maps(outputs: Outputs, head: nn.Module) -> Maps:
    """S and all A_c of a batch (Selvaraju et al., ICCV 2017; Wang & Vasconcelos, CVPR 2020).

    The features are the feature map's mean, so ds/dF_k = (ds/df_k) / (H W) everywhere and every map is a weighted sum of
    channels: with a linear head the weights are its codewords and no backward pass is needed; any other head is differentiated
    with respect to the features only. Everything follows from the class maps M_c = sum_k (dz_c/df_k) F_k:

    - A_c: M_c.
    - S: dp_m/df = p_m sum_c p_c (dz_m/df - dz_c/df), so its map is p_m sum_c p_c (M_m - M_c). Positive factors vanish in the
      normalisation, so p_c is replaced by its share among the classes c != m. That keeps the digits of a network so sure that
      p_m rounds to 1, where p_m (M_m - sum_c p_c M_c) would be rounding noise.

    Args:
        outputs: logits (N, C), features (N, d) and feature map (N, d, H, W) of the batch.
        head: the layer that made the logits of the features.

    Returns:
        The maps, in float32 or the feature map's wider type.
    """
    feature_map = outputs.feature_map if outputs.feature_map.dtype == torch.float64 else outputs.feature_map.float()
    logits = outputs.logits.to(feature_map.dtype)
    if isinstance(head, nn.Linear):
        class_maps = torch.einsum("ck,nkhw->nchw", head.weight.to(feature_map.dtype), feature_map)  # (N, C, H, W)
    else:
        gradients = class_gradients(head, outputs.features)
        class_maps = torch.einsum("nck,nkhw->nchw", gradients.to(feature_map.dtype), feature_map)  # (N, C, H, W)
    top = logits.argmax(dim=1)  # m, (N,)
    rivals = logits.scatter(1, top[:, None], -torch.inf).softmax(dim=1)  # (N, C), 0 at m
    top_map = class_maps[torch.arange(len(top), device=top.device), top]  # (N, H, W)
    confidence = (rivals[:, :, None, None] * (top_map[:, None] - class_maps)).sum(dim=1)  # (N, H, W)
    return Maps(normalise(class_maps), normalise(confidence))


def discriminant(maps: Maps, label: Tensor, counter: Tensor) -> Tensor:
    """SCOUT's discriminant explanation D(x; a, b) = S (max(A_b) - A_b) A_a (Wang & Vasconcelos, CVPR 2020).

    Args:
        maps: attribution (N, C, H, W) and confidence (N, H, W).
        label: a, the true class of each image, (N,).
        counter: the classes b to tell it from, (N, B).

    Returns:
        D, (N, B, H, W). Where A_b is EPS everywhere (nothing speaks for b), D = S A_a.
    """
    images = torch.arange(len(label), device=label.device)
    own = maps.attribution[images, label][:, None]  # A_a, (N, 1, H, W)
    other = maps.attribution[images[:, None], counter]  # A_b, (N, B, H, W)
    peak = other.amax((-2, -1), keepdim=True)  # (N, B, 1, 1)
    absence = torch.where(peak > EPS, peak - other, torch.ones_like(other))
    return maps.confidence[:, None] * absence * own


@dataclass(frozen=True)
class Scout:
    """The explanation as published; see `Explainer` for what each part is."""

    gradient_mode = torch.inference_mode

    def grid(self, network: Network, image_size: int) -> int:
        """The grid of the last feature map: the maps are sums of its channels."""
        return network.grid(image_size)

    def stored(self, network: Network, num_classes: int, image_size: int) -> dict[str, Stored]:
        """`attribution` (N, C, H, W) and `confidence` (N, H, W), float32."""
        grid, kind = (self.grid(network, image_size),) * 2, np.dtype(np.float32)
        return {"attribution": Stored((num_classes, *grid), kind), "confidence": Stored(grid, kind)}

    def __call__(self, network: Network, pixels: Tensor, label: Tensor, choose: Choose) -> Explained:
        """One forward pass, from which the maps of all classes come: the confidence needs them."""
        outputs = network(pixels)
        maps, counter = explanation_maps(outputs, network.head), choose(outputs.logits)
        return Explained(outputs.logits, counter, discriminant(maps, label, counter), maps._asdict())

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        """D."""
        return discriminant(Maps(**maps), label, counter)

    def upsample(self, relevance: Tensor, size: int) -> Tensor:
        """Bilinear."""
        return resized(relevance, size)

    def clean(self, masks: Tensor, upsampled: Tensor) -> Tensor:
        """As they were cut."""
        return masks

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        """S, A_a, A_b and D."""
        d = self.relevance(maps, torch.tensor([label]), torch.tensor([[counter]]))[0, 0]
        attribution = maps["attribution"][0]
        return [(maps["confidence"][0], "S"), (attribution[label], "A_a"), (attribution[counter], "A_b"), (d, "D")]
