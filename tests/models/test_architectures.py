"""All scripts with deeper networks, on few images."""

from functools import partial

import numpy as np
import pytest
import torch
from torchvision.models.resnet import ResNet

from models.resnet import build
from models.weights import load_classifier
from utils.data import catalog
from utils.data.images import eval_view
from utils.data.loading import open_list, to_float
from utils.training.evaluation import share_right

NARROWER = 8
FEATURES = {"resnet34": 512 // NARROWER, "resnet50": 2048 // NARROWER}


class Chain:
    """Scripts run one after the other in a folder, with narrow networks of one architecture."""

    def __init__(self, arch, folder, data_root, tools):
        self.arch, self.folder, self.tools = arch, folder, tools
        self.classes, self.tiny = catalog.find("toy").classes, tools.common(data_root, workers=0)
        torch.manual_seed(2)
        torch.save(build(arch, 0).state_dict(), folder / "generic.pth")

    def __call__(self, script, *arguments):
        done = self.tools.call(script, *self.tiny, *arguments, cwd=self.folder)
        assert done.status == 0, done.err

    def course(self, script, student):
        """Makes a course; returns its last student as a classifier."""
        network = ["--arch", self.arch, "--pretrained", self.folder / "generic.pth"]
        settings = ["--student", student, "--selection", "CMaxGrad", "--iterations", 2, "--save-students"]
        self(script, *network, *settings, "--steps", 2, "--lr", 1e-5, "--max-grad-norm", 1)
        (path,) = (self.folder / "toy").glob("student_CMaxGrad*.pth.tar")
        taught = load_classifier(str(path), self.classes)
        assert (taught.name, taught.fc.weight.shape) == (self.arch, (5, FEATURES[self.arch]))
        path.unlink()
        return taught


@pytest.fixture
def chain_of(small_root, tmp_path, tools, monkeypatch):
    make_layer = ResNet._make_layer
    monkeypatch.setattr(
        ResNet, "_make_layer", lambda self, block, planes, *a, **k: make_layer(self, block, planes // NARROWER, *a, **k)
    )
    return lambda arch: Chain(arch, tmp_path, small_root, tools)


def test_a_network_of_fifty_layers_and_its_courses(chain_of, small_root):
    chain = chain_of("resnet50")
    out = chain.folder / "toy"
    training = ["--epochs", 1, "--batch-size", 5, "--lr", 0.01, "--milestones", 1]
    chain("train_butterflies_resnet18", "--arch", "resnet50", *training)
    teacher = load_classifier(str(out / "checkpoint_pretrain_resnet18_s300.pth.tar"), chain.classes)
    assert (teacher.arch, teacher.num_features) == ("resnet50", FEATURES["resnet50"])
    chain("get_all_CE_butterflies", "--explanation", "scout")
    assert np.load(out / "heatmaps.npz")["attribution"].shape == (5, 5, 2, 2)
    chain("get_all_CE_butterflies", "--explanation", "margin")
    assert np.load(out / "heatmaps.npz")["class_maps"].shape == (5, 5, 16, 16)
    chain.course("train_butterflies_CMaxGrad", "optimal")
    taught = chain.course("train_butterflies_CMaxGrad", "sgd")
    test = open_list(catalog.find("toy"), "test", small_root, partial(eval_view, size=64))
    with torch.no_grad():
        logits = taught(to_float(torch.stack([test[number] for number in range(5)]), "cpu")).logits
    assert np.load(out / "all_test_acc_iter_CMaxGrad.npy")[-1] == pytest.approx(share_right(logits, test.labels))


def test_simclr_of_thirty_four_layers_and_its_course(chain_of):
    chain = chain_of("resnet34")
    chain("train_gull_simclr", "--arch", "resnet34", "--epochs", 1, "--batch-size", 5)
    chain("get_all_CE_gull_simclr", "--checkpoint", "{out}/simclr_checkpoint_1.tar", "--probe-epochs", 2)
    chain.course("train_gull_CMaxGrad_simclr", "optimal")
