"""The network against torchvision's, and every way of loading weights into it."""

import pytest
import torch
import torchvision

from models.resnet import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, STRIDES, build
from models.weights import load_backbone, load_classifier, load_head
from utils.base.errors import InputError

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=3).eval()


def test_logits_equal_torchvisions_on_normalised_images(reference):
    network = build("resnet18", 3).eval()
    network.load_state_dict(reference.state_dict())
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        outputs = network(images)
        torch.testing.assert_close(outputs.logits, reference((images - mean) / std), atol=1e-5, rtol=1e-5)
    assert outputs.feature_map.shape == (2, 512, 2, 2)
    torch.testing.assert_close(outputs.features, outputs.feature_map.mean((2, 3)))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_papers_checkpoints_load(tmp_path, reference, prefix):
    weights = {prefix + name: value for name, value in reference.state_dict().items()}
    torch.save({"epoch": 200, "arch": "resnet18", "state_dict_m": weights}, tmp_path / "c.pth.tar")
    network = load_classifier(tmp_path / "c.pth.tar", CLASSES)
    assert torch.equal(network.layer4[1].conv2.weight, reference.layer4[1].conv2.weight)


def test_backbone_loads_from_any_head_and_keeps_its_own(tmp_path):
    torch.manual_seed(1)
    source = torchvision.models.resnet18(num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "imagenet.pt")
    student = build("resnet18", 5, bias=False)
    head = student.fc.weight.clone()
    load_backbone(student, str(tmp_path / "imagenet.pt"))
    assert torch.equal(student.conv1.weight, source.conv1.weight) and torch.equal(student.fc.weight, head)
    assert student.normalize


def test_none_loads_nothing():
    network = build("resnet18", 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_backbone(network, "none")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_head_alone(tmp_path):
    weight = torch.randn(3, 512)
    torch.save({"state_dict_m": {"module.weight": weight}}, tmp_path / "head.pth.tar")
    network = build("resnet18", 3)
    load_head(network, tmp_path / "head.pth.tar", CLASSES)
    assert torch.equal(network.fc.weight, weight) and network.fc.bias is None


def test_other_classes_are_refused_by_name_and_by_count(tmp_path, reference):
    torch.save({"state_dict_m": reference.state_dict(), "classes": ["x", "y", "z"]}, tmp_path / "c.pth.tar")
    with pytest.raises(InputError, match="trained for the classes x, y, z"):
        load_classifier(tmp_path / "c.pth.tar", CLASSES)
    torch.save({"state_dict_m": reference.state_dict()}, tmp_path / "d.pth.tar")
    with pytest.raises(InputError, match="fc.weight"):
        load_classifier(tmp_path / "d.pth.tar", (*CLASSES, "d"))


def test_a_frozen_backbone_moves_neither_weights_nor_statistics():
    torch.manual_seed(0)
    network = build("resnet18", 3, bias=False).freeze_backbone()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network.train()
    network(torch.rand(4, 3, 64, 64)).logits.square().sum().backward()
    optimizer.step()
    moved = [name for name, value in network.state_dict().items() if not torch.equal(before[name], value)]
    assert moved == ["fc.weight"]


def settled(network):
    """The network in evaluation mode, with batch-norm statistics that are not those of the start."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()


@pytest.mark.parametrize(("arch", "features"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_a_network_of_each_architecture_is_torchvisions(arch, features):
    torch.manual_seed(0)
    theirs = settled(getattr(torchvision.models, arch)(num_classes=3))
    network = build(arch, 3, normalize=False).eval()
    network.load_state_dict(theirs.state_dict())  # strict: the same names
    images = torch.rand(2, 3, 65, 65)
    with torch.no_grad():
        outputs = network(images)
        torch.testing.assert_close(outputs.logits, theirs(images), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network.folded()(images).logits, outputs.logits, atol=1e-3, rtol=1e-3)
    assert network.num_features == features == outputs.features.shape[1]
    assert not [name for name, module in network.folded().named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert ARCHITECTURES.keys() >= {arch} and network.arch == f"{arch}_unnormalised" and build(arch, 3).arch == arch
    assert not build(f"{arch}_unnormalised", 3).normalize


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_a_pass_in_two_parts_is_the_whole_pass(arch):
    torch.manual_seed(0)
    network, images = settled(build(arch, 3)), torch.rand(2, 3, 72, 72)
    with torch.no_grad():
        whole = network(images)
        for layer in STRIDES:
            first = network.feature_map(images, layer)
            assert first.shape[2:] == (network.grid(72, layer),) * 2
            for one, other in zip(network.from_layer(first, layer), whole, strict=True):
                torch.testing.assert_close(one, other, atol=0, rtol=0)
        assert torch.equal(network.logits(whole.feature_map), whole.logits)
    assert network.grid(224) == 7 and network.grid(224, "layer1") == 56


def test_an_architecture_that_is_none_is_named():
    with pytest.raises(KeyError, match="alexnet"):
        build("alexnet", 3)


def test_a_head_is_replaced():
    network, head = build("resnet18", 3), torch.nn.Linear(512, 7)
    network.replace_head(head)
    assert network.head is head and network(torch.rand(1, 3, 64, 64)).logits.shape == (1, 7)
    assert {name for name, _ in network.named_parameters() if "head" in name} == set()


def test_the_linear_head_is_the_head_that_has_codewords():
    network = build("resnet18", 3, bias=False)
    assert network.linear_head is network.head and network.linear_head.weight.shape == (3, 512)
    with pytest.raises(TypeError, match="Identity"):
        _ = build("resnet18", 0).linear_head
