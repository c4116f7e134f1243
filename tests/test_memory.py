"""Memory does not grow with the list: peaks of whole processes."""

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
# VmHWM, not ru_maxrss, which begins with the peak of the parent process.
RUN = """
import sys
top = sys.argv.pop(2)
sys.path[:0] = [top, f"{top}/tests/helpers"]
import narrow
import torch
script = __import__(sys.argv.pop(1))
from utils.running.launch import launch
torch.set_num_threads(1)
launch(script.main, script.Config, script.__doc__)
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def peak(tools, script, folder, *settings):
    """Peak of a script's memory in MB."""
    command = [sys.executable, "-c", RUN, script, str(tools.repository), *map(str, settings)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) / 1024


def test_ten_times_the_images_need_no_more_memory_to_explain(tools, tmp_path):
    """All rows list the same few pictures."""
    folder, classes = tmp_path / "chinese_chars", len(CHARACTERS)
    folder.mkdir()
    for label in range(classes):
        Image.fromarray(np.full((SIZE, SIZE, 3), 80 * label, np.uint8)).save(folder / f"{label}.png")
    make = f"import narrow, torch; from models.resnet import build; torch.save(build('resnet18', {classes}).state_dict(), 'teacher.pt')"
    environment = os.environ | {"PYTHONPATH": f"{tools.repository}:{tools.repository}/tests/helpers"}
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, env=environment, check=True)

    def explain(count):
        rows = [
            Example(f"./datasets/chinese_chars/{number % classes}.png", number % classes, number)
            for number in range(count)
        ]
        write_examples(folder / "ChineseChars_gt_tr.txt", rows)
        data = ["--dataset", "chinese_chars", "--data-root", tmp_path, "--checkpoint", tmp_path / "teacher.pt"]
        run = ["--image-size", SIZE, "--batch-size", 8, "--workers", 2, "--device", "cpu", "--out", f"out_{count}"]
        found = peak(tools, "get_all_CE_butterflies", tmp_path, *data, *run)
        assert len(list(tmp_path.glob(f"out_{count}/**/*_counter_*.png"))) == count * 2 * 3
        return found

    # The pictures of the longer list would take 26 MB more.
    assert explain(600) < explain(60) + 13


def test_ten_times_the_pictures_need_no_more_memory_on_a_page(tools, data_root, tmp_path):
    def build_page(count):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        write_course(folder, with_photographs(data_root, folder / "data"))
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)).save(folder / "noise.jpg")
        rows = [Example(f"./datasets/toy/rest_{number}.jpg", 0, number) for number in range(count)]
        for row in rows:
            os.link(folder / "noise.jpg", folder / row.path.replace("./datasets", "data"))
        write_examples(folder / "data/toy/toy_gt_rest_tr.txt", rows)
        settings = ["--dataset", "toy", "--data-root", "data", "--test-images", 5, "--workers", 2]
        found = peak(tools, "teach", folder, *settings)
        assert len(list((folder / "toy/course_page/images").glob("*.jpg"))) >= count
        return found

    # The pictures of the longer list would take 76 MB more, and their files 30 MB.
    assert build_page(200) < build_page(20) + 20
