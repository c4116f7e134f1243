"""Memory stays flat however long the list is: peaks of two whole processes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.drawn_course import with_photographs, write_course
from utils.data.catalog import CHARACTERS
from utils.data.lists import Example, write_examples

SIZE = 128
RUN = f"""
import sys
sys.path.insert(0, "tests/helpers")
import narrow  # before all that imports the network
import torch
from models.resnet import build
import get_all_CE_butterflies as script
torch.save({{"state_dict_m": build("resnet18", {len(CHARACTERS)}).state_dict()}}, sys.argv[sys.argv.index("--checkpoint") + 1])
from utils.running.launch import launch
torch.set_num_threads(1)
launch(script.main, script.Config, script.__doc__)
# Not ru_maxrss: that begins with the peak of the process that started this one.
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture
def explain(tools, tmp_path):
    """Explains a list of so many rows, all of them of the same few pictures; returns the peak of the process's memory in MB."""
    folder = tmp_path / "chinese_chars"
    folder.mkdir()
    for label in range(len(CHARACTERS)):
        Image.fromarray(np.full((SIZE, SIZE, 3), 80 * label, np.uint8)).save(folder / f"{label}.png")

    def run(count: int) -> float:
        labels = [number % len(CHARACTERS) for number in range(count)]
        rows = [Example(f"./datasets/chinese_chars/{label}.png", label, number) for number, label in enumerate(labels)]
        write_examples(folder / "ChineseChars_gt_tr.txt", rows)
        settings = [
            "--dataset",
            "chinese_chars",
            "--data-root",
            tmp_path,
            "--checkpoint",
            tmp_path / "teacher.pt",
            "--image-size",
            SIZE,
        ]
        run_settings = ["--batch-size", 8, "--workers", 2, "--device", "cpu", "--out", tmp_path / f"out_{count}"]
        command = [sys.executable, "-c", RUN, *map(str, settings + run_settings)]
        done = subprocess.run(command, cwd=tools.repository, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob(f"out_{count}/**/*_counter_*.png"))) == count * 2 * 3
        return int(done.stdout.splitlines()[-1]) / 1024

    return run


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_times_the_images_need_no_more_memory(explain):
    few, many = explain(60), explain(600)
    assert many < 1.1 * few
    # torch alone takes hundreds of MB, ten per cent of which would hide a small leak. Held, the longer list's pictures take 26 MB more.
    assert many < few + 13


BUILD = """
import sys
import teach as script
from utils.running.launch import launch
launch(script.main, script.Config, script.__doc__)
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_page_of_many_times_the_pictures_needs_no_more_memory(tools, data_root, tmp_path):
    def build(count: int) -> float:
        """The peak of the memory in MB when a page with so many pictures to label is built."""
        folder = tmp_path / f"{count}"
        folder.mkdir()
        write_course(folder, with_photographs(data_root, folder / "data"))
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)).save(folder / "noise.jpg")
        rows = [Example(f"./datasets/toy/rest_{number}.jpg", 0, number) for number in range(count)]
        for row in rows:
            os.link(folder / "noise.jpg", folder / row.path.replace("./datasets", "data"))
        write_examples(folder / "data/toy/toy_gt_rest_tr.txt", rows)
        settings = [
            "--dataset",
            "toy",
            "--data-root",
            folder / "data",
            "--out",
            folder / "toy",
            "--test-images",
            5,
            "--workers",
            2,
        ]
        command = [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(tools.repository)!r})\n{BUILD}",
            *map(str, settings),
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert len(list((folder / "toy/course_page/images").glob("*.jpg"))) >= count
        return int(done.stdout.splitlines()[-1]) / 1024

    few, many = build(20), build(200)
    # Held, the pictures of the longer list would take 76 MB more, and their files alone 30 MB.
    assert many < few + 20
