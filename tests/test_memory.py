"""The memory of explaining does not grow with the list."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

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
    save = f"torch.save(build('resnet18', {classes}).state_dict(), 'teacher.pt')"
    make = f"import narrow, torch; from models.resnet import build; {save}"
    environment = os.environ | {"PYTHONPATH": f"{tools.repository}:{tools.repository}/tests/helpers"}
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, env=environment, check=True)

    def explain(count):
        rows = [
            Example(f"./datasets/chinese_chars/{number % classes}.png", number % classes, number)
            for number in range(count)
        ]
        write_examples(folder / "ChineseChars_gt_tr.txt", rows)
        data = ["--dataset", "chinese_chars", "--data-root", tmp_path, "--checkpoint", tmp_path / "teacher.pt"]
        run = ["--image-size", SIZE, "--batch-size", 8, "--workers", 1, "--device", "cpu", "--out", f"out_{count}"]
        found = peak(tools, "get_all_CE_butterflies", tmp_path, *data, *run)
        assert len(list(tmp_path.glob(f"out_{count}/**/*_counter_*.png"))) == count * 2 * 3
        return found

    # The pictures of the longer list would take 26 MB more.
    assert explain(600) < explain(60) + 13
