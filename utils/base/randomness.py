"""Where every random number comes from: generators made for a purpose, and that the same seed gives the same bytes."""

import random

import numpy as np
import torch
from torch import Generator


def generator(*key: int) -> Generator:
    """A random generator that depends on the numbers of `key` alone; zeros at its end do not count, (7,) and (7, 0) give the same."""
    return Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def make_repeatable(seed: int) -> None:
    """Seeds every generator and asks cuDNN for the same algorithms each time: same seed, same machine, same bytes.

    On CUDA convolutions keep PyTorch's default, TF32 where the GPU has it (tests/test_cuda.py holds a course in it against float32).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
