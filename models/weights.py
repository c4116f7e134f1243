"""Networks from files: ours, the paper's, torchvision's and other tools'. Each loader takes what it needs or says what is in the way."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from models.named_classes import check_classes
from models.resnet import ARCHITECTURES, UNNORMALISED_SUFFIX, Network, build
from models.simclr import PROJECTION, SimCLR
from utils.base import checkpoints
from utils.base.errors import InputError

BACKBONE = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # the parts of the network but its head
HEADS = ("fc", "classifier", "head", "linear")  # what a linear head may be called, ours first
ENCODER_SIGN = "layer1.0.conv1.weight"  # the name of every copy of a backbone ends so
# Words in the names of encoders of which there are two: MoCo's, BYOL's, DINO's.
OF_TWO = checkpoints.SECOND_ENCODER | {"q", "query", "online", "student"}
NOT_OF_SIMCLR = (
    "decoder",
    "predict",
    "prototype",
)  # parts of other networks: segmentation and autoencoders, BYOL and SimSiam, SwAV


def title(arch: str) -> str:
    """An architecture in words: `ResNet-50` of resnet50; another name as it is."""
    return re.sub(r"^resnet(?=\d+$)", "ResNet-", arch)


def load_backbone(model: Network, pretrained: str) -> None:
    """Fills all of `model` but its head.

    Args:
        model: the network; its head keeps its initialisation. Its `normalize` is set to what the weights were trained with.
        pretrained: `imagenet` (torchvision's release, downloaded once), `none` (nothing is loaded), or the path of a checkpoint
            that holds a network of the same architecture with any head or none, whatever wraps it (`utils.base.checkpoints.locate`);
            `takes_unnormalised` says which images it is taken to expect.

    Raises:
        InputError: the file cannot be used, holds another architecture, or the ImageNet weights cannot be fetched.
    """
    if pretrained == "none":
        return
    source = f"--pretrained {pretrained}"
    content = checkpoints.read(_imagenet_file(model.name) if pretrained == "imagenet" else pretrained, "--pretrained")
    _check_architecture(content, model.name, source)
    found = locate_backbone(content, model.name, source)
    head = {f"fc.{name}": value for name, value in model.head.state_dict().items()}
    checkpoints.fit(model, {**found.weights, **head}, title(model.name), source, lenient=("fc",))
    model.normalize = not takes_unnormalised(content, found, source)


def _imagenet_file(arch: str) -> Path:
    """torchvision's ImageNet weights of an architecture in torch's cache, where they are put the first time.

    Raises:
        InputError: they cannot be fetched, or there are none.
    """
    try:
        url = get_model_weights(arch)["IMAGENET1K_V1"].url
    except ValueError:
        raise InputError(
            f"--pretrained imagenet: torchvision has no weights of {title(arch)}; give a checkpoint of one."
        ) from None
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
    except (
        OSError,
        RuntimeError,
        HTTPException,
    ) as error:  # no network or no room; another file's hash; a connection that breaks off
        advice = "download it elsewhere and give its path as --pretrained"
        raise InputError(
            f"--pretrained imagenet: the weights {url} cannot be downloaded ({error}); {advice}."
        ) from error
    return path


def locate_backbone(content: Mapping, arch: str, source: str) -> checkpoints.Found:
    """The network of an architecture in a checkpoint, its head apart.

    Raises:
        InputError: there is none.
    """
    with torch.device("meta"):  # only names and shapes count: nothing is drawn
        wanted = build(arch, 0).state_dict()
    return checkpoints.locate(content, wanted, title(arch), source)


def _check_architecture(content: Mapping, arch: str, source: str) -> None:
    """Proves that a checkpoint is not of another of our architectures; of one that is of none, whoever fills the network says why.

    Raises:
        InputError: naming the setting and what the file holds.
    """
    held = next((other for other in (arch, *ARCHITECTURES) if _fits(content, other, source)), arch)
    if held != arch:
        raise InputError(
            f"{source} does not fit --arch {arch}: it holds a {title(held)}; give --arch {held}, or weights of a {title(arch)}."
        )


def architecture_of(content: Mapping, source: str) -> str:
    """The architecture of the network in a checkpoint: as its `arch` says, else the one whose tensors are all there and no more.

    Where none fits it is ResNet-18, the paper's, and whoever loads that says what is wrong.
    """
    named = str(content.get("arch", "")).removesuffix(UNNORMALISED_SUFFIX)
    return (
        named
        if named in ARCHITECTURES
        else next((arch for arch in ARCHITECTURES if _fits(content, arch, source)), "resnet18")
    )


def _fits(content: Mapping, arch: str, source: str) -> bool:
    """Whether a checkpoint holds the backbone of an architecture whole, and no deeper one."""
    with torch.device("meta"):
        wanted = build(arch, 0).state_dict()
    try:
        found = locate_backbone(content, arch, source).weights
    except InputError:
        return False
    own = {name: tensor.shape for name, tensor in found.items() if name.split(".")[0] in BACKBONE}
    needed = {name: tensor.shape for name, tensor in wanted.items() if not name.endswith(checkpoints.COUNTER)}
    return needed.items() <= own.items() and own.keys() <= wanted.keys()


def projection_beside(found: checkpoints.Found) -> bool:
    """Whether a network was trained without labels, as SimCLR does: it is an `encoder`, or a projection stands beside it.

    The projection is known by its name (`projector`, `projection_head`) or, around a `backbone`, by being a multi-layer perceptron in
    the place of the head or beside it: two linear layers or more. Around `f`, as the paper of SimCLR calls the encoder, as well.
    """
    words = _words(found.prefix)
    if "encoder" in words:
        return True
    others = _but_backbone(found)
    if any("project" in name or _part(found, name).startswith("proj") for name in others):
        return True
    return not words.isdisjoint({"backbone", "f"}) and max(_linear_layers(found, others).values(), default=0) > 1


def simclr_layout(found: checkpoints.Found) -> bool:
    """Whether a network has the shape of SimCLR's encoder: beside it stand a projection of two linear layers without batch norm, perhaps
    a linear head, and averages of all of that, but no third layer, no second encoder, no decoder and no predictor.

    Supervised contrastive training (SupCon) leaves the same shape.
    """
    others = {
        name: tensor for name, tensor in _but_backbone(found).items() if checkpoints.TRAILING.isdisjoint(_words(name))
    }
    encoders = [found.prefix, *(name for name in found.beside if name.endswith(ENCODER_SIGN))]
    if any(OF_TWO & _words(name) for name in encoders):
        return False
    if any(name.endswith("running_mean") or any(part in name for part in NOT_OF_SIMCLR) for name in others):
        return False
    layers = _linear_layers(found, others)
    return (
        projection_beside(found) and sum(count for part, count in layers.items() if count > 1 or part not in HEADS) == 2
    )


def _words(name: str) -> set[str]:
    return set(re.split(r"[._]", name.lower()))


def _but_backbone(found: checkpoints.Found) -> dict[str, Tensor]:
    """What a checkpoint holds but the backbone: parts in the place of its head, by the network's names, and all beside, by whole names."""
    return {name: tensor for name, tensor in found.weights.items() if name.split(".")[0] not in BACKBONE} | found.beside


def _linear_layers(found: checkpoints.Found, tensors: Mapping[str, Tensor]) -> Counter[str]:
    """How many linear layers there are in each part among tensors of `_but_backbone`; one may be of several (`weight_v`, `weight_g`)."""
    named = {
        name.rpartition(".")[0]
        for name, tensor in tensors.items()
        if name.split(".")[-1].startswith("weight") and tensor.ndim == 2
    }
    return Counter(_part(found, f"{stem}.weight") for stem in named)


def _part(found: checkpoints.Found, name: str) -> str:
    """The part of the network, or of what holds the network, to which a tensor belongs: `fc` of `fc.0.weight` or `model.fc.0.weight`."""
    around = found.prefix.rstrip(".").rpartition(".")[0]  # `model` of `model.backbone.`
    return name.removeprefix(f"{around}.").split(".")[0]


def takes_unnormalised(content: Mapping, found: checkpoints.Found, source: str) -> bool:
    """Whether the backbone in a checkpoint expects images in [0, 1] without ImageNet's mean and standard deviation.

    A checkpoint of ours tells by its `arch`, or is a SimCLR as we save it. Else encoders of SimCLR's layout do (Chen et al., ICML 2020,
    and the public PyTorch releases), and everything else is taken to be trained as ImageNet classifiers are: MoCo (He et al., CVPR 2020),
    BYOL, DINO, Barlow Twins. Of another tool's encoder a warning says what was taken.
    """
    if str(content.get("arch")).endswith(UNNORMALISED_SUFFIX) or _saved_simclr(found):
        return True
    unnormalised = simclr_layout(found)
    if projection_beside(found):
        warnings.warn(_what_was_taken(unnormalised, source), stacklevel=2)
    return unnormalised


def _saved_simclr(found: checkpoints.Found) -> bool:
    """Whether a checkpoint is what `save_simclr` leaves, to the last tensor."""
    last = found.beside.get("projector.2.weight")
    ours = found.prefix == "encoder." and found.beside.keys() == {"projector.0.weight", "projector.2.weight"}
    return ours and last is not None and last.shape[0] == PROJECTION


def _what_was_taken(unnormalised: bool, source: str) -> str:
    """The sentence on the images that a network of another tool is taken to expect, and on what to do where that is wrong."""
    silent = "and does not say which images it expects: it gets them"
    if unnormalised:
        return (
            f"{source} has the layout of SimCLR {silent} without ImageNet's mean and standard deviation; if it was trained with them, save "
            "its encoder alone, as 'encoder.*', and give that."
        )
    return (
        f"{source} holds an encoder without SimCLR's layout {silent} with ImageNet's mean and standard deviation; if it was trained "
        f"without, add an entry 'arch' to the file, 'resnet18{UNNORMALISED_SUFFIX}' say."
    )


def load_classifier(path: str, classes: tuple[str, ...], shown: Sequence[str] = ()) -> Network:
    """A whole classifier from a checkpoint of ours, of the paper (`state_dict_m`), or of another tool that wraps it otherwise.

    Args:
        path: the checkpoint.
        classes: class names of the dataset in label order; the checkpoint's class count (and names, where it holds any) must agree.
        shown: the names as people read them, in label order; the checkpoint may name the classes so.

    Raises:
        InputError: the file is missing, of another architecture or for other classes.
    """
    source = f"--checkpoint {path}"
    content = checkpoints.read(path, "--checkpoint")
    check_classes(content, classes, path, shown)
    arch = architecture_of(content, source)
    with torch.device("meta"):
        wanted = build(arch, len(classes), bias=False).state_dict()
    found = checkpoints.locate(content, wanted, f"{title(arch)} classifier", source)
    weights = {
        name: tensor for name, tensor in found.weights.items() if name.split(".")[0] not in HEADS
    } | _linear_head(found)
    model = build(
        arch, len(classes), bias="fc.bias" in weights, normalize=not takes_unnormalised(content, found, source)
    )
    checkpoints.fit(model, weights, f"{title(arch)} classifier", source)
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


def load_head(model: Network, path: str, classes: tuple[str, ...], shown: Sequence[str] = ()) -> None:
    """Gives `model` the linear head that a checkpoint holds alone (`weight` and perhaps `bias`, whatever wraps them).

    Arguments are those of `load_classifier`.

    Raises:
        InputError: as `load_classifier`; also where other layers are in the file, since the head would not be one of `model`'s features.
    """
    source = f"--checkpoint {path}"
    content = checkpoints.read(path, "--checkpoint")
    check_classes(content, classes, path, shown)
    layers = {
        name: tensor.shape
        for name, tensor in checkpoints.tensors_of(content).items()
        if name.split(".")[-1] == "weight"
    }
    if len(set(layers.values())) > 1:  # copies of one head, averages for instance, have one shape
        raise InputError(
            f"{source} holds '{next(iter(layers))}' and other layers, needed is a linear head alone; give its checkpoint."
        )
    for shape in set(layers.values()):
        _check_features(shape, model, source)
    with torch.device("meta"):
        wanted = nn.Linear(model.num_features, len(classes), bias=False).state_dict()
    found = checkpoints.locate(content, wanted, "linear head", source)
    head = nn.Linear(model.num_features, len(classes), bias="bias" in found.weights)
    checkpoints.fit(head, found.weights, "linear head", source)
    model.replace_head(head)


def _check_features(shape: tuple[int, ...], model: Network, source: str) -> None:
    """Proves that a head alone, of a weight of this shape, was trained on as many features as a network has.

    Raises:
        InputError: naming the setting and the architectures that have as many.
    """
    if len(shape) != 2 or shape[1] == model.num_features:
        return
    with torch.device("meta"):
        fitting = [arch for arch in ARCHITECTURES if build(arch, 0).num_features == shape[1]]
    advice = (
        f"give --arch {' or '.join(fitting)}, with which it was trained, or another head"
        if fitting
        else "give another head"
    )
    raise InputError(
        f"{source} does not fit --arch {model.name}: it holds a head on {shape[1]} features, a {title(model.name)} has "
        f"{model.num_features}; {advice}."
    )


def save_simclr(path: str, model: SimCLR) -> None:
    """Saves the bare state dict."""
    checkpoints.save(path, model.state_dict())


def load_encoder(path: str, setting: str = "--checkpoint") -> Network:
    """The frozen encoder of a SimCLR checkpoint, ours or a public one, of any of our architectures, whatever wraps it and however wide
    its projection is.

    Args:
        path: the checkpoint.
        setting: the setting that errors name.

    Raises:
        InputError: the file is missing or is no network that was trained so (a classifier, another architecture).
    """
    source = f"{setting} {path}"
    content = checkpoints.read(path, setting)
    arch = architecture_of(content, source)
    found = locate_backbone(content, arch, source)
    if not projection_beside(found):
        raise InputError(
            f"{source} lacks a projection, so its {title(arch)} is no SimCLR encoder; give a checkpoint of SimCLR."
        )
    encoder = build(arch, num_classes=0, normalize=not takes_unnormalised(content, found, source))
    checkpoints.fit(encoder, found.weights, title(arch), source)
    return encoder.eval().freeze_backbone()
