"""Loading and saving of every checkpoint: ours, the paper's, torchvision's and those of other tools."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torchvision.models import get_model_weights

from models.resnet import ARCHITECTURES, UNNORMALISED_SUFFIX, Network, build
from models.simclr import SimCLR
from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import write_bytes

# Keys and prefixes with which the paper's code and common tools wrap a network.
KEYS = ("state_dict_m", "state_dict", "model_state_dict", "model")
PREFIXES = ("_orig_mod.", "module.", "_orig_mod.", "model.", "backbone.", "encoder_q.", "encoder.")
PROJECTOR = {"projector.0.weight", "projector.2.weight"}  # SimCLR's projection head in the public releases
COUNTER = "num_batches_tracked"  # missing in torchvision's files of 2017
SAVE_ADVICE = "Save it with torch.save(model.state_dict(), ...)."

Normalize = Literal["auto", "imagenet", "none"]


@processes.first_only
def save_checkpoint(path: str | Path, content: dict) -> None:
    """Saves tensors and plain values with torch.save. All tensors are moved to the CPU, so that any machine can load them."""
    # Through memory: torch.save would write the temporary file's name into the archive.
    buffer = io.BytesIO()
    torch.save(_on_cpu(content), buffer)
    write_bytes(path, buffer.getbuffer())


def _on_cpu(value):
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(item) for item in value)
    return value


def read_checkpoint(path: str | Path, setting: str) -> dict:
    """Loads a checkpoint of tensors and plain values onto the CPU; `setting` is named in errors.

    Raises:
        InputError: the file is missing, damaged or not a dictionary of tensors and plain values.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{setting}: cannot read {path} ({error.strerror}). Check the path.") from None
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises nearly anything for a damaged file
        raise InputError(
            f"{setting}: {path} is damaged or not a checkpoint of tensors and plain values. {SAVE_ADVICE}"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{setting}: {path} contains a {type(content).__name__}, not a state dict. {SAVE_ADVICE}")
    return content


def load_backbone(model: Network, pretrained: str, normalize: Normalize = "auto") -> None:
    """Fills all of `model` except its head, and sets its `normalize`.

    Args:
        model: the network; its head keeps its initialization.
        pretrained: `imagenet` (torchvision's weights, downloaded once), `none` (loads nothing), or the path of a checkpoint of the
            same architecture with any head.
        normalize: whether the weights expect images normalized by ImageNet's mean and standard deviation; `auto`: see `_normalizes`.

    Raises:
        InputError: the file does not fit, or the ImageNet weights cannot be downloaded.
    """
    if pretrained == "none":
        return
    source = f"--pretrained {pretrained}"
    content = _imagenet_weights(model.name) if pretrained == "imagenet" else read_checkpoint(pretrained, "--pretrained")
    weights = _state_dict(content)
    arch = _architecture(content, weights, source)
    if arch != model.name:
        raise InputError(f"{source} contains a {arch}, not a {model.name}. Pass --arch {arch} or another checkpoint.")
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    head = {f"fc.{name}": tensor for name, tensor in model.head.state_dict().items()}
    _fill(model, backbone | head, source)
    model.normalize = _normalizes(content, normalize)


def _imagenet_weights(arch: str) -> dict[str, Tensor]:
    try:
        return get_model_weights(arch)["IMAGENET1K_V1"].get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        advice = "Download them elsewhere and pass their path as --pretrained."
        raise InputError(f"--pretrained imagenet: cannot download the weights of {arch} ({error}). {advice}") from error


def load_classifier(path: str, classes: tuple[str, ...]) -> Network:
    """Loads a whole classifier in evaluation mode. Its number of classes, and their names if saved, must match the dataset's.

    Args:
        path: the checkpoint.
        classes: class names of the dataset in label order.

    Raises:
        InputError: the file is missing, of another architecture or for other classes.
    """
    source = f"--checkpoint {path}"
    content = read_checkpoint(path, "--checkpoint")
    _check_classes(content, classes, source)
    weights = _state_dict(content)
    arch = _architecture(content, weights, source)
    model = build(arch, len(classes), bias="fc.bias" in weights, normalize=_normalizes(content))
    _fill(model, weights, source)
    return model.eval()


def load_head(model: Network, path: str, classes: tuple[str, ...]) -> None:
    """Replaces the head of `model` by the linear head of a checkpoint that contains only `weight` and possibly `bias`.

    Raises:
        InputError: as `load_classifier`.
    """
    source = f"--checkpoint {path}"
    content = read_checkpoint(path, "--checkpoint")
    _check_classes(content, classes, source)
    weights = _state_dict(content)
    consume_prefix_in_state_dict_if_present(weights, "fc.")
    if not weights.keys() <= {"weight", "bias"}:
        raise InputError(f"{source} contains more than a linear head. Pass the checkpoint of a head.")
    head = nn.Linear(model.num_features, len(classes), bias="bias" in weights)
    _fill(head, weights, source)
    model.replace_head(head)


def save_simclr(path: str | Path, model: SimCLR) -> None:
    """Saves the bare state dict, the layout of the public PyTorch releases."""
    save_checkpoint(path, model.state_dict())


def load_encoder(path: str, setting: str = "--checkpoint", normalize: Normalize = "auto") -> Network:
    """Loads a self-supervised encoder, ours or a public one, with its backbone frozen.

    Args:
        path: the checkpoint.
        setting: named in errors.
        normalize: as in `load_backbone`.

    Raises:
        InputError: the file is missing, of another architecture, or a classifier.
    """
    source = f"{setting} {path}"
    content = read_checkpoint(path, setting)
    if "fc.weight" in _state_dict(content, PREFIXES[:3]):
        raise InputError(f"{source} contains a classifier. Pass the checkpoint of a SimCLR encoder.")
    weights = _state_dict(content)
    arch = _architecture(content, weights, source)
    encoder = build(arch, num_classes=0, normalize=_normalizes(content, normalize))
    _fill(encoder, {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}, source)
    return encoder.eval().freeze_backbone()


def _state_dict(content: Mapping, prefixes: tuple[str, ...] = PREFIXES) -> dict[str, Tensor]:
    """The tensors of a checkpoint without the keys and prefixes of wrappers."""
    for key in KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
    weights = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    for prefix in prefixes:
        consume_prefix_in_state_dict_if_present(weights, prefix)
    return weights


def _architecture(content: Mapping, weights: Mapping[str, Tensor], source: str) -> str:
    """The recorded architecture, or else the one with most tensors in common with the file."""
    if "layer1.0.conv1.weight" not in weights:
        names = ", ".join(list(weights)[:3]) or "no tensors"
        raise InputError(f"{source} does not contain a ResNet ({names} ...). Pass the checkpoint of one.")
    recorded = str(content.get("arch", "")).removesuffix(UNNORMALISED_SUFFIX)
    return recorded if recorded in ARCHITECTURES else min(ARCHITECTURES, key=lambda arch: _differences(arch, weights))


def _differences(arch: str, weights: Mapping[str, Tensor]) -> int:
    """Number of backbone tensors by which an architecture and a file differ."""
    with torch.device("meta"):
        expected = build(arch, 0).state_dict()
    pairs = [
        {(name, tensor.shape) for name, tensor in one.items() if COUNTER not in name} for one in (expected, weights)
    ]
    return len({(name, shape) for name, shape in pairs[0] ^ pairs[1] if not name.startswith("fc.")})


def _fill(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Loads `weights` into `model`. Tensors outside the parts of the model, such as a projection head, are ignored.

    Raises:
        InputError: a tensor is missing, has another shape or values that are not finite, or belongs to a deeper network.
    """
    what = model.name if isinstance(model, Network) else "a linear head"
    expected = model.state_dict()
    parts = {name.split(".")[0] for name in expected}
    surplus = [name for name in weights if name.split(".")[0] in parts and name not in expected]
    missing = [name for name in expected if name not in weights and COUNTER not in name]
    if missing or surplus:
        problem = f"'{missing[0]}' is missing" if missing else f"'{surplus[0]}' does not belong to it"
        raise InputError(f"{source} does not match {what}: {problem}. Check --arch or pass another checkpoint.")
    loaded = {name: weights[name] for name in expected if name in weights}
    for name, tensor in loaded.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
            raise InputError(
                f"{source} does not match {what} and the dataset's classes: '{name}' has shape {shapes}. Pass another checkpoint."
            )
        if not tensor.isfinite().all():
            raise InputError(f"{source} has values in '{name}' that are not finite. Pass another checkpoint.")
    model.load_state_dict(expected | loaded)


def _normalizes(content: Mapping, normalize: Normalize = "auto") -> bool:
    """Whether the network of a checkpoint expects images normalized by ImageNet's mean and standard deviation.

    Automatically no if the recorded `arch` says so, or if the file has the layout of SimCLR's public releases; otherwise yes.
    """
    if normalize != "auto":
        return normalize == "imagenet"
    names = _state_dict(content, PREFIXES[:3]).keys()
    simclr = PROJECTOR <= names and any(name.startswith("encoder.") for name in names)
    return not simclr and not str(content.get("arch")).endswith(UNNORMALISED_SUFFIX)


def _check_classes(content: Mapping, classes: tuple[str, ...], source: str) -> None:
    saved = content.get("classes", classes)
    if list(saved) != list(classes):
        raise InputError(
            f"{source} was trained for the classes {', '.join(map(str, saved))}, but the dataset has {', '.join(classes)}. "
            "Pass the checkpoint of this dataset."
        )
