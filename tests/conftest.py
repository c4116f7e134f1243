"""A small dataset, and the scripts of two families run on it once per session."""

import contextlib
import io
import shutil
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import resnet18

from tests.helpers.runs import REPOSITORY, SIZE, Workspace, call, common, run_family, snapshot, spawn
from utils.data import toy_moths
from utils.data.lists import read_examples, write_examples

IMAGES = {"toy_gt_tr": 4, "toy_gt_te": 3, "toy_gt_rest_tr": 4}  # per class
SLOW = ("test_scripts.py", "test_wrong_input.py", "test_resume.py", "test_processes.py", "test_browser.py")


def pytest_collection_modifyitems(items):
    """Runs the slowest files first, which balances parallel runs."""
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


@pytest.fixture(scope="session")
def drawn_toy(tmp_path_factory):
    """A read-only data root with a small toy dataset, and its snapshot. At the end it must be unchanged."""
    root = tmp_path_factory.mktemp("shared") / "data"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()):
        patch.setattr(toy_moths, "PER_CLASS", IMAGES)
        toy_moths.draw_toy_dataset(root, seed=5)
    entries = [root, *root.rglob("*")]
    for path in entries:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(root)
    yield root, before
    after = snapshot(root)
    for path in entries:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert after == before, "the data root was written to"


@pytest.fixture(scope="session")
def data_root(drawn_toy):
    return drawn_toy[0]


@pytest.fixture
def small_root(data_root, tmp_path):
    """A writable copy of the data root with one training and one test image per class."""
    root = tmp_path / "data"
    for split in ("tr", "te"):
        rows = read_examples(data_root / f"toy/toy_gt_{split}.txt", 5)
        first = {row.label: row for row in reversed(rows)}
        for row in first.values():
            target = root / row.path.removeprefix("./datasets/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data_root / row.path.removeprefix("./datasets/"), target)
        write_examples(root / f"toy/toy_gt_{split}.txt", [first[label] for label in sorted(first)])
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A state dict of a torchvision ResNet-18 with random weights and its 1000-way head."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    with torch.random.fork_rng():
        torch.manual_seed(11)
        torch.save(resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def butterflies(data_root, weights, tmp_path_factory):
    return run_family(Workspace("butterflies", tmp_path_factory.mktemp("butterflies_work")), data_root, weights)


@pytest.fixture(scope="session")
def gull(data_root, weights, tmp_path_factory):
    return run_family(Workspace("gull", tmp_path_factory.mktemp("gull_work")), data_root, weights)


@pytest.fixture(params=["butterflies", "gull"])
def space(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def launched(monkeypatch):
    """Function that sets the variables of torchrun for a rank of several on this machine."""

    def launch(rank, count):
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        for name, value in (numbers | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29400}).items():
            monkeypatch.setenv(name, str(value))

    return launch


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(call=call, spawn=spawn, common=common, snapshot=snapshot, size=SIZE, repository=REPOSITORY)
