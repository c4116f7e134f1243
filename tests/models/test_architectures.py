"""One line of a dictionary is an architecture: deeper networks load, are refused by name, and run through all scripts."""

import re
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from models.resnet import ARCHITECTURES, STRIDES, Arch, build
from models.simclr import SimCLR
from models.weights import load_backbone, load_classifier, load_encoder, load_head, save_simclr
from utils.base.errors import InputError
from utils.data import catalog
from utils.data.images import eval_view
from utils.data.loading import open_list, to_float
from utils.explanations.margin import class_maps
from utils.training.evaluation import share_right

CLASSES = ("a", "b", "c")
TITLES = {"resnet18": "ResNet-18", "resnet34": "ResNet-34", "resnet50": "ResNet-50"}
FEATURES = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
NARROWER = 8
DEEPER = pytest.mark.parametrize("arch", ["resnet34", "resnet50"])


def torchvisions(arch, num_classes=3):
    """The state dict of a network of torchvision; each tensor is one drawn number, repeated, so that its file is small."""
    draw = torch.Generator().manual_seed(1)
    with torch.device("meta"):
        state = getattr(torchvision.models, arch)(num_classes=num_classes).state_dict()
    return {
        name: torch.rand(1, generator=draw).expand(value.shape) if value.ndim else torch.tensor(0)
        for name, value in state.items()
    }


def released_simclr(arch):
    """A public SimCLR's state dict: `encoder.*`, and a projection to 128 numbers."""
    features = FEATURES[arch]
    encoder = {f"encoder.{name}": value for name, value in torchvisions(arch).items() if not name.startswith("fc.")}
    ones = torch.ones(1, 1)
    return encoder | {
        "projector.0.weight": ones.expand(features, features),
        "projector.2.weight": ones.expand(128, features),
    }


def wrapped(arch):
    """A network as many tools save it."""
    return {"model": {f"module.{name}": value for name, value in torchvisions(arch).items()}, "epoch": 3}


def saved(folder, content):
    torch.save(content, folder / "weights.pth")
    return str(folder / "weights.pth")


def holds(network, weights):
    """Whether the network has these very values in all but its head."""
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    return all(torch.equal(value, weights[name]) for name, value in state.items())


@pytest.fixture
def narrow(monkeypatch):
    """Networks, torchvision's included, an eighth as wide: the same blocks, and little work."""
    make_layer = ResNet._make_layer

    def narrower(self, block, planes, *rest, **more):
        return make_layer(self, block, planes // NARROWER, *rest, **more)

    monkeypatch.setattr(ResNet, "_make_layer", narrower)


# ---------------------------------------------------------------- weights from elsewhere


def test_the_command_line_knows_the_dictionarys_names():
    assert get_args(Arch) == tuple(ARCHITECTURES)


@DEEPER
def test_torchvisions_weights(tmp_path, monkeypatch, arch):
    weights = torchvisions(arch)
    teacher = load_classifier(saved(tmp_path, weights), CLASSES)
    assert teacher.arch == arch and holds(teacher, weights) and torch.equal(teacher.head.weight, weights["fc.weight"])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    release = {"resnet34": "b627a593", "resnet50": "0676ba61"}[arch]  # torchvision's IMAGENET1K_V1
    torch.save(torchvisions(arch, 1000), tmp_path / f"hub/checkpoints/{arch}-{release}.pth")
    for pretrained in ("imagenet", str(tmp_path / "weights.pth")):
        network = build(arch, 5)
        load_backbone(network, pretrained)
        assert holds(network, weights) and network.normalize


def test_a_public_simclr_of_fifty_layers(tmp_path):
    weights, path = torchvisions("resnet50"), saved(tmp_path, released_simclr("resnet50"))
    encoder, student = load_encoder(path), build("resnet50", 5)
    load_backbone(student, path)
    assert encoder.arch == student.arch == "resnet50_unnormalised"
    assert holds(encoder, weights) and holds(student, weights)
    assert encoder(torch.rand(1, 3, 64, 64)).logits.shape == (1, 2048)


def test_our_simclr_of_fifty_layers_has_the_public_layout(tmp_path, narrow):
    model = SimCLR("resnet50")
    assert model.state_dict().keys() == released_simclr("resnet50").keys()
    save_simclr(tmp_path / "simclr_checkpoint_1.tar", model)
    encoder = load_encoder(tmp_path / "simclr_checkpoint_1.tar")
    assert encoder.name == "resnet50" and holds(encoder, model.encoder.state_dict())


@pytest.mark.parametrize("arch", FEATURES)
@pytest.mark.parametrize("held", FEATURES)
@pytest.mark.parametrize("make", [torchvisions, released_simclr, wrapped])
def test_generic_features_of_another_architecture_are_refused_by_name(tmp_path, narrow, make, held, arch):
    path, network = saved(tmp_path, make(held)), build(arch, 5)
    if held == arch:
        load_backbone(network, path)
        return
    before = {name: value.clone() for name, value in network.state_dict().items()}
    says = f"--pretrained {path} does not fit --arch {arch}: it holds a {TITLES[held]}; give --arch {held}, or weights of a {TITLES[arch]}."
    with pytest.raises(InputError, match=f"^{re.escape(says)}$"):
        load_backbone(network, path)
    assert holds(network, before)


@pytest.mark.parametrize(
    ("arch", "width", "says"),
    [
        (
            "resnet18",
            2048,
            "on 2048 features, a ResNet-18 has 512; give --arch resnet50, with which it was trained, or another head.",
        ),
        (
            "resnet50",
            512,
            "on 512 features, a ResNet-50 has 2048; give --arch resnet18 or resnet34, with which it was trained, or another head.",
        ),
        ("resnet34", 100, "on 100 features, a ResNet-34 has 512; give another head."),
    ],
)
def test_a_head_of_another_architecture_is_refused_by_name(tmp_path, arch, width, says):
    path = saved(tmp_path, {"state_dict_m": {"weight": torch.ones(3, width)}})
    with pytest.raises(
        InputError, match=f"^{re.escape(f'--checkpoint {path} does not fit --arch {arch}: it holds a head {says}')}$"
    ):
        load_head(build(arch, 3), path, CLASSES)


# ---------------------------------------------------------------- an architecture that the test brings itself


@pytest.fixture(params=[(BasicBlock, (1, 1, 1, 1)), (Bottleneck, (1, 2, 1, 1))], ids=["basic", "bottleneck"])
def own(request, monkeypatch):
    """A registered architecture: its line of the dictionary."""
    monkeypatch.setitem(ARCHITECTURES, "resnet7", request.param)
    torch.manual_seed(0)
    return request.param[0]


def test_a_new_architecture_is_one_line(own):
    network, images = build("resnet7", 3).eval(), torch.rand(2, 3, 70, 70)
    assert network.num_features == 512 * own.expansion and network.arch == "resnet7"
    with torch.no_grad():
        whole = network(images)
        folded = network.folded()(images)
        for layer, stride in STRIDES.items():
            first = network.feature_map(images, layer)
            assert first.shape[2:] == (network.grid(70, layer),) * 2 and network.grid(70, layer) == -(-70 // stride)
            assert all(
                torch.equal(one, other) for one, other in zip(network.from_layer(first, layer), whole, strict=True)
            )
    torch.testing.assert_close(folded.logits, whole.logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layer", STRIDES)
def test_margins_of_a_new_architecture_are_autograds(own, layer):
    network = build("resnet7", 3).eval()
    feature_map = network.feature_map(torch.rand(1, 3, 64, 64), layer).detach().requires_grad_()
    with torch.no_grad():
        *_, maps = class_maps(network, feature_map, layer)
    for c in range(3):
        (gradient,) = torch.autograd.grad(network.from_layer(feature_map, layer).logits[0, c], feature_map)
        torch.testing.assert_close(maps[0, c], (gradient * feature_map)[0].sum(0), atol=1e-5, rtol=1e-4)


def test_checkpoints_of_a_new_architecture(own, tmp_path):
    network = build("resnet7", 3)
    for content in (network.state_dict(), {"arch": "resnet7", "state_dict_m": network.state_dict()}):
        path = saved(tmp_path, content)
        assert load_classifier(path, CLASSES).name == "resnet7"
    with pytest.raises(
        InputError,
        match=r"does not fit --arch resnet34: it holds a ResNet-7; give --arch resnet7, or weights of a ResNet-34\.$",
    ):
        load_backbone(build("resnet34", 3), path)
    with pytest.raises(
        InputError, match=r"^--pretrained imagenet: torchvision has no weights of ResNet-7; give a checkpoint of one\.$"
    ):
        load_backbone(network, "imagenet")


# ---------------------------------------------------------------- every script


class Chain:
    """Scripts run one after the other in a folder, with networks of one architecture, on few images."""

    def __init__(self, arch, folder, data_root, tools):
        self.arch, self.folder, self.tools = arch, folder, tools
        self.classes = catalog.find("toy").classes
        self.tiny = tools.common(data_root, workers=0)
        torch.manual_seed(2)
        self.generic = ["--arch", arch, "--pretrained", folder / "generic.pth"]
        torch.save(build(arch, 0).state_dict(), folder / "generic.pth")

    def __call__(self, script, *arguments):
        done = self.tools.call(script, *self.tiny, *arguments, cwd=self.folder)
        assert done.status == 0, done.err

    @property
    def features(self):
        return FEATURES[self.arch] // NARROWER

    def course(self, script, selection, student):
        """A course; returns its taught student, as a classifier."""
        learning = [
            "--student",
            student,
            "--selection",
            selection,
            "--steps",
            2,
            "--lr",
            1e-5,
            "--max-grad-norm",
            1,
            "--iterations",
            2,
        ]
        self(script, *self.generic, *learning, "--save-students")
        (path,) = (self.folder / "toy").glob(f"student_{selection}*.pth.tar")
        taught = load_classifier(path, self.classes)
        assert (taught.name, taught.head.weight.shape) == (self.arch, (5, self.features))
        path.unlink()
        return taught


TRAINING = ["--epochs", 1, "--batch-size", 5, "--lr", 0.01, "--milestones", 1]


@pytest.fixture
def chain_of(narrow, small_root, tmp_path, tools):
    """The scripts with networks of an architecture, one image per class being taught and one tested."""
    return lambda arch: Chain(arch, tmp_path, small_root, tools)


def maps_of(path):
    with np.load(path) as stored:
        return {name: stored[name].shape for name in stored.files if name not in ("label", "path")}


def test_a_network_of_fifty_layers_and_its_courses(chain_of, small_root, data_root):
    chain = chain_of("resnet50")
    out = chain.folder / "toy"
    chain("train_butterflies_resnet18", "--arch", "resnet50", *TRAINING)
    teacher = load_classifier(out / "checkpoint_pretrain_resnet18_s300.pth.tar", chain.classes)
    assert (teacher.arch, teacher.num_features) == ("resnet50", chain.features)
    chain("get_all_CE_butterflies", "--explanation", "scout")
    assert maps_of(out / "heatmaps.npz") == {"attribution": (5, 5, 2, 2), "confidence": (5, 2, 2)}
    chain("get_all_CE_butterflies", "--explanation", "margin")
    assert maps_of(out / "heatmaps.npz") == {"class_maps": (5, 5, 16, 16)}
    chain.course("train_butterflies_CMaxGrad", "CMaxGrad", "optimal")
    page = chain.tools.call("teach", "--dataset", "toy", "--data-root", data_root, "--test-images", 5, cwd=chain.folder)
    assert page.status == 0 and (out / "course_page/index.html").exists(), page.err
    taught = chain.course("train_butterflies_CMaxGrad", "CMaxGrad", "sgd")
    test = open_list(catalog.find("toy"), "test", small_root, partial(eval_view, size=64))
    with torch.no_grad():
        logits = taught(to_float(torch.stack([test[number] for number in range(5)]), "cpu")).logits
    assert np.load(out / "all_test_acc_iter_CMaxGrad.npy")[-1] == pytest.approx(share_right(logits, test.labels))


def test_frozen_features_of_thirty_four_layers_and_their_course(chain_of):
    chain = chain_of("resnet34")
    out = chain.folder / "toy"
    chain("train_gull_resnet18_linear", *chain.generic, *TRAINING)
    head = torch.load(out / "checkpoint_pretrain_resnet18_linear.pth.tar", weights_only=True)["state_dict_m"]
    assert head["weight"].shape == (5, chain.features)
    refused = chain.tools.call(
        "get_all_CE_gull", *chain.tiny, "--pretrained", chain.folder / "generic.pth", cwd=chain.folder
    )
    assert refused.status == 2 and refused.err.count("\n") == 1
    assert (
        "does not fit --arch resnet18: it holds a ResNet-34; give --arch resnet34, or weights of a ResNet-18."
        in refused.err
    )
    chain("get_all_CE_gull", *chain.generic, "--explanation", "margin")
    chain.course("train_gull_CMaxGrad", "CMaxGrad", "sgd")


@pytest.mark.parametrize("family", ["gull", "butterflies"])
def test_simclr_of_an_architecture_and_its_course(chain_of, family):
    chain = chain_of("resnet50")
    chain(f"train_{family}_simclr", "--arch", "resnet50", "--epochs", 1, "--batch-size", 5)
    chain(f"get_all_CE_{family}_simclr", "--checkpoint", "{out}/simclr_checkpoint_1.tar", "--probe-epochs", 2)
    chain.course(f"train_{family}_CMaxGrad_simclr", "CMaxGrad", "optimal")


@pytest.mark.parametrize("classifier", ["probe", "finetune"])
def test_the_study_of_annotators_with_an_architecture(data_root, tmp_path, tools, narrow, classifier):
    chain = Chain("resnet34", tmp_path, data_root, tools)
    learning = ["--epochs", 1, "--batch-size", 20, "--milestones", 1, "--probe-epochs", 2]
    chain("study_annotators", *chain.generic, "--classifier", classifier, "--accuracy", 0.5, "--repeats", 1, *learning)
    refused = tools.call(
        "study_annotators",
        *chain.tiny,
        "--arch",
        "resnet50",
        *chain.generic[2:],
        "--classifier",
        classifier,
        cwd=tmp_path,
    )
    assert refused.status == 2 and "it holds a ResNet-34; give --arch resnet34" in refused.err
