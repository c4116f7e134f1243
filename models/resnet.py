"""ResNet-18 (He et al., CVPR 2016; torchvision's network) that returns logits, pooled features and the last feature map."""

import copy
import re
from collections import Counter
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
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
BACKBONE = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # the parts of the network but its head
HEADS = ("fc", "classifier", "head", "linear")  # what a linear head may be called, ours first
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
        pretrained: `imagenet` (torchvision's release, downloaded once), `none` (nothing is loaded), or the path of a checkpoint
            that holds a ResNet-18 with any head or none, whatever wraps it (`utils.checkpoints.locate`); `takes_unnormalised` says
            which images it is taken to expect.

    Raises:
        InputError: the file cannot be used, or the ImageNet weights cannot be fetched.
    """
    if pretrained == "none":
        return
    source = f"--pretrained {pretrained}"
    content = checkpoints.read(_imagenet_file() if pretrained == "imagenet" else pretrained, "--pretrained")
    found = locate_backbone(content, source)
    head = {f"fc.{name}": value for name, value in model.fc.state_dict().items()}
    checkpoints.fit(model, {**found.weights, **head}, source, lenient=("fc",))
    model.normalize = not takes_unnormalised(content, found)


def _imagenet_file() -> Path:
    """torchvision's ImageNet weights in torch's cache, where they are put the first time.

    Raises:
        InputError: they cannot be fetched.
    """
    url = ResNet18_Weights.IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (OSError, RuntimeError, HTTPException) as error:  # no network or no room; another file's hash; a connection that breaks off
        advice = "download it elsewhere and give its path as --pretrained"
        raise InputError(f"--pretrained imagenet: the weights {url} cannot be downloaded ({error}); {advice}.") from error
    return path


def locate_backbone(content: Mapping, source: str) -> checkpoints.Found:
    """The ResNet-18 in a checkpoint, its head apart.

    Raises:
        InputError: there is none.
    """
    with torch.device("meta"):  # only names and shapes count: nothing is drawn
        wanted = ResNet18(0).state_dict()
    return checkpoints.locate(content, wanted, "ResNet-18", source)


def projection_beside(found: checkpoints.Found) -> bool:
    """Whether a network was trained without labels, as SimCLR does: it is an `encoder`, or a projection stands beside it.

    The projection is known by its name (`projector`, `projection_head`) or, around a `backbone`, by being a multi-layer perceptron in
    the place of the head or beside it: two linear layers or more.
    """
    words = set(re.split(r"[._]", found.prefix))
    if "encoder" in words:
        return True
    others = {name: tensor for name, tensor in found.weights.items() if name.split(".")[0] not in BACKBONE} | found.beside
    if any("project" in name or _part(found, name).startswith("proj") for name in others):
        return True
    layers = Counter(_part(found, name) for name, tensor in others.items() if name.endswith("weight") and tensor.ndim == 2)
    return "backbone" in words and max(layers.values(), default=0) > 1


def _part(found: checkpoints.Found, name: str) -> str:
    """The part of the network, or of what holds the network, to which a tensor belongs: `fc` of `fc.0.weight` or `model.fc.0.weight`."""
    around = found.prefix.rstrip(".").rpartition(".")[0]  # `model` of `model.backbone.`
    return name.removeprefix(f"{around}.").split(".")[0]


def takes_unnormalised(content: Mapping, found: checkpoints.Found) -> bool:
    """Whether the backbone in a checkpoint expects images in [0, 1] without ImageNet's mean and standard deviation.

    A checkpoint of ours tells by its `arch`. Else SimCLR encoders do (Chen et al., ICML 2020, and the public PyTorch releases), and
    everything else, MoCo's `encoder_q` included (He et al., CVPR 2020), is taken to be trained as ImageNet classifiers are.
    """
    return content.get("arch") == UNNORMALISED or (projection_beside(found) and "encoder_q" not in found.prefix)


def load_classifier(path: str, classes: tuple[str, ...]) -> ResNet18:
    """A whole classifier from a checkpoint of ours, of the paper (`state_dict_m`), or of another tool that wraps it otherwise.

    Args:
        path: the checkpoint.
        classes: class names of the dataset in label order; the checkpoint's class count (and names, where it holds any) must agree.

    Raises:
        InputError: the file is missing, of another architecture or for other classes.
    """
    source = f"--checkpoint {path}"
    content = checkpoints.read(path, "--checkpoint")
    check_classes(content, classes, path)
    with torch.device("meta"):
        wanted = ResNet18(len(classes), bias=False).state_dict()
    found = checkpoints.locate(content, wanted, "ResNet-18 classifier", source)
    weights = {name: tensor for name, tensor in found.weights.items() if name.split(".")[0] not in HEADS} | _linear_head(found)
    model = ResNet18(len(classes), bias="fc.bias" in weights, normalize=content.get("arch") != UNNORMALISED)
    checkpoints.fit(model, weights, source)
    return model.eval()


def _linear_head(found: checkpoints.Found) -> dict[str, Tensor]:
    """The linear head of a network under the names `fc.weight` and perhaps `fc.bias`; empty where it has none.

    It may be called otherwise, stand beside the network, or be the one layer with weights of several (`fc.1` after a dropout).
    """
    for tensors in (found.weights, found.beside):
        for part in HEADS:
            head = {name: tensor for name, tensor in tensors.items() if _part(found, name) == part}
            stems = {name.rpartition(".")[0] for name in head}
            if head:
                linear = len(stems) == 1 and {name.rpartition(".")[2] for name in head} <= {"weight", "bias"}
                return {f"fc.{name.rpartition('.')[2]}": tensor for name, tensor in head.items()} if linear else {}
    return {}


def load_head(model: ResNet18, path: str, classes: tuple[str, ...]) -> None:
    """Gives `model` the linear head that a checkpoint holds alone (`weight` and perhaps `bias`, whatever wraps them).

    Raises:
        InputError: as `load_classifier`; also where other layers are in the file, since the head would not be one of `model`'s features.
    """
    source = f"--checkpoint {path}"
    content = checkpoints.read(path, "--checkpoint")
    check_classes(content, classes, path)
    layers = {name: tensor.shape for name, tensor in checkpoints.tensors_of(content).items() if name.split(".")[-1] == "weight"}
    if len(set(layers.values())) > 1:  # copies of one head, averages for instance, have one shape
        raise InputError(f"{source} holds '{next(iter(layers))}' and other layers, needed is a linear head alone; give its checkpoint.")
    with torch.device("meta"):
        wanted = nn.Linear(FEATURES, len(classes), bias=False).state_dict()
    found = checkpoints.locate(content, wanted, "linear head", source)
    head = nn.Linear(FEATURES, len(classes), bias="bias" in found.weights)
    checkpoints.fit(head, found.weights, source)
    model.fc = head


def check_classes(content: Mapping, classes: tuple[str, ...], path: str) -> None:
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
