"""The machine student: a ResNet-18 with a bias-free head that looks at images, or at the explained part of them."""

import torch
from torch import Tensor

from models.resnet import ResNet18
from models.weights import load_backbone


def make_student(num_classes: int, pretrained: str, seed: int, device: str, freeze_features: bool = False) -> ResNet18:
    """A student that knows generic features and nothing of the classes: W is drawn by `seed`.

    It stays in evaluation mode even while it learns: batches of 4 to 80 images, half of them masked, would ruin the batch-norm
    statistics that came with its features.

    Args:
        num_classes: C.
        pretrained: as in `models.resnet.load_backbone`.
        seed: of the head's initialisation (and of all weights where `pretrained` is `none`).
        device: where it lives.
        freeze_features: whether only its head will learn.
    """
    torch.manual_seed(seed)
    student = ResNet18(num_classes, bias=False)
    load_backbone(student, pretrained)
    if freeze_features:
        student.freeze_backbone()
    return student.to(device).eval()


def attend(feature_map: Tensor, weights: Tensor) -> Tensor:
    """Pools a feature map over the region that a person would look at: f_E = sum of w F / sum of w over the positions.

    With equal weights this is global average pooling, so plain images and attended explanations share one path.

    Args:
        feature_map: F, (N, d, H, W).
        weights: w >= 0, not all 0, (N, ..., H, W): any number of regions per image.

    Returns:
        Features, (N, ..., d).
    """
    positions = weights.flatten(-2)  # (N, ..., H W)
    shares = positions / positions.sum(-1, keepdim=True)
    regions = shares.reshape(len(shares), -1, shares.shape[-1])  # (N, R, H W)
    pooled = regions @ feature_map.flatten(2).transpose(1, 2)  # (N, R, H W) @ (N, H W, d) -> (N, R, d)
    return pooled.reshape(*weights.shape[:-2], feature_map.shape[1])
