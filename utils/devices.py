"""Where the arithmetic runs, and that it runs the same way twice."""

import random

import numpy as np
import torch

from utils import processes
from utils.errors import InputError


def choose(device: str) -> str:
    """Resolves `--device`: `auto` (CUDA where there is one), `cpu`, `cuda` (of several processes each takes its own) or `cuda:<number>`.

    Raises:
        InputError: the device does not exist here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = processes.own_device(device)
    try:
        kind = torch.device(device)
    except RuntimeError:
        kind = None
    if kind is None or kind.type not in ("cpu", "cuda"):
        raise InputError(f"--device '{device}' is unknown; choose auto, cpu, cuda or cuda:1.")
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {device}: this machine shows {torch.cuda.device_count()} CUDA devices; choose another, or auto.")
    return device


def make_repeatable(seed: int) -> None:
    """Seeds every generator and asks cuDNN for the same algorithms each time: same seed, same machine, same bytes.

    On CUDA convolutions keep PyTorch's default, TF32 where the GPU has it (tests/test_cuda.py holds a course in it against float32).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
