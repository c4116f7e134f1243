"""NT-Xent against a double loop, and the features of a public checkpoint."""

import math

import pytest
import torch

from models.resnet import build
from models.simclr import SimCLR, nt_xent
from models.weights import load_backbone, load_encoder


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


@pytest.mark.parametrize("prefix", ["", "module."])
def test_features_of_a_public_checkpoint(tmp_path, prefix):
    torch.manual_seed(1)
    model = SimCLR().eval()
    path = str(tmp_path / "public.tar")
    torch.save({prefix + name: value for name, value in model.state_dict().items()}, path)
    images = torch.rand(2, 3, 64, 64)
    student = build("resnet18", 5, bias=False).eval()
    load_backbone(student, path)
    with torch.no_grad():
        expected = model.encoder(images).features  # not normalized, as it was trained
        assert torch.equal(load_encoder(path)(images).features, expected)
        assert torch.equal(student(images).features, expected)
