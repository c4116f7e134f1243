"""Loading and saving of all checkpoints: ours, the paper's, torchvision's and those of other tools."""

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
from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import write_bytes

KEYS = ("state_dict_m", "state_dict", "model_state_dict", "model")  # entries with the network; the paper's first
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")  # prefixes of torch.compile and DataParallel, in either order
PREFIXES = (*WRAPPERS, "model.", "backbone.", "encoder_q.", "encoder.")
COUNTER = "num_batches_tracked"  # missing in checkpoints of early PyTorch
SAVE_ADVICE = "Save the network with torch.save(model.state_dict(), ...)."

Normalize = Literal["auto", "imagenet", "none"]


@processes.first_only
def save_checkpoint(path: str | Path, content: dict) -> None:
    """Saves tensors (moved to the CPU) and plain values atomically."""
    # Into a buffer, because torch.save writes the name of its file into the archive, here a temporary one.
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
    """Loads a dictionary of tensors and plain values onto the CPU; raises InputError, which names `setting`."""
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{setting}: cannot read {path} ({error.strerror}). Check the path.") from None
    except Exception as error:  # torch.load raises almost anything for a damaged file
        problem = f"is damaged, or not a checkpoint of tensors and plain values ({type(error).__name__})"
        raise InputError(f"{setting}: {path} {problem}. {SAVE_ADVICE}") from error
    if not isinstance(content, dict):
        raise InputError(f"{setting}: {path} contains a {type(content).__name__}, not a state dict. {SAVE_ADVICE}")
    return content


def load_backbone(model: Network, pretrained: str, normalize: Normalize = "auto") -> None:
    """Loads a backbone and sets its input normalization (`_normalizes`); the head keeps its initialization.

    `pretrained` is `imagenet` (torchvision's weights, downloaded once), `none` (loads nothing), or the path of a
    checkpoint of the same architecture with any head.
    """
    if pretrained == "none":
        return
    source = f"--pretrained {pretrained}"
    content = _imagenet_weights(model.name) if pretrained == "imagenet" else read_checkpoint(pretrained, "--pretrained")
    weights = _state_dict(content)
    arch = _architecture(content, weights, source)
    if arch != model.name:
        raise InputError(f"{source} contains a {arch}, not a {model.name}. Pass --arch {arch} or another checkpoint.")
    _fill(model, weights, source, head=False)
    model.normalize = _normalizes(content, normalize)


def load_classifier(path: str, classes: tuple[str, ...]) -> Network:
    """Loads a classifier of these classes in evaluation mode."""
    source = f"--checkpoint {path}"
    content, weights = _of_classes(path, classes, source)
    arch = _architecture(content, weights, source)
    model = build(arch, len(classes), bias="fc.bias" in weights, normalize=_normalizes(content))
    _fill(model, weights, source)
    return model.eval()


def load_head(model: Network, path: str, classes: tuple[str, ...]) -> None:
    """Loads a linear head that was saved without its network."""
    source = f"--checkpoint {path}"
    _, weights = _of_classes(path, classes, source)
    consume_prefix_in_state_dict_if_present(weights, "fc.")
    if not weights.keys() <= {"weight", "bias"}:
        raise InputError(f"{source} contains more than a linear head. Pass the checkpoint of a linear head.")
    head = nn.Linear(model.num_features, len(classes), bias="bias" in weights)
    _fill(head, weights, source)
    model.fc = head


def load_encoder(path: str, setting: str = "--checkpoint", normalize: Normalize = "auto") -> Network:
    """Loads the encoder of SimCLR or of another self-supervised method, with its backbone frozen."""
    source = f"{setting} {path}"
    content = read_checkpoint(path, setting)
    if "fc.weight" in _state_dict(content, WRAPPERS):
        raise InputError(f"{source} contains a classifier. Pass the checkpoint of a SimCLR encoder.")
    weights = _state_dict(content)
    encoder = build(_architecture(content, weights, source), num_classes=0, normalize=_normalizes(content, normalize))
    _fill(encoder, weights, source, head=False)
    return encoder.eval().freeze_backbone()


def _imagenet_weights(arch: str) -> dict[str, Tensor]:
    try:
        return get_model_weights(arch)["IMAGENET1K_V1"].get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        advice = "Download them elsewhere and pass their path as --pretrained."
        raise InputError(f"--pretrained imagenet: cannot get the weights of {arch} ({error}). {advice}") from error


def _of_classes(path: str, classes: tuple[str, ...], source: str) -> tuple[dict, dict[str, Tensor]]:
    """Returns a checkpoint and its weights; raises InputError if it records other classes."""
    content = read_checkpoint(path, "--checkpoint")
    recorded = [str(name) for name in content.get("classes", classes)]
    if recorded != list(classes):
        lists = f"trained for the classes {', '.join(recorded)}, but the dataset has {', '.join(classes)}"
        raise InputError(f"{source} was {lists}. Pass the checkpoint of this dataset.")
    return content, _state_dict(content)


def _state_dict(content: Mapping, prefixes: tuple[str, ...] = PREFIXES) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint without the keys and prefixes of wrappers."""
    for key in KEYS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
    weights = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    for prefix in prefixes:
        consume_prefix_in_state_dict_if_present(weights, prefix)
    return weights


def _normalizes(content: Mapping, normalize: Normalize = "auto") -> bool:
    """Returns True if the network of a checkpoint expects images normalized by ImageNet's statistics.

    `auto`: False if the recorded `arch` says so and for the layout of SimCLR's public releases, else True.
    """
    if normalize != "auto":
        return normalize == "imagenet"
    names = _state_dict(content, WRAPPERS).keys()
    simclr = names >= {"encoder.conv1.weight", "projector.0.weight", "projector.2.weight"}
    return not simclr and not str(content.get("arch")).endswith(UNNORMALISED_SUFFIX)


def _architecture(content: Mapping, weights: Mapping[str, Tensor], source: str) -> str:
    """Returns the recorded architecture, or the one whose backbone differs in the fewest tensors."""
    if "layer1.0.conv1.weight" not in weights:
        names = ", ".join(list(weights)[:3]) or "no tensors"
        raise InputError(f"{source} does not contain a ResNet ({names}). Pass the checkpoint of a ResNet.")

    def shapes(state: Mapping[str, Tensor]) -> set:
        return {(name, tensor.shape) for name, tensor in state.items() if name[:3] != "fc." and COUNTER not in name}

    def differences(arch: str) -> int:
        with torch.device("meta"):
            return len(shapes(build(arch, 0).state_dict()) ^ shapes(weights))

    recorded = str(content.get("arch", "")).removesuffix(UNNORMALISED_SUFFIX)
    return recorded if recorded in ARCHITECTURES else min(ARCHITECTURES, key=differences)


def _fill(model: nn.Module, weights: Mapping[str, Tensor], source: str, head: bool = True) -> None:
    """Loads `weights` into `model` (without its head if `head` is False); ignores other parts, such as a projector.

    Raises InputError if a tensor is missing, not finite or of another shape, or if a part has additional tensors.
    """
    what = getattr(model, "name", "a linear head")
    expected = {name: tensor for name, tensor in model.state_dict().items() if head or not name.startswith("fc.")}
    parts = {name.split(".")[0] for name in expected}
    missing = [name for name in expected if name not in weights and COUNTER not in name]
    surplus = [name for name in weights if name not in expected and name.split(".")[0] in parts]
    if missing or surplus:
        problem = f"'{missing[0]}' is missing" if missing else f"it has no '{surplus[0]}'"
        raise InputError(f"{source} does not match {what}: {problem}. Check --arch or pass another checkpoint.")
    loaded = {name: weights[name] for name in expected if name in weights}
    for name, tensor in loaded.items():
        if tensor.shape != expected[name].shape:
            shapes = f"'{name}' has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            raise InputError(f"{source} does not match {what} for this dataset: {shapes}. Pass another checkpoint.")
        if not tensor.isfinite().all():
            raise InputError(f"{source} contains values in '{name}' that are not finite. Pass another checkpoint.")
    model.load_state_dict(expected | loaded, strict=head)
