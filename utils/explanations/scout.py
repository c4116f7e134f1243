"""SCOUT (Wang & Vasconcelos, CVPR 2020): discriminant explanations by Grad-CAM maps, from one forward pass."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.resnet import Network, Outputs
from utils.explanations.explainers import Explained, Explainer

EPS = 1e-7  # zeros of a map become this


class Maps(NamedTuple):
    """Grad-CAM maps on the grid of the feature map, in EPS .. 1."""

    attribution: Tensor  # A_c, of s = z_c, (N, C, H, W)
    confidence: Tensor  # S, of s = max_c p_c, (N, H, W)


def normalise(maps: Tensor) -> Tensor:
    """Applies ReLU and scales each map (..., H, W) to 0 .. 1. Constant maps become 0, and zeros become EPS."""
    maps = maps.relu()
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    scale = torch.where(high > low, high - low, torch.ones_like(high))  # avoids 0 / 0 for a constant map
    maps = (maps - low) / scale
    return torch.where(maps == 0, EPS, maps)


@torch.no_grad()
def explanation_maps(outputs: Outputs, head: nn.Linear) -> Maps:
    """Computes S and all A_c of a batch (Selvaraju et al., ICCV 2017; Wang & Vasconcelos, CVPR 2020).

    The features are the mean of the feature map and the head is linear. So ds/dF_k = (ds/df_k) / (H W) at every
    position, and every map is a weighted sum of channels without a backward pass. With M_c = sum_k W_ck F_k:

    - A_c is M_c.
    - S: dp_m/df = p_m sum_c p_c (W_m - W_c), so its map is p_m sum_c p_c (M_m - M_c). Positive factors vanish in the
      normalisation, so p_c is replaced by its share among the classes c != m. If p_m rounds to 1,
      p_m (M_m - sum_c p_c M_c) would be rounding noise.

    Args:
        outputs: logits (N, C) and feature map (N, d, H, W); float64 stays float64, other types become float32.
        head: the layer that computed the logits.
    """
    feature_map = outputs.feature_map if outputs.feature_map.dtype == torch.float64 else outputs.feature_map.float()
    logits = outputs.logits.to(feature_map.dtype)
    class_maps = torch.einsum("ck,nkhw->nchw", head.weight.to(feature_map.dtype), feature_map)  # (N, C, H, W)
    top = logits.argmax(dim=1)  # m, (N,)
    rivals = logits.scatter(1, top[:, None], -torch.inf).softmax(dim=1)  # (N, C), 0 at m
    top_map = class_maps[torch.arange(len(top), device=top.device), top]  # (N, H, W)
    confidence = (rivals[:, :, None, None] * (top_map[:, None] - class_maps)).sum(dim=1)  # (N, H, W)
    return Maps(normalise(class_maps), normalise(confidence))


def discriminant(maps: Maps, label: Tensor, counter: Tensor) -> Tensor:
    """Computes D(x; a, b) = S (max(A_b) - A_b) A_a, (N, B, H, W), for labels a (N,) and counter classes b (N, B).

    If A_b is EPS everywhere (no evidence for b), D = S A_a.
    """
    images = torch.arange(len(label), device=label.device)
    own = maps.attribution[images, label][:, None]  # A_a, (N, 1, H, W)
    other = maps.attribution[images[:, None], counter]  # A_b, (N, B, H, W)
    peak = other.amax((-2, -1), keepdim=True)  # (N, B, 1, 1)
    absence = torch.where(peak > EPS, peak - other, torch.ones_like(other))
    return maps.confidence[:, None] * absence * own


class Scout(Explainer):
    """The published explanation. Stores `attribution` (N, C, H, W) and `confidence` (N, H, W)."""

    def __call__(
        self, network: Network, pixels: Tensor, label: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> Explained:
        outputs = network(pixels)
        maps, counter = explanation_maps(outputs, network.fc), choose(outputs.logits)
        return Explained(outputs.logits, counter, discriminant(maps, label, counter), maps._asdict())

    def relevance(self, maps: dict[str, Tensor], label: Tensor, counter: Tensor) -> Tensor:
        return discriminant(Maps(**maps), label, counter)

    def panels(self, maps: dict[str, Tensor], label: int, counter: int, size: int) -> list[tuple[Tensor, str]]:
        d = self.relevance(maps, torch.tensor([label]), torch.tensor([[counter]]))[0, 0]
        attribution = maps["attribution"][0]
        return [(maps["confidence"][0], "S"), (attribution[label], "A_a"), (attribution[counter], "A_b"), (d, "D")]
