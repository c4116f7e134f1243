"""The networks against torchvision's, their parts, and what freezing and folding leave unchanged."""

from typing import get_args

import pytest
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck

from models.resnet import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, STRIDES, Arch, build
from tests.helpers.noise import settled


@pytest.mark.parametrize(("arch", "features"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_each_architecture_is_torchvisions(arch, features):
    torch.manual_seed(0)
    theirs = settled(getattr(torchvision.models, arch)(num_classes=3))
    images = torch.rand(2, 3, 65, 65)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for normalize, seen in ((True, (images - mean) / std), (False, images)):
        network = build(arch, 3, normalize=normalize).eval()
        network.load_state_dict(theirs.state_dict())  # strict: the same names
        with torch.no_grad():
            outputs = network(images)
            torch.testing.assert_close(outputs.logits, theirs(seen), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(network.folded()(images).logits, outputs.logits, atol=1e-3, rtol=1e-3)
        assert outputs.feature_map.shape == (2, features, 3, 3) and network.num_features == features
        torch.testing.assert_close(outputs.features, outputs.feature_map.mean((2, 3)))
    assert not [name for name, module in network.folded().named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert network.arch == f"{arch}_unnormalised" and build(arch, 3).arch == arch
    assert not build(f"{arch}_unnormalised", 3).normalize


@pytest.mark.parametrize("own", [(BasicBlock, (1, 1, 1, 1)), (Bottleneck, (1, 2, 1, 1)), None])
def test_a_pass_in_two_parts_is_the_whole_pass(own, monkeypatch):
    if own:
        monkeypatch.setitem(ARCHITECTURES, "own", own)
    torch.manual_seed(0)
    network, images = settled(build("own" if own else "resnet18", 3)), torch.rand(2, 3, 70, 70)
    with torch.no_grad():
        whole = network(images)
        for layer, stride in STRIDES.items():
            first = network.feature_map(images, layer)
            assert first.shape[2:] == (network.grid(70, layer),) * 2 and network.grid(70, layer) == -(-70 // stride)
            for one, other in zip(network.from_layer(first, layer), whole, strict=True):
                assert torch.equal(one, other)
    assert network.grid(224) == 7


def test_a_frozen_backbone_changes_neither_weights_nor_statistics():
    torch.manual_seed(0)
    network = build("resnet18", 3, bias=False).freeze_backbone()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network.train()
    network(torch.rand(4, 3, 64, 64)).logits.square().sum().backward()
    optimizer.step()
    moved = [name for name, value in network.state_dict().items() if not torch.equal(before[name], value)]
    assert moved == ["fc.weight"]


def test_the_command_line_offers_the_registered_architectures():
    assert get_args(Arch) == tuple(ARCHITECTURES)
