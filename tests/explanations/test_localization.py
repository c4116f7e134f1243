"""Where explanations fall: the measure by hand, and the demo's own teacher on the drawn moths, whose true marks are known."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datasets.toy_moths import draw_toy_dataset
from utils.catalog import find
from utils.explanations.localization import coverage, load_masks_and_marks, measure, moved

REPOSITORY = Path(__file__).resolve().parents[2]


def test_coverage_by_hand():
    masks, marks = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, 0] = True  # 4 pixels, 2 of them on marks
    marks[0, :, :2] = True  # 8 pixels
    masks[1, 3, 3] = True  # 1 pixel, on no mark
    precision, recall = coverage(masks, marks)
    assert precision == pytest.approx(100 * 2 / 5) and recall == pytest.approx(100 * 2 / 8)


def test_moved_masks_keep_their_size():
    masks = torch.rand(5, 9, 9) > 0.8
    assert torch.equal(moved(masks, 0).sum((1, 2)), masks.sum((1, 2)))
    assert not torch.equal(moved(masks, 0), masks)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder in which the demo's teacher was trained and its explanations made, by the Makefile's own commands."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed, and the demo's settings stand in the Makefile")
    folder = tmp_path_factory.mktemp("demo")
    draw_toy_dataset(folder / "datasets")
    words = ["make", "--dry-run", "--always-make", "demo", f"RUN={shlex.quote(sys.executable)}", "OUT=toy"]
    plan = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    for script in ("train_butterflies_resnet18.py", "get_all_CE_butterflies.py"):
        (line,) = (line for line in plan if f" {script} " in line)
        command = shlex.split(line)
        command[1] = str(REPOSITORY / script)
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_explanations_of_the_demos_teacher_find_the_true_marks(demo, monkeypatch):
    monkeypatch.chdir(demo)  # the explanation list names its pictures from where the script ran
    masks, marks = load_masks_and_marks("toy", "datasets", find("toy"))
    assert len(masks) == 150 * 4
    precision = {name: values[0] for name, values in measure(masks, marks).items()}
    print(precision)
    assert precision["explanation"] > 2 * precision["moved at random"]
    assert precision["explanation"] > 1.25 * precision["mirrored left-right"]
    assert precision["explanation"] > 1.25 * precision["mirrored top-bottom"]
