"""On a GPU: PyTorch's faster arithmetic for convolutions, TF32, changes no choice. Skipped where there is none."""

import pytest
import torch


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_course_is_the_same_in_tf32_and_in_float32(butterflies, tools, monkeypatch):
    script, *settings = butterflies.commands["CMaxGrad"]
    settings = ["cuda" if setting == "cpu" else setting for setting in settings] + ["--ce-list", "./toy/toy_gt_CE.txt"]
    courses = []
    for out, tf32 in (("in_tf32", True), ("in_float32", False)):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
        done = tools.call(script, *settings, "--out", out, cwd=butterflies.folder)
        assert done.status == 0, done.err
        courses.append((butterflies.folder / out / "CMaxGrad/toy_Lt_gt_CE_tr.txt").read_text())
    assert courses[0] == courses[1]
