"""Checkpoints as other tools save them: what loads, into which values, and what is said of what does not."""

import argparse
import io
import json
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torchvision.models import resnet18, resnet101, vgg11_bn

from models.resnet import UNNORMALISED_SUFFIX, build
from models.weights import load_backbone, load_classifier, load_encoder, load_head
from utils.base import checkpoints
from utils.base.errors import InputError

CLASSES = ("a", "b", "c")


def drawn(make, seed, **settings):
    """A state dict of a network of torchvision; each tensor is one drawn number, repeated, so that its file is small."""
    draw = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        state = make(**settings).state_dict()
    return {
        name: torch.rand(1, generator=draw).expand(value.shape) if value.ndim else torch.tensor(0)
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def teacher():
    return drawn(resnet18, 1, num_classes=3)


@pytest.fixture(scope="module")
def bare(teacher):
    """A ResNet-18 without its head."""
    return {name: value for name, value in teacher.items() if not name.startswith("fc.")}


def under(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def in_a_row(weights, numbers=(0, 1, 4, 5, 6, 7, 10)):
    """A network by the numbers of its parts, as nn.Sequential(*network.children()) names it."""
    parts = dict(zip(("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"), numbers, strict=True))
    return {
        f"{parts[part]}.{rest}": value
        for part, _, rest, value in ((*name.partition("."), value) for name, value in weights.items())
    }


def mlp(prefix, width, bias=True):
    """A projection: two linear layers."""
    layers = {f"{prefix}0.weight": torch.ones(512, 512), f"{prefix}2.weight": torch.ones(width, 512)}
    return layers | ({f"{prefix}2.bias": torch.ones(width)} if bias else {})


def deep_mlp(prefix, layers, norm=False):
    """Linear layers in a row, with batch norm between them or not, as Barlow Twins, BYOL and DINO have them."""
    linear = {f"{prefix}{3 * place}.weight": torch.ones(8, 8) for place in range(layers)}
    parts = {
        f"{3 * place + 1}.{name}"
        for place in range(layers - 1)
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    return linear | ({prefix + name: torch.ones(8) for name in parts} if norm else {})


def plus_one(weights):
    """A copy that can be told from the network."""
    return {name: value + 1 for name, value in weights.items()}


def saved(folder, content, **how):
    torch.save(content, folder / "other.pth", **how)
    return str(folder / "other.pth")


def holds(network, weights):
    """Whether the network has these very values."""
    state = network.state_dict()
    return all(torch.equal(state[name], value) for name, value in weights.items())


def counted(weights):
    """Without the counters that batch norms have had since 2018."""
    return OrderedDict((name, value) for name, value in weights.items() if not name.endswith("num_batches_tracked"))


# ---------------------------------------------------------------- what loads


def test_torchvisions_present_file(tmp_path, monkeypatch):
    """102 tensors without counters, in an ordered dictionary: the layout of resnet18-5c106cde.pth and of resnet18-f37072fd.pth."""
    release = counted(drawn(resnet18, 2))
    assert len(release) == 102
    for new_format in (False, True):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / f"cache_{new_format}"))
        (tmp_path / f"cache_{new_format}/hub/checkpoints").mkdir(parents=True)
        path = tmp_path / f"cache_{new_format}/hub/checkpoints/resnet18-f37072fd.pth"
        torch.save(release, path, _use_new_zipfile_serialization=new_format)
        for pretrained in (str(path), "imagenet"):
            network = build("resnet18", 5)
            load_backbone(network, pretrained)
            assert (
                holds(network, {name: value for name, value in release.items() if not name.startswith("fc.")})
                and network.normalize
            )
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        InputError, match=rf"--pretrained: {path} is damaged or cut short; copy or download it again\.$"
    ):
        load_backbone(build("resnet18", 5), "imagenet")


def test_imagenet_weights_that_cannot_be_downloaded(tmp_path, monkeypatch):
    def wrong_file(*arguments, **settings):
        raise RuntimeError('invalid hash value (expected "f37072fd", got "0")')

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", wrong_file)
    with pytest.raises(InputError, match="--pretrained imagenet: .*invalid hash value.*give its path as --pretrained"):
        load_backbone(build("resnet18", 5), "imagenet")


WRAPPED = {
    "DataParallel": lambda w: {"state_dict": under("module.", w)},
    "torch.compile": lambda w: under("_orig_mod.", w),
    "both, and more": lambda w: {"model": under("module._orig_mod.net.", w), "epoch": 3},
    "compiled in the middle": lambda w: {
        name.replace("layer3.", "layer3._orig_mod."): value for name, value in w.items()
    },
    "Lightning": lambda w: {
        "epoch": 1,
        "pytorch-lightning_version": "2.0",
        "state_dict": under("model.", w),
        "optimizer_states": [{}],
    },
    "tutorial": lambda w: {
        "model_state_dict": w,
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(3)}}},
        "loss": 0.1,
    },
    "model": lambda w: {"model": w},
    "net": lambda w: {"net": w, "acc": 93.1},
    "unheard of": lambda w: {"results": [{"best": {"weights": under("classifier_v2.resnet.", w)}}]},
    "an average before it": lambda w: {"ema": {name: value + 1 for name, value in w.items()}, "model": w},
    "the paper's key after another": lambda w: {
        "model": {name: value + 1 for name, value in w.items()},
        "state_dict_m": w,
    },
    "weights of the loss beside it": lambda w: {"state_dict": under("net.", w) | {"criterion.weight": torch.ones(3)}},
    "counters left out": lambda w: {"state_dict_m": counted(w)},
    "double precision": lambda w: {name: value.double() for name, value in w.items()},
    "parameters": lambda w: {name: torch.nn.Parameter(value, value.is_floating_point()) for name, value in w.items()},
    "a backbone and its head": lambda w: {
        f"{'' if name.startswith('fc.') else 'backbone.'}{name}": value for name, value in w.items()
    },
    "a head of another name": lambda w: {
        "net": {name.replace("fc.", "classifier."): value for name, value in w.items()}
    },
    "parts in a row": in_a_row,
    "parts in a row, wrapped": lambda w: {"state_dict": under("module.net.", in_a_row(w))},
    "a backbone in a row and its head": lambda w: {
        **under("backbone.", in_a_row({name: value for name, value in w.items() if not name.startswith("fc.")})),
        **{name: value for name, value in w.items() if name.startswith("fc.")},
    },
    "dropout before the head": lambda w: {name.replace("fc.", "fc.1."): value for name, value in w.items()},
}


@pytest.mark.parametrize(
    ("kind", "bias"), [*((kind, True) for kind in WRAPPED), ("DataParallel", False), ("dropout before the head", False)]
)
def test_a_wrapped_network_as_teacher_and_as_generic_features(tmp_path, teacher, bare, kind, bias):
    weights = {name: value for name, value in teacher.items() if bias or name != "fc.bias"}
    path = saved(tmp_path, WRAPPED[kind](weights))
    network = load_classifier(path, CLASSES)
    assert holds(network, weights) and network.normalize and (network.fc.bias is not None) == bias
    student = build("resnet18", 5)
    head, state = student.fc.weight.clone(), torch.get_rng_state()
    load_backbone(student, path)
    assert holds(student, bare) and torch.equal(student.fc.weight, head) and student.normalize
    assert torch.equal(
        torch.get_rng_state(), state
    )  # what a run draws afterwards does not depend on where its weights came from


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(tmp_path, teacher, dtype):
    half = {name: value.to(dtype) if value.is_floating_point() else value for name, value in teacher.items()}
    network = load_classifier(saved(tmp_path, half), CLASSES)
    assert holds(network, {name: half[name].to(value.dtype) for name, value in teacher.items()})
    assert network(torch.rand(1, 3, 64, 64)).logits.dtype == torch.float32


# Of each layout: how it holds an encoder, whether SimCLR's scripts take it, whether its images are without mean and standard deviation,
# and whether the file tells that itself (True) or it is taken to be so, which is said.
SELF_SUPERVISED = {
    "ours": (lambda w: under("encoder.", w) | mlp("projector.", 64, False), True, True, True),
    "public": (lambda w: {"state_dict": under("module.encoder.", w) | mlp("projector.", 128)}, True, True, False),
    "in dictionaries of their own": (lambda w: {"encoder": w, "projection_head": mlp("", 128)}, True, True, False),
    "backbone with an MLP": (
        lambda w: {"arch": "resnet18", "state_dict": under("backbone.", w) | mlp("backbone.fc.", 128)},
        True,
        True,
        False,
    ),
    "backbone, MLP beside": (lambda w: {"state_dict": under("m.backbone.", w) | mlp("m.g.", 128)}, True, True, False),
    "projection of its own name": (lambda w: w | mlp("projection.", 128), True, True, False),
    "SimCLR and a linear head on it": (
        lambda w: {
            "state_dict": under("backbone.", w) | mlp("projector.", 256) | {"classifier.weight": torch.ones(9, 512)}
        },
        True,
        True,
        False,
    ),
    "SimCLR and its average": (
        lambda w: {
            "model": under("encoder.", w) | mlp("projector.", 128),
            "ema": under("encoder.", plus_one(w)) | mlp("projector.", 128),
        },
        True,
        True,
        False,
    ),
    "SimCLR and its optimizer": (
        lambda w: {
            "state_dict": under("backbone.", w) | mlp("backbone.fc.", 128),
            "optimizer": {"state": {0: {"momentum_buffer": torch.ones(512, 512)}}},
        },
        True,
        True,
        False,
    ),
    "SupCon": (lambda w: {"model": under("encoder.", w) | mlp("head.", 128)}, True, True, False),  # of the same shape
    "encoder alone": (lambda w: under("encoder.", w), True, False, False),
    "SimCLR with batch norm": (
        lambda w: under("backbone.", w) | deep_mlp("projection_head.layers.", 2, norm=True),
        True,
        False,
        False,
    ),
    "one linear layer": (
        lambda w: under("encoder.", w) | {"projector.weight": torch.ones(128, 512)},
        True,
        False,
        False,
    ),
    "Barlow Twins": (
        lambda w: {"model": under("module.backbone.", w) | deep_mlp("module.projector.", 3, norm=True)},
        True,
        False,
        False,
    ),
    "DINO": (
        lambda w: {
            who: under("module.backbone.", of)
            | deep_mlp("module.head.mlp.", 3)
            | {"module.head.last_layer.weight_v": torch.ones(9, 8)}
            for who, of in (("teacher", plus_one(w)), ("student", w))
        },
        True,
        False,
        False,
    ),
    "DINO's student of a shallow head": (
        lambda w: under("backbone.", w) | deep_mlp("head.mlp.", 2) | {"head.last_layer.weight_v": torch.ones(9, 8)},
        True,
        False,
        False,
    ),
    "BYOL": (
        lambda w: under("target.net.", plus_one(w)) | under("online.net.", w) | mlp("online.projector.", 256),
        True,
        False,
        False,
    ),
    "BYOL, online network alone": (
        lambda w: under("online_encoder.", w) | mlp("online_projector.", 256),
        True,
        False,
        False,
    ),
    "BYOL or SimSiam, two networks of one name": (
        lambda w: under("encoder.", w) | mlp("encoder.fc.", 256) | mlp("predictor.", 256),
        True,
        False,
        False,
    ),
    "SwAV": (
        lambda w: w | deep_mlp("projection_head.", 2, norm=True) | {"prototypes.weight": torch.ones(9, 8)},
        True,
        False,
        False,
    ),
    "segmentation": (lambda w: under("encoder.", w) | mlp("decoder.", 9), True, False, False),
    "MoCo": (
        lambda w: {
            "state_dict": under("module.encoder_k.", plus_one(w))
            | under("module.encoder_q.", w)
            | mlp("module.encoder_q.fc.", 128)
            | {"module.queue": torch.ones(128, 8)}
        },
        True,
        False,
        False,
    ),
    "MoCo, query encoder alone": (
        lambda w: {"state_dict": under("module.encoder_q.", w) | mlp("module.encoder_q.fc.", 128)},
        True,
        False,
        False,
    ),
    "parts in a row": (in_a_row, False, False, True),
    "parts in a row, backbone": (lambda w: under("backbone.", in_a_row(w)), False, False, True),
    "parts in a row, without maxpool": (lambda w: under("f.", in_a_row(w, (0, 1, 3, 4, 5, 6, 8))), False, False, True),
    "parts in a row, f and g": (
        lambda w: {"model": under("f.", in_a_row(w, (0, 1, 3, 4, 5, 6, 8))) | mlp("g.", 128)},
        True,
        True,
        False,
    ),
    "parts in a row, encoder": (lambda w: under("encoder.", in_a_row(w)) | mlp("projector.", 128), True, True, False),
    "parts in a row, backbone with an MLP beside": (
        lambda w: {"state_dict": under("backbone.", in_a_row(w)) | mlp("projection_head.layers.", 128)},
        True,
        True,
        False,
    ),
    "parts in a row, MoCo": (
        lambda w: (
            under("encoder_k.", in_a_row(plus_one(w))) | under("encoder_q.", in_a_row(w)) | mlp("encoder_q.9.", 128)
        ),
        True,
        False,
        False,
    ),
    "backbone with a linear head": (
        lambda w: under("backbone.", w) | {"backbone.fc.weight": torch.ones(9, 512)},
        False,
        False,
        True,
    ),
    "classifier with an MLP": (lambda w: {"model": w | mlp("fc.", 9)}, False, False, True),
    "bare": (lambda w: w, False, False, True),
    "encoder alone that says so": (
        lambda w: {"arch": f"resnet18{UNNORMALISED_SUFFIX}", **under("encoder.", w)},
        True,
        True,
        True,
    ),
    "ours, trained on from SimCLR": (
        lambda w: {"arch": f"resnet18{UNNORMALISED_SUFFIX}", "state_dict_m": w | {"fc.weight": torch.ones(5, 512)}},
        False,
        True,
        True,
    ),
}


@pytest.mark.parametrize("kind", SELF_SUPERVISED)
def test_encoders_and_the_images_they_expect(tmp_path, bare, kind):
    make, simclr, unnormalised, known = SELF_SUPERVISED[kind]
    path, network = saved(tmp_path, make(bare)), build("resnet18", 5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        load_backbone(network, path)
    sentence = rf"--pretrained {path} [^\n]*it gets them {'without' if unnormalised else 'with'} ImageNet's mean and standard deviation; .*\."
    assert len(said) == (not known) and all(re.fullmatch(sentence, str(one.message)) for one in said)
    assert holds(network, bare) and network.normalize == (not unnormalised)
    if simclr:
        encoder = load_encoder(path)
        assert holds(encoder, bare) and encoder.normalize == (not unnormalised)
    else:
        with pytest.raises(InputError, match="no SimCLR encoder"):
            load_encoder(path)


def test_a_teacher_in_a_file_of_simclr_gets_the_images_of_its_encoder(tmp_path, bare):
    head = {"classifier.weight": torch.rand(3, 512), "classifier.bias": torch.rand(3)}
    path = saved(tmp_path, {"state_dict": under("backbone.", bare) | mlp("projector.", 256) | head})
    with pytest.warns(UserWarning, match=f"^--checkpoint {path} has the layout of SimCLR"):
        assert not load_classifier(path, CLASSES).normalize


@pytest.mark.parametrize("prefix", ["", "module.", "fc.", "module.fc.", "_orig_mod."])
@pytest.mark.parametrize("key", [None, "state_dict_m", "model"])
def test_a_head_under_any_name(tmp_path, prefix, key):
    head = {"weight": torch.rand(3, 512), "bias": torch.rand(3)}
    content = under(prefix, head)
    network = build("resnet18", 3)
    load_head(network, saved(tmp_path, {key: content, "epoch": 1} if key else content), CLASSES)
    assert torch.equal(network.fc.weight, head["weight"]) and torch.equal(network.fc.bias, head["bias"])


# ---------------------------------------------------------------- what does not


def changed(weights, name, value):
    return {**weights, name: value}


def deeper(weights):
    """A network of none of our architectures: a ResNet-18 with another block behind its first layer."""
    return weights | {name.replace("layer1.1.", "layer1.2."): value for name, value in weights.items()}


# A ResNet-18's spoilt file, and what is said of it after setting and file.
UNFIT = {
    "a deeper one of the same names and shapes": (deeper, "holds 'layer1.2.conv1.weight', which a ResNet-18"),
    "wrapped, deeper": (
        lambda w: {"model": under("module.", deeper(w))},
        "holds 'layer1.2.conv1.weight', which a ResNet-18",
    ),
    "a deeper one in a row": (lambda w: in_a_row(deeper(w)), "holds 'layer1.2.conv1.weight', which a ResNet-18"),
    "in a row, without its last layer": (
        lambda w: in_a_row(
            {name: value for name, value in w.items() if name[:6] not in ("layer4", "fc.wei", "fc.bia")}
        ),
        "(lacks 'layer4.0.conv1.weight'|holds no ResNet-18 classifier)",
    ),
    "another network in a row": (
        lambda w: under("features.", drawn(lambda: vgg11_bn(num_classes=3).features, 4)),
        "holds no ResNet-18",
    ),
    "bottlenecks": (
        lambda w: drawn(resnet101, 3, num_classes=3),
        r"has 'layer1.0.conv1.weight' of shape \(64, 64, 1, 1\)",
    ),
    "small pictures": (
        lambda w: changed(w, "conv1.weight", torch.ones(64, 3, 3, 3)),
        r"has 'conv1.weight' of shape \(64, 3, 3, 3\), needed is \(64, 3, 7, 7\)",
    ),
    "one missing": (
        lambda w: {n: v for n, v in w.items() if n != "layer3.1.bn2.running_var"},
        "lacks 'layer3.1.bn2.running_var'",
    ),
    "nan": (
        lambda w: changed(w, "layer2.0.bn1.bias", torch.full((128,), torch.nan)),
        "has 'layer2.0.bn1.bias' with values that are not fin",
    ),
    "infinite": (
        lambda w: {"m": changed(w, "conv1.weight", torch.full((64, 3, 7, 7), torch.inf))},
        "has 'conv1.weight' with values that are",
    ),
    "infinite in single precision": (
        lambda w: changed(w, "bn1.weight", torch.full((64,), 1e300, dtype=torch.float64)),
        "has 'bn1.weight' with",
    ),
    "integers": (lambda w: changed(w, "bn1.weight", torch.ones(64, dtype=torch.int8)), "has 'bn1.weight' as int8"),
    "complex": (
        lambda w: changed(w, "bn1.weight", torch.ones(64, dtype=torch.complex64)),
        "has 'bn1.weight' as complex64",
    ),
    "sparse": (lambda w: changed(w, "bn1.weight", torch.ones(64).to_sparse()), "has 'bn1.weight' as sparse_coo"),
    "without values": (
        lambda w: changed(w, "bn1.weight", torch.ones(64, device="meta")),
        "has 'bn1.weight' without values",
    ),
    "other names": (
        lambda w: {"net": {f"features.{place}.weight": torch.ones(2) for place in range(9)}},
        "its tensors are 'net.features.0.weight', 'net.features.1.weight', .* and 5 more",
    ),
    "no tensors": (lambda w: {"epoch": 3, "lr": 0.1}, "it holds no tensors, only 'epoch', 'lr'"),
    "nothing": (lambda w: {}, "it is an empty dictionary"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_file_that_does_not_fit_is_refused_when_it_is_read(tmp_path, teacher, kind):
    make, says = UNFIT[kind]
    path, network = saved(tmp_path, make(teacher)), build("resnet18", 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=rf"^--checkpoint {path} .*{says}.*\.$"):
        load_classifier(path, CLASSES)
    with pytest.raises(InputError, match=rf"^--pretrained {path} .*{says}.*\.$"):
        load_backbone(network, path)
    assert holds(network, before)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"fc.weight": torch.ones(4, 512)}, r"has 'weight' of shape \(4, 512\), needed is \(3, 512\)"),
        ({"state_dict": {"weight": torch.full((3, 512), torch.nan)}}, "has 'weight' with values that are not finite"),
        ({"bias": torch.ones(3)}, "holds no linear head: its tensors are 'bias'"),
        (mlp("fc.", 3), "holds 'fc.0.weight' and other layers, needed is a linear head alone"),
    ],
)
def test_a_head_that_does_not_fit(tmp_path, content, says):
    with pytest.raises(InputError, match=rf"^--checkpoint \S+ {says}"):
        load_head(build("resnet18", 3), saved(tmp_path, content), CLASSES)


def test_an_mlp_in_the_place_of_a_teachers_head(tmp_path, bare):
    with pytest.raises(InputError, match=r"lacks 'fc.weight'"):
        load_classifier(saved(tmp_path, bare | mlp("fc.", 3)), CLASSES)


def script_archive(path):
    layer = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    torch.jit.save(layer, path)


def safetensors(path):
    head = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(8))


def tar_archive(path):
    (path.parent / "inside.pth").write_bytes(b"x")
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "inside.pth")


def zip_archive(path):
    torch.save({"weight": torch.ones(2)}, path.parent / "inside.pth")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.parent / "inside.pth", "inside.pth")


NO_CHECKPOINTS = {
    "missing": (lambda path: None, "there is no file .*; make it first"),
    "folder": (lambda path: path.mkdir(), "is a folder; give the checkpoint file in it"),
    "empty": (lambda path: path.touch(), "is empty; copy or download it again"),
    "web page": (
        lambda path: path.write_text("\n<!DOCTYPE html><html>"),
        "holds a web page, not a checkpoint; download the file itself",
    ),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "pointer of git-lfs.*`git lfs pull`",
    ),
    "safetensors": (safetensors, "in the safetensors format.*convert it"),
    "TorchScript": (script_archive, r"is a TorchScript archive.*torch\.jit\.load\(\.\.\.\)\.state_dict\(\)"),
    "tar": (tar_archive, "is an archive of other files; unpack it"),
    "numpy": (lambda path: np.savez(path.open("wb"), a=np.ones(2)), "is an archive of other files; unpack it"),
    "zip": (zip_archive, "is an archive of other files; unpack it"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1])), "is not a checkpoint that can be loaded safely"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08rest"), "is a compressed archive; unpack it"),
    "text": (
        lambda path: path.write_text("no checkpoint"),
        "is a text file, not a checkpoint; give the checkpoint itself",
    ),
    "list": (
        lambda path: torch.save([torch.ones(2)], path),
        "holds a list, not the dictionary of a checkpoint; save the state dict alone",
    ),
    "numpy scalar": (
        lambda path: torch.save({"state_dict": {}, "best": np.float64(3)}, path),
        r"a Python object beside tensors and plain values \(numpy\.\S+\.scalar\); save the .* alone.*torch\.save\(model\.state_dict\(\)",
    ),
    "settings": (
        lambda path: torch.save({"state_dict": {}, "args": argparse.Namespace(lr=1)}, path),
        r"a Python object .*\(argparse\.Namespace\); save the state dict alone",
    ),
    "network": (
        lambda path: torch.save(resnet18(), path),
        r"a whole network as a Python object \(torchvision\.models\.resnet\.ResNet\); save the state dict alone",
    ),
    "network, old format": (
        lambda path: torch.save({"model": torch.nn.Linear(2, 2)}, path, _use_new_zipfile_serialization=False),
        r"a whole network as a Python object \(torch\.nn\.modules\.linear\.Linear\); save the state dict alone",
    ),
}


@pytest.mark.filterwarnings("error:.*torch.load.*")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
def test_each_file_that_is_no_checkpoint_has_its_sentence(tmp_path, kind):
    make, says = NO_CHECKPOINTS[kind]
    make(tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"^--checkpoint: [^\n]*{says}[^\n]*\.$") as refusal:
        checkpoints.read(tmp_path / "other.pth", "--checkpoint")
    assert str(tmp_path / "other.pth") in str(refusal.value)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    """By a stand-in for the file system, which refuses the superuser nothing."""

    def forbidden(*arguments, **settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", forbidden)
    with pytest.raises(InputError, match=r"other\.pth may not be read \(Permission denied\); change its permissions"):
        checkpoints.read(tmp_path / "other.pth", "--checkpoint")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_a_checkpoint_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch, error):
    """What fills the memory is for `launch` to say: nothing is wrong with the file."""
    path = saved(tmp_path, {"weight": torch.ones(2)})

    def full(*_, **how):
        raise error

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(type(error)) as passed:
        checkpoints.read(path, "--checkpoint")
    assert passed.value is error


def test_a_dictionary_that_holds_itself(tmp_path):
    content = {"weight": torch.ones(2)}
    content["again"] = content
    assert list(checkpoints.tensors_of(content)) == ["weight"]


# ---------------------------------------------------------------- saving


class OnGpu(torch.Tensor):
    """A tensor as if it were on the second GPU; `here` holds its numbers."""

    @staticmethod
    def __new__(cls, here):
        return torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device="cuda:1"
        )

    def __init__(self, here):
        self.here = here

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        assert function is torch.ops.aten._to_copy.default and named["device"] == torch.device("cpu"), function
        return arguments[0].here.clone(memory_format=torch.preserve_format)


def run_state(place):
    """Everything a run saves: a network's state dict, an optimizer's, and plain values; each of its tensors is given to `place`."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2)).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    weights, steps = network.state_dict(), optimizer.state_dict()
    for name, value in weights.items():
        weights[name] = place(value)
    for values in steps["state"].values():
        values |= {name: place(value) for name, value in values.items()}
    lists = [(place(torch.arange(3)), [place(torch.ones(2)), 1.5]), "text", None]
    return {"network": weights, "optimizer": steps, "history": [{"epoch": 1}], "lists": lists}


def test_a_checkpoint_of_a_gpu_has_the_bytes_of_one_of_a_cpu(tmp_path):
    here, there = run_state(lambda value: value), run_state(OnGpu)
    assert there["network"]["0.weight"].device == there["lists"][0][1][0].device == torch.device("cuda:1")
    checkpoints.save(tmp_path / "cpu.tar", here)
    checkpoints.save(tmp_path / "gpu.tar", there)
    loaded = torch.load(tmp_path / "gpu.tar", weights_only=True)
    torch.testing.assert_close(loaded["network"], here["network"], rtol=0, atol=0)
    assert loaded["network"]._metadata == here["network"]._metadata  # the versions of the layers
    assert (tmp_path / "cpu.tar").read_bytes() == (tmp_path / "gpu.tar").read_bytes()
    buffer = io.BytesIO()
    torch.save(here, buffer)
    assert (tmp_path / "cpu.tar").read_bytes() == buffer.getvalue()
    assert isinstance(there["network"]["0.weight"], OnGpu)  # what is saved is left where it is
