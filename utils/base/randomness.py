"""Seeded random generators."""

import random

import numpy as np
import torch
from torch import Generator


def generator(*key: int) -> Generator:
    """Returns a generator that depends only on the numbers of `key`; trailing zeros are ignored."""
    return Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def make_repeatable(seed: int) -> None:
    """Seeds all generators and makes cuDNN deterministic: same seed, same machine, same bytes."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
