"""Reading and writing checkpoints: always `weights_only`, always whole, always with a sentence when they do not fit."""

import io
from pathlib import Path

import torch
from torch import nn

from utils import processes
from utils.errors import InputError
from utils.files import write_bytes

# Where released checkpoints keep the network, in the order tried: the paper's key, the common one, else the dict is the network itself.
WEIGHT_KEYS = ("state_dict_m", "state_dict")


@processes.first_only
def save(path: str | Path, content: dict) -> None:
    """Saves `content` with torch.save, whole or not at all."""
    # Through memory: given a name, torch.save would write the temporary one, process number and all, into the archive; given an open
    # file, it would report a full disk as a fault of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def read(path: str | Path, setting: str) -> dict:
    """Reads a checkpoint onto the CPU.

    Args:
        path: the file.
        setting: the setting that led here, for the error message.

    Raises:
        InputError: the file is missing, is no checkpoint, or would need more than tensors and plain values to be loaded.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{setting}: there is no file {path}; make it first or correct the path.") from None
    except Exception:  # a damaged file makes torch.load raise nearly anything: struct.error, IndexError, AssertionError ...
        raise InputError(
            f"{setting}: {path} is not a checkpoint that can be loaded safely (tensors and plain values only); replace it."
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{setting}: {path} holds a {type(content).__name__}, not a checkpoint; replace it.")
    return content


def weights_of(content: dict) -> dict[str, torch.Tensor]:
    """The network's state dict inside a checkpoint, without the `module.` prefixes that DataParallel leaves."""
    for key in WEIGHT_KEYS:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def fit(model: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Loads `weights` into `model`; every tensor must be there and have the right shape.

    Args:
        model: the network to fill.
        weights: its state dict.
        source: setting and file, for the error message.

    Raises:
        InputError: a tensor is missing, superfluous or of another shape: another architecture or class count.
    """
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            raise InputError(f"{source} lacks '{name}': it belongs to another architecture; give a checkpoint of {type(model).__name__}.")
        if weights[name].shape != tensor.shape:
            found, wanted = tuple(weights[name].shape), tuple(tensor.shape)
            raise InputError(f"{source} has '{name}' of shape {found}, needed is {wanted}: another class count or architecture.")
    extra = [name for name in weights if name not in expected]
    if extra:
        raise InputError(f"{source} holds '{extra[0]}', which {type(model).__name__} has not: it belongs to another architecture.")
    model.load_state_dict(weights)
