"""On a GPU: the same seed gives the same files, masks match a CPU's up to rounding, and TF32 changes no course."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.runs import snapshot

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TEACHER = ["--checkpoint", "./toy/checkpoint_pretrain_resnet18_s300.pth.tar"]


def on_gpu(space, name, out, tools, *more):
    """Runs a command on the GPU; returns its output folder."""
    script, *settings = space.commands[name]
    settings = ["cuda" if setting == "cpu" else setting for setting in settings]
    done = tools.call(script, *settings, *more, "--out", out, cwd=space.folder)
    assert done.status == 0, done.err
    return space.folder / out


def content(folder):
    """Digests of all files except lists (they name their folder) and records (they contain seconds)."""
    files = {name: digest for name, (_, digest) in snapshot(folder).items() if digest}
    return {name: digest for name, digest in files.items() if not name.endswith((".txt", ".json"))}


@pytest.mark.parametrize("name", ["teacher", "simclr", "CE", "CE_margin"])
def test_the_same_seed_gives_the_same_files(butterflies, tools, name):
    more = TEACHER if name.startswith("CE") else []
    once, twice = (content(on_gpu(butterflies, name, f"{name}_{time}", tools, *more)) for time in ("once", "twice"))
    assert once and once == twice


@pytest.mark.parametrize("name", ["CE", "CE_margin"])
def test_masks_are_those_of_a_cpu_up_to_rounding(butterflies, tools, name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    there = on_gpu(butterflies, name, f"{name}_in_float32", tools, *TEACHER)
    here = butterflies.folder / ("margin" if name == "CE_margin" else "toy")
    masks = sorted(path.relative_to(there) for path in (there / "counterfactual_gradcam_mask").rglob("0.30/*.png"))
    assert masks
    differing = [np.mean(np.asarray(Image.open(here / mask)) != np.asarray(Image.open(there / mask))) for mask in masks]
    assert np.mean(differing) < 0.01


def test_a_course_is_the_same_in_tf32_and_in_float32(butterflies, tools, monkeypatch):
    courses = []
    for out, tf32 in (("in_tf32", True), ("in_float32", False)):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
        folder = on_gpu(butterflies, "CMaxGrad", out, tools, "--ce-list", "./toy/toy_gt_CE.txt")
        courses.append((folder / "CMaxGrad/toy_Lt_gt_CE_tr.txt").read_text())
    assert courses[0] == courses[1]
