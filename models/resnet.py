"""Residual networks (He et al., CVPR 2016) that return logits, features and feature maps."""

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

Arch = Literal["resnet18", "resnet34", "resnet50"]
# Block and number of blocks in each of the four layers, as in torchvision.
ARCHITECTURES: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
Layer = Literal["layer1", "layer2", "layer3", "layer4"]
# Pixels per position of the feature map.
STRIDES: dict[Layer, int] = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
LAYERS: tuple[Layer, ...] = tuple(STRIDES)
LAST: Layer = "layer4"
# Convolutions and the batch norms after them; the last pair is in `downsample`.
FOLDED = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))
UNNORMALISED_SUFFIX = "_unnormalised"  # in a checkpoint's `arch`: images are not normalized
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Outputs(NamedTuple):
    """Results of a forward pass for N images, C classes and d features (ResNet-18 and -34: 512, ResNet-50: 2048)."""

    logits: Tensor  # z = W f + b, (N, C)
    features: Tensor  # f, the feature map averaged over its positions, (N, d)
    feature_map: Tensor  # F, the output of the last block, (N, d, H, W); H = W = 7 for 224 x 224 images


class Network(ResNet):
    """torchvision's residual network (same state dict) for images in [0, 1].

    The input normalization belongs to the weights (none for SimCLR encoders), so it is part of the network.

    Args:
        name: key of `ARCHITECTURES`.
        num_classes: C; 0 builds an encoder without head, whose logits are its features.
        bias: give the linear head a bias.
        normalize: normalize images by ImageNet's mean and standard deviation.
    """

    def __init__(self, name: str, num_classes: int, bias: bool = True, normalize: bool = True) -> None:
        block, blocks = ARCHITECTURES[name]
        super().__init__(block, list(blocks))
        self.name = name
        self.num_features: int = self.inplanes  # in torchvision, the channels of the last block
        head = nn.Linear(self.num_features, num_classes, bias=bias) if num_classes else nn.Identity()
        self.fc: nn.Linear = head  # type: ignore[assignment]
        self.normalize = normalize
        self.backbone_frozen = False
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def arch(self) -> str:
        """Name in checkpoints, which records whether images are normalized."""
        return self.name if self.normalize else f"{self.name}{UNNORMALISED_SUFFIX}"

    @staticmethod
    def grid(image_size: int, layer: Layer = LAST) -> int:
        """Returns the side of a layer's feature map for images of a given side."""
        return -(-image_size // STRIDES[layer])

    def feature_map(self, images: Tensor, layer: Layer = LAST) -> Tensor:
        """Returns the output of a layer (N, channels, H, W) for images (N, 3, h, w) in [0, 1]."""
        x = (images - self.mean) / self.std if self.normalize else images
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, h/4, w/4)
        for name in LAYERS[: LAYERS.index(layer) + 1]:
            x = getattr(self, name)(x)
        return x

    def from_layer(self, feature_map: Tensor, layer: Layer) -> Outputs:
        """Continues a forward pass from the output of a layer (N, channels, H, W)."""
        for name in LAYERS[LAYERS.index(layer) + 1 :]:
            feature_map = getattr(self, name)(feature_map)
        features = feature_map.mean(dim=(2, 3))  # (N, d)
        return Outputs(self.fc(features), features, feature_map)

    def forward(self, images: Tensor) -> Outputs:
        """Forward pass of images (N, 3, h, w) in [0, 1]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone_frozen):
            feature_map = self.feature_map(images)
        return self.from_layer(feature_map, LAST)

    def folded(self) -> "Network":
        """Returns a faster copy for evaluation, with batch norms folded into convolutions; equal up to rounding."""
        network = copy.deepcopy(self).eval()
        for module in list(network.modules()):
            for conv, norm in FOLDED:
                if isinstance(getattr(module, norm, None), nn.BatchNorm2d):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())
        return network.to(memory_format=torch.channels_last)

    def freeze_backbone(self) -> "Network":
        """Freezes all weights and batch-norm statistics except the head; returns the network."""
        self.backbone_frozen = True
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("fc."))
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Switches training mode; a frozen backbone stays in evaluation mode to keep its batch-norm statistics."""
        super().train(mode and not self.backbone_frozen)
        self.training = mode
        return self


def build(arch: str, num_classes: int, bias: bool = True, normalize: bool = True) -> Network:
    """Builds a network with random weights; an `arch` that ends in `_unnormalised` switches the normalization off."""
    name = arch.removesuffix(UNNORMALISED_SUFFIX)
    return Network(name, num_classes, bias, normalize and name == arch)
