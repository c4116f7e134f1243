"""NT-Xent against a double loop, and checkpoint keys."""

import math

import pytest
import torch

from models.resnet import build
from models.simclr import SimCLR, nt_xent
from models.weights import load_backbone, load_encoder, save_simclr
from utils.base.errors import InputError


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


def test_nt_xent_of_one_image_is_refused():
    with pytest.raises(ValueError, match="two images or more"):
        nt_xent(torch.randn(2, 6), 0.5)


def test_checkpoint_has_the_keys_of_the_public_releases(tmp_path):
    torch.manual_seed(0)
    model = SimCLR()
    save_simclr(tmp_path / "simclr_checkpoint_1.tar", model)
    state = torch.load(tmp_path / "simclr_checkpoint_1.tar", weights_only=True)
    heads = {name for name in state if not name.startswith("encoder.")}
    assert heads == {"projector.0.weight", "projector.2.weight"}
    assert state["projector.0.weight"].shape == (512, 512) and state["projector.2.weight"].shape == (64, 512)
    encoder = {name.removeprefix("encoder.") for name in state if name.startswith("encoder.")}
    assert encoder == {name for name in build("resnet18", 5).state_dict() if not name.startswith("fc.")}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_checkpoint_loads_as_encoder_and_as_student_features(tmp_path, prefix):
    torch.manual_seed(1)
    model = SimCLR().eval()
    path = tmp_path / "public.tar"
    torch.save({prefix + name: value for name, value in model.state_dict().items()}, path)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.encoder(images).features
        assert torch.equal(load_encoder(path)(images).features, expected)
        student = build("resnet18", 5, bias=False).eval()
        load_backbone(student, str(path))
        assert torch.equal(student(images).features, expected)  # without mean and standard deviation, as it was trained


def test_a_classifier_is_no_encoder(tmp_path):
    torch.save(build("resnet18", 5).state_dict(), tmp_path / "resnet.pt")
    with pytest.raises(InputError, match="no SimCLR encoder"):
        load_encoder(tmp_path / "resnet.pt")
