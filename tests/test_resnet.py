"""The network against torchvision's, and every way of loading weights into it."""

import pytest
import torch
import torchvision

from models.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet18, load_backbone, load_classifier, load_head
from utils.errors import InputError

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=3).eval()


def test_logits_equal_torchvisions_on_normalised_images(reference):
    network = ResNet18(3).eval()
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
    student = ResNet18(5, bias=False)
    head = student.fc.weight.clone()
    load_backbone(student, str(tmp_path / "imagenet.pt"))
    assert torch.equal(student.conv1.weight, source.conv1.weight) and torch.equal(student.fc.weight, head)
    assert student.normalize


def test_none_loads_nothing():
    network = ResNet18(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_backbone(network, "none")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_head_alone(tmp_path):
    weight = torch.randn(3, 512)
    torch.save({"state_dict_m": {"module.weight": weight}}, tmp_path / "head.pth.tar")
    network = ResNet18(3)
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
    network = ResNet18(3, bias=False).freeze_backbone()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network.train()
    network(torch.rand(4, 3, 64, 64)).logits.square().sum().backward()
    optimizer.step()
    moved = [name for name, value in network.state_dict().items() if not torch.equal(before[name], value)]
    assert moved == ["fc.weight"]
