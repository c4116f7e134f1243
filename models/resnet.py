"""ResNet-18 (He et al., CVPR 2016; torchvision's network) that returns logits, pooled features and the last feature map."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock, ResNet

from utils import checkpoints
from utils.errors import InputError

FEATURES = 512
UNNORMALISED = "resnet18_unnormalised"  # a checkpoint's `arch` where the network takes images without mean and standard deviation
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def grid_side(image_size: int) -> int:
    """Side of the last feature map of images of a side in pixels: 32 pixels a position, rounded up."""
    return -(-image_size // 32)


class Outputs(NamedTuple):
    """What one forward pass yields, for N images and C classes.

    Attributes:
        logits: z = W f + b, (N, C).
        features: f, the feature map averaged over its positions, (N, 512).
        feature_map: F, the output of the last convolutional block, (N, 512, H, W); H = W = 7 for 224 x 224 images.
    """

    logits: Tensor
    features: Tensor
    feature_map: Tensor


class ResNet18(ResNet):
    """torchvision's ResNet-18, with torchvision's state dict, that takes images in [0, 1] and normalises them itself.

    The normalisation belongs to the weights (ImageNet statistics, or none for SimCLR encoders), so it travels with the network:
    no caller has to know which one a set of weights expects.

    Args:
        num_classes: C; 0 makes an encoder without head, whose logits are its features.
        bias: whether the linear head has a bias.
        normalize: whether images are normalised by the ImageNet mean and standard deviation.
    """

    def __init__(self, num_classes: int, bias: bool = True, normalize: bool = True) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.fc = nn.Linear(FEATURES, num_classes, bias=bias) if num_classes else nn.Identity()
        self.normalize = normalize
        self.backbone_frozen = False
        # Constants of the arithmetic, not weights: kept out of the state dict so that it stays torchvision's.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @property
    def arch(self) -> str:
        """The network's name in checkpoints; it tells what the weights cannot, whether images are normalised."""
        return "resnet18" if self.normalize else UNNORMALISED

    def feature_map(self, images: Tensor) -> Tensor:
        """The last feature map F of images (N, 3, h, w) in [0, 1]: (N, 512, H, W)."""
        x = (images - self.mean) / self.std if self.normalize else images
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, h/4, w/4)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (N, 512, h/32, w/32)

    def forward(self, images: Tensor) -> Outputs:
        """One pass over images (N, 3, h, w) in [0, 1]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone_frozen):
            feature_map = self.feature_map(images)
            features = feature_map.mean(dim=(2, 3))  # (N, 512)
        return Outputs(self.fc(features), features, feature_map)

    def folded(self) -> "ResNet18":
        """A copy for evaluation alone, equal but for rounding and faster.

        In evaluation mode a batch norm is a linear map with constants, so it is folded into the convolution before it.
        """
        network = copy.deepcopy(self).eval()
        for module in list(network.modules()):
            for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("0", "1")):  # the last: the two layers of a block's downsample
                if isinstance(getattr(module, norm, None), nn.BatchNorm2d):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())
        return network.to(memory_format=torch.channels_last)

    def freeze_backbone(self) -> "ResNet18":
        """Keeps everything but the head as it is, batch-norm statistics included; returns the network."""
        self.backbone_frozen = True
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("fc."))
        return self.train(self.training)

    def train(self, mode: bool = True) -> "ResNet18":
        """Switches training mode; a frozen backbone stays in evaluation mode, since training mode would move its statistics."""
        super().train(mode and not self.backbone_frozen)
        self.training = mode
        return self


def load_backbone(model: ResNet18, pretrained: str) -> None:
    """Fills all of `model` but its head.

    Args:
        model: the network; its head keeps its initialisation. Its `normalize` is set to what the weights were trained with.
        pretrained: `imagenet` (torchvision's release, downloaded once), `none` (nothing is loaded), or the path of a state
            dict: torchvision's layout with any head, a checkpoint with `state_dict_m`, or a SimCLR checkpoint.

    Raises:
        InputError: the file cannot be used, or the ImageNet weights cannot be fetched.
    """
    if pretrained == "none":
        return
    source = f"--pretrained {pretrained}"
    weights = _imagenet_weights() if pretrained == "imagenet" else checkpoints.weights_of(checkpoints.read(pretrained, "--pretrained"))
    simclr = any(name.startswith("encoder.") for name in weights)
    if simclr:
        weights = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    head = {f"fc.{name}": value for name, value in model.fc.state_dict().items()}
    checkpoints.fit(model, {**weights, **head}, source)
    # SimCLR encoders are trained on images in [0, 1] without mean and standard deviation (method of Chen et al., ICML 2020).
    model.normalize = not simclr


def _imagenet_weights() -> dict[str, Tensor]:
    try:
        return ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        advice = "download it elsewhere and give its path as --pretrained"
        raise InputError(f"--pretrained imagenet: the weights cannot be downloaded ({error}); {advice}.") from error


def load_classifier(path: str, classes: tuple[str, ...]) -> ResNet18:
    """A whole classifier from a checkpoint of ours or of the paper (`state_dict_m`, with or without `module.` prefixes).

    Args:
        path: the checkpoint.
        classes: class names of the dataset in label order; the checkpoint's class count (and names, where it holds any) must agree.

    Raises:
        InputError: the file is missing, of another architecture or for other classes.
    """
    content = checkpoints.read(path, "--checkpoint")
    weights = checkpoints.weights_of(content)
    check_classes(content, classes, path)
    model = ResNet18(len(classes), bias="fc.bias" in weights, normalize=content.get("arch") != UNNORMALISED)
    checkpoints.fit(model, weights, f"--checkpoint {path}")
    return model.eval()


def load_head(model: ResNet18, path: str, classes: tuple[str, ...]) -> None:
    """Gives `model` the linear head that a checkpoint holds alone (`state_dict_m` with `weight` and perhaps `bias`).

    Raises:
        InputError: as `load_classifier`.
    """
    content = checkpoints.read(path, "--checkpoint")
    weights = checkpoints.weights_of(content)
    check_classes(content, classes, path)
    head = nn.Linear(FEATURES, len(classes), bias="bias" in weights)
    checkpoints.fit(head, weights, f"--checkpoint {path}")
    model.fc = head


def check_classes(content: dict, classes: tuple[str, ...], path: str) -> None:
    """Proves that a checkpoint, where it names its classes, names those of the dataset.

    Raises:
        InputError: the names differ.
    """
    named = content.get("classes")
    if isinstance(named, (list, tuple)) and tuple(named) != tuple(classes):
        raise InputError(
            f"--checkpoint {path} was trained for the classes {', '.join(map(str, named))}, the dataset has {', '.join(classes)}; "
            "give the checkpoint of this dataset."
        )
