"""Residual networks (He et al., CVPR 2016; torchvision's) that return logits, pooled features and feature maps.

A network says of itself what others must know: how many features it has, how large the maps of its layers are, what its head is.
"""

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

Arch = Literal["resnet18", "resnet34", "resnet50"]
# Name -> block and number of blocks in each of the four layers, as torchvision builds them.
ARCHITECTURES: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
Layer = Literal["layer1", "layer2", "layer3", "layer4"]
STRIDES: dict[Layer, int] = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}  # pixels a position of a layer's map
LAST: Layer = "layer4"
FOLDED = (
    ("conv1", "bn1"),
    ("conv2", "bn2"),
    ("conv3", "bn3"),
    ("0", "1"),
)  # convolution and batch norm; the last: of a downsample
UNNORMALISED_SUFFIX = (
    "_unnormalised"  # of a checkpoint's `arch` where the network takes images without mean and standard deviation
)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Outputs(NamedTuple):
    """What one forward pass yields, for N images, C classes and d features (512 for ResNet-18 and -34, 2048 for ResNet-50).

    Attributes:
        logits: z = W f + b, (N, C).
        features: f, the feature map averaged over its positions, (N, d).
        feature_map: F, the output of the last convolutional block, (N, d, H, W); H = W = 7 for 224 x 224 images.
    """

    logits: Tensor
    features: Tensor
    feature_map: Tensor


class Network(ResNet):
    """torchvision's residual network, with torchvision's state dict, that takes images in [0, 1] and normalises them itself.

    The normalisation belongs to the weights (ImageNet statistics, or none for SimCLR encoders), so it travels with the network:
    no caller has to know which one a set of weights expects.

    Args:
        name: of `ARCHITECTURES`.
        num_classes: C; 0 makes an encoder without head, whose logits are its features.
        bias: whether the linear head has a bias.
        normalize: whether images are normalised by the ImageNet mean and standard deviation.

    Attributes:
        num_features: d, what the head takes.
    """

    def __init__(self, name: str, num_classes: int, bias: bool = True, normalize: bool = True) -> None:
        block, blocks = ARCHITECTURES[name]
        super().__init__(block, list(blocks))
        self.name = name
        self.num_features: int = self.inplanes  # torchvision's count of the channels that the last block gives
        self.fc: nn.Module = nn.Linear(self.num_features, num_classes, bias=bias) if num_classes else nn.Identity()
        self.normalize = normalize
        self.backbone_frozen = False
        # Constants of the arithmetic, not weights: kept out of the state dict so that it stays torchvision's.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def arch(self) -> str:
        """The network's name in checkpoints; it tells what the weights cannot, whether images are normalised."""
        return self.name if self.normalize else f"{self.name}{UNNORMALISED_SUFFIX}"

    @property
    def head(self) -> nn.Module:
        """From features (N, d) to logits (N, C): a linear layer; the identity in an encoder."""
        return self.fc

    @property
    def linear_head(self) -> nn.Linear:
        """The head of a network whose classes have codewords.

        Raises:
            TypeError: it is another kind of layer.
        """
        if not isinstance(self.fc, nn.Linear):
            raise TypeError(f"The head is a {type(self.fc).__name__}, not a linear layer.")
        return self.fc

    def replace_head(self, head: nn.Module) -> None:
        """Gives the network another head, from features (N, d) to logits (N, C)."""
        self.fc = head

    @staticmethod
    def grid(image_size: int, layer: Layer = LAST) -> int:
        """Side of a layer's map of images of a side in pixels: 4, 8, 16, 32 pixels a position of layer 1 .. 4, rounded up."""
        return -(-image_size // STRIDES[layer])

    def feature_map(self, images: Tensor, layer: Layer = LAST) -> Tensor:
        """The map of a layer, by default the last, F, of images (N, 3, h, w) in [0, 1]: (N, channels, H, W), H as `grid` says."""
        x = (images - self.mean) / self.std if self.normalize else images
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, h/4, w/4)
        for name in STRIDES:
            x = getattr(self, name)(x)
            if name == layer:
                return x
        raise ValueError(f"There is no layer {layer}.")

    def from_layer(self, feature_map: Tensor, layer: Layer) -> Outputs:
        """The rest of a pass, from a layer's map (N, channels, H, W) that `feature_map` gave."""
        names = list(STRIDES)
        for name in names[names.index(layer) + 1 :]:
            feature_map = getattr(self, name)(feature_map)
        features = feature_map.mean(dim=(2, 3))  # (N, d)
        return Outputs(self.fc(features), features, feature_map)

    def logits(self, feature_map: Tensor) -> Tensor:
        """What the head says of the last feature map (N, d, H, W): (N, C)."""
        return self.fc(feature_map.mean(dim=(2, 3)))

    def forward(self, images: Tensor) -> Outputs:
        """One pass over images (N, 3, h, w) in [0, 1]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone_frozen):
            feature_map = self.feature_map(images)
            features = feature_map.mean(dim=(2, 3))  # (N, d)
        return Outputs(self.fc(features), features, feature_map)

    def folded(self) -> "Network":
        """A copy for evaluation alone, equal but for rounding and faster.

        In evaluation mode a batch norm is a linear map with constants, so it is folded into the convolution before it.
        """
        network = copy.deepcopy(self).eval()
        for module in list(network.modules()):
            for conv, norm in FOLDED:
                if isinstance(getattr(module, norm, None), nn.BatchNorm2d):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())
        return network.to(memory_format=torch.channels_last)

    def freeze_backbone(self) -> "Network":
        """Keeps everything but the head as it is, batch-norm statistics included; returns the network."""
        self.backbone_frozen = True
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("fc."))
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Switches training mode; a frozen backbone stays in evaluation mode, since training mode would move its statistics."""
        super().train(mode and not self.backbone_frozen)
        self.training = mode
        return self


def build(arch: str, num_classes: int, bias: bool = True, normalize: bool = True) -> Network:
    """A network with weights drawn at random.

    Args:
        arch: a name of `ARCHITECTURES`, or a checkpoint's `arch`, whose ending says that images are not normalised.
        num_classes, bias, normalize: as in `Network`.

    Raises:
        KeyError: there is no such architecture.
    """
    name = arch.removesuffix(UNNORMALISED_SUFFIX)
    return Network(name, num_classes, bias, normalize and name == arch)
