"""Checkpoints of our scripts, the paper, torchvision and other tools: those that load, and errors for the others."""

import re

import pytest
import torch
import torchvision

from models.resnet import build
from models.weights import load_backbone, load_classifier, load_encoder, load_head, read_checkpoint, save_checkpoint
from utils.base.errors import InputError

CLASSES = ("a", "b", "c")


def drawn(arch="resnet18", num_classes=3):
    """State dict of torchvision's network. Each tensor is one random number, expanded, which makes small files."""
    draw = torch.Generator().manual_seed(1)
    with torch.device("meta"):
        state = getattr(torchvision.models, arch)(num_classes=num_classes).state_dict()
    return {
        name: torch.rand(1, generator=draw).expand(value.shape) if value.ndim else torch.tensor(0)
        for name, value in state.items()
    }


def without_head(weights):
    return {name: value for name, value in weights.items() if not name.startswith("fc.")}


def under(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def projector(*layers):
    return {f"projector.{layer}.weight": torch.ones(8, 8) for layer in layers}


@pytest.fixture
def saved(tmp_path):
    def save(content, **options):
        torch.save(content, tmp_path / "weights.pth", **options)
        return str(tmp_path / "weights.pth")

    return save


def has(network, weights):
    state = network.state_dict()
    return all(torch.equal(state[name], value) for name, value in weights.items() if name in state)


WRAPPED = {
    "bare": lambda state: state,
    "the paper": lambda state: {"epoch": 200, "arch": "resnet18", "state_dict_m": state},
    "the paper, DataParallel": lambda state: {"state_dict_m": under("module.", state), "optimizer": {"lr": 0.1}},
    "state_dict": lambda state: {"state_dict": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "compiled": lambda state: {"model": under("_orig_mod.", state)},
    "compiled, DataParallel": lambda state: under("module._orig_mod.", state),
    "DataParallel, compiled": lambda state: under("_orig_mod.module.", state),
    "Lightning": lambda state: {"state_dict": under("model.", state)},
    "without counters": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_network_as_classifier_and_as_backbone(saved, kind):
    weights = drawn()
    path = saved(WRAPPED[kind](weights), _use_new_zipfile_serialization=kind != "without counters")
    teacher = load_classifier(path, CLASSES)
    assert has(teacher, weights) and teacher.arch == "resnet18" and not teacher.training
    student = build("resnet18", 5, bias=False)
    head = student.fc.weight.clone()
    load_backbone(student, path)
    assert has(student, without_head(weights)) and torch.equal(student.fc.weight, head) and student.normalize


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_imagenet_weights_come_from_torchs_cache(tmp_path, monkeypatch, arch):
    weights = drawn(arch, 1000)
    release = {"resnet18": "f37072fd", "resnet34": "b627a593", "resnet50": "0676ba61"}[arch]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(weights, tmp_path / f"hub/checkpoints/{arch}-{release}.pth")
    network = build(arch, 5)
    load_backbone(network, "imagenet")
    assert has(network, without_head(weights)) and network.normalize


def test_imagenet_weights_that_cannot_be_downloaded(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(InputError, match=r"^--pretrained imagenet: cannot get .* of resnet18 \(no network\)\."):
        load_backbone(build("resnet18", 5), "imagenet")


@pytest.mark.parametrize("content", [{"weight": 1}, {"fc.weight": 1, "fc.bias": 1}, {"module.weight": 1}])
@pytest.mark.parametrize("key", [None, "state_dict_m"])
def test_a_head_without_its_network(saved, content, key):
    tensors = {name: torch.rand(3, 512) if "weight" in name else torch.rand(3) for name in content}
    network = build("resnet18", 3)
    load_head(network, saved({key: tensors} if key else tensors), CLASSES)
    values = list(tensors.values())
    assert torch.equal(network.fc.weight, values[0])
    assert network.fc.bias is None if len(values) == 1 else torch.equal(network.fc.bias, values[1])


ENCODERS = {  # content, whether images are normalized
    "our SimCLR": (lambda bare: under("encoder.", bare) | projector(0, 2), False),
    "public SimCLR, DataParallel": (lambda bare: under("module.", under("encoder.", bare) | projector(0, 2)), False),
    "encoder without projector": (lambda bare: under("encoder.", bare), True),
    "Barlow Twins": (lambda bare: under("module.backbone.", bare) | under("module.", projector(0, 3, 6)), True),
    "SimCLR with an MLP as fc": (lambda bare: under("backbone.", bare | {"fc.0.weight": torch.ones(8, 8)}), True),
    "MoCo": (lambda bare: {"state_dict": under("module.encoder_q.", bare) | under("module.encoder_k.", bare)}, True),
    "recorded as unnormalised": (lambda bare: {"arch": "resnet18_unnormalised", "state_dict_m": bare}, False),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_and_their_normalization(saved, kind):
    make, normalized = ENCODERS[kind]
    weights = without_head(drawn())
    path = saved(make(weights))
    encoder, student = load_encoder(path), build("resnet18", 5)
    load_backbone(student, path)
    assert has(encoder, weights) and has(student, weights) and encoder.backbone_frozen
    assert encoder.normalize == student.normalize == normalized
    for setting in ("imagenet", "none"):
        load_backbone(student, path, setting)
        assert load_encoder(path, normalize=setting).normalize == student.normalize == (setting == "imagenet")


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("saved_arch", ["resnet18", "resnet34", "resnet50"])
def test_a_backbone_of_another_architecture_is_refused_by_name(saved, saved_arch, arch):
    network, path = build(arch, 5), saved(drawn(saved_arch))
    if saved_arch == arch:
        load_backbone(network, path)
        return
    says = f"--pretrained {path} contains a {saved_arch}, not a {arch}. Pass --arch {saved_arch} or another checkpoint."
    with pytest.raises(InputError, match=f"^{re.escape(says)}$"):
        load_backbone(network, path)
    assert load_classifier(path, CLASSES).name == saved_arch


def changed(name, change):
    return lambda state: state | {name: change(state[name])}


UNFIT = {
    "missing tensor": (lambda s: {k: v for k, v in s.items() if k != "layer4.0.bn2.weight"}, "layer4.0.bn2.weight' is"),
    "NaN": (changed("conv1.weight", lambda value: value * torch.nan), "'conv1.weight' that are not finite"),
    "another shape": (changed("bn1.bias", lambda value: value[:3]), r"'bn1.bias' has shape \(3,\), expected \(64,\)"),
    "another network": (lambda _: torchvision.models.vgg11().classifier.state_dict(), "does not contain a ResNet"),
    "a deeper network": (lambda s: s | {"layer4.2.conv1.weight": torch.ones(2)}, "has no 'layer4.2.conv1.weight'"),
    "another class count": (lambda _: drawn(num_classes=4), r"'fc.weight' has shape \(4, 512\), expected \(3, 512\)"),
    "no head": (without_head, "'fc.weight' is missing"),
    "other classes": (lambda s: {"model": s, "classes": ["x", "y"]}, "the classes x, y, but the dataset has a, b, c"),
    "another order": (lambda s: {"state_dict_m": s, "classes": ["a", "c", "b"]}, "was trained for the classes a, c, b"),
    "a list": (lambda s: [s], "contains a list, not a state dict"),
    "a network as an object": (lambda _: torch.nn.Linear(2, 2), r"is damaged, or not a checkpoint of tensors"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_classifier_that_does_not_fit(saved, kind):
    make, says = UNFIT[kind]
    with pytest.raises(InputError, match=f"^--checkpoint:? .*{says}"):
        load_classifier(saved(make(drawn())), CLASSES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"weight": torch.ones(3, 2048)}, r"'weight' has shape \(3, 2048\), expected \(3, 512\)"),
        ({"bias": torch.ones(3)}, "'weight' is missing"),
        ({"0.weight": torch.ones(8, 512), "2.weight": torch.ones(3, 8)}, "contains more than a linear head"),
        ({"state_dict_m": {"weight": torch.ones(3, 512)}, "classes": ["c", "b", "a"]}, "the classes c, b, a"),
    ],
)
def test_a_head_that_does_not_fit(saved, content, says):
    with pytest.raises(InputError, match=says):
        load_head(build("resnet18", 3), saved(content), CLASSES)


def test_a_classifier_is_not_an_encoder(saved):
    with pytest.raises(InputError, match="contains a classifier. Pass the checkpoint of a SimCLR encoder"):
        load_encoder(saved({"state_dict_m": drawn()}))


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", b"PK\x03\x04 cut short"])
def test_files_that_are_not_checkpoints(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match="^--pretrained: .* is damaged, or not a checkpoint"):
        read_checkpoint(path, "--pretrained")
    with pytest.raises(InputError, match="^--pretrained: cannot read .*missing.pth"):
        read_checkpoint(tmp_path / "missing.pth", "--pretrained")


def test_saved_tensors_are_on_the_cpu_and_their_names_unchanged(tmp_path):
    content = {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"lr": 0.1, "params": [0]}], "betas": (0.9, 0.99)}
    save_checkpoint(tmp_path / "one.pt", content)
    save_checkpoint(tmp_path / "another name.pt", content)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another name.pt").read_bytes()
    loaded = read_checkpoint(tmp_path / "one.pt", "--resume")
    assert loaded["state"][0]["step"] == 3 and loaded["groups"] == content["groups"] and loaded["betas"] == (0.9, 0.99)
