"""What a student sees of pictures who looks where SCOUT's explanation points (Wang & Vasconcelos, CVPR 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.resnet import Outputs
from utils.data.outputs import TEACHING_SIZE
from utils.explanations.masks import masks, resized
from utils.explanations.scout import discriminant, explanation_maps
from utils.teaching.student import attend
from utils.training.features import FeatureMaps


@torch.inference_mode()
def attended(seen: FeatureMaps, head: nn.Linear, image_size: int) -> Tensor:
    """Features pooled over the explained region of every picture of a list, (N, d), on the CPU.

    The picture is explained against the wrong class that the network takes it for most, and the map cut to the size of lessons.

    Args:
        seen: the list as the network sees it.
        head: the head of the network that explains, on its features.
        image_size: side of the pictures in pixels.
    """
    labels, found = seen.images.labels, torch.zeros(len(seen.images), seen.network.num_features)
    head = head.to(seen.device)
    for numbers, feature_map in seen:
        features, own = feature_map.mean((2, 3)), labels[numbers].to(seen.device)
        outputs = Outputs(head(features), features, feature_map)
        counter = outputs.logits.scatter(1, own[:, None], -torch.inf).argmax(1, keepdim=True)
        relevance = discriminant(explanation_maps(outputs, head), own, counter)[:, 0]  # (B, H, W)
        inside = masks(resized(relevance, image_size), (TEACHING_SIZE,)).float()  # (B, 1, s, s)
        found[numbers] = attend(feature_map, F.adaptive_avg_pool2d(inside, relevance.shape[-1])[:, 0]).cpu()
    return found
