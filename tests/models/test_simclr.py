"""NT-Xent against a double loop."""

import math

import pytest
import torch

from models.simclr import nt_xent


def plain_nt_xent(z, temperature):
    """Equation 1 of the paper, term by term."""

    def similarity(u, v):
        return (torch.dot(u, v) / (u.norm() * v.norm())).item()

    count = len(z) // 2
    total = 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = sum(math.exp(similarity(z[i], z[k]) / temperature) for k in range(2 * count) if k != i)
        total -= math.log(math.exp(similarity(z[i], z[j]) / temperature) / others)
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_against_a_double_loop(temperature):
    z = torch.randn(10, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert nt_xent(z, temperature).item() == pytest.approx(plain_nt_xent(z, temperature))
