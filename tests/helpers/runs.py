"""Runs scripts on a small dataset: in this process (`call`), which is much faster, or in a new one (`spawn`)."""

import contextlib
import csv
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 64  # side of the images in pixels; the feature map is 2 x 2


@dataclass(frozen=True)
class Finished:
    """Exit status and output of a script (stderr with progress bars)."""

    script: str
    status: int
    out: str
    err: str


def call(script: str, *arguments: object, cwd: Path) -> Finished:
    """Runs a script in this process as `python script.py arguments` in the folder `cwd` would."""
    module = importlib.import_module(script)
    launch = importlib.import_module("utils.running.launch").launch
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        try:
            launch(module.main, module.Config, module.__doc__)
        except SystemExit as stop:
            status = stop.code
    return Finished(script, status, out.getvalue(), err.getvalue())


def spawn(script: str, *arguments: object, cwd: Path) -> Finished:
    """Runs a script in a new process in the folder `cwd`."""
    command = [sys.executable, str(REPOSITORY / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    return Finished(script, done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def forker(**environment: str) -> Iterator[Callable[..., SimpleNamespace]]:
    """Yields fork(command, folder, **order), which runs a script in a child of forker.py."""
    command = [sys.executable, str(Path(__file__).with_name("forker.py"))]
    environment = os.environ | environment
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def fork(command, cwd, **order):
        script, *arguments = map(str, command)
        order |= {"script": script, "arguments": arguments, "cwd": str(cwd)}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return SimpleNamespace(**json.loads(process.stdout.readline()))

    yield fork
    process.stdin.close()
    process.wait()


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def read_table(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def content_of(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every file below a folder except run records, which contain times."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("run_"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def snapshot(folder: Path) -> dict[str, tuple]:
    """Modification time and digest of every entry below a folder. A temporary file changes the time of its folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in [folder, *sorted(folder.rglob("*"))]
    }


@dataclass
class Workspace:
    """A working folder in which the scripts of one family have run on the small dataset."""

    family: str  # butterflies or gull
    folder: Path
    runs: dict[str, Finished] = field(default_factory=dict)  # by name: teacher, CE, CMaxGrad, ...
    commands: dict[str, list[str]] = field(default_factory=dict)  # script and arguments of each run

    @property
    def out(self) -> Path:
        return self.folder / "toy"

    def run(self, name: str, script: str, *arguments: object, how=call) -> None:
        self.commands[name] = [script, *map(str, arguments)]
        self.runs[name] = how(script, *arguments, cwd=self.folder)
        assert self.runs[name].status == 0, f"{script}: {self.runs[name].err}"


def common(data_root: Path, workers: int = 2) -> list[str]:
    """Settings for small runs on the small dataset."""
    small = f"--dataset toy --data-root {data_root} --image-size {SIZE} --workers {workers} --device cpu"
    return small.split(" ")


def run_family(space: Workspace, data_root: Path, weights: Path) -> Workspace:
    """Runs the scripts of a family; for butterflies also more selections, and explanations as pictures."""
    family, tiny, generic = space.family, common(data_root), ["--pretrained", weights]
    training = ["--epochs", 2, "--batch-size", 8, "--lr", 0.01, "--milestones", 1, "--eval-every", 2]
    teacher = "train_gull_resnet18_linear" if family == "gull" else "train_butterflies_resnet18"
    frozen = generic if family == "gull" else []  # the gull teacher is a head on generic features
    lessons = [*tiny, *generic, "--iterations", 3, "--steps", 2, "--batch-size", 16, "--student", "sgd"]
    course, explain = f"train_{family}_CMaxGrad", f"get_all_CE_{family}"
    space.run("teacher", teacher, *tiny, *generic, *training)
    explained = [*frozen, "--mask-sizes", 0.3, 0.05, "--batch-size", 7]
    space.run("CE", explain, *tiny, *explained, "--explanation", "scout")
    space.run("CMaxGrad", course, *lessons, "--save-students")
    space.run("random", course, *lessons, "--selection", "random")
    if family == "butterflies":
        space.run("MaxGrad", course, *lessons, "--selection", "MaxGrad")
        lessons += ["--ce-list", "./toy/toy_gt_CE.txt", "--save-students"]
        space.run("image", course, *lessons, "--explanation-view", "image", "--out", "pictures")
        optimal = [*lessons, "--student", "optimal", "--out", "optimal", "--draws", 2]
        space.run("optimal", course, *optimal)
        space.run("KMaxGrad", course, *optimal, "--selection", "KMaxGrad")
        lessons = lessons[:-3]
    space.run("simclr", f"train_{family}_simclr", *tiny, "--epochs", 2, "--batch-size", 8)
    probe = [*tiny, "--probe-epochs", 30, "--batch-size", 7, "--checkpoint", "./toy/simclr_checkpoint_2.tar"]
    space.run("CE_simclr", f"{explain}_simclr", *probe, "--explanation", "scout")
    head = f"./toy/checkpoint_pretrain_resnet18_{'linear' if family == 'gull' else 's300'}.pth.tar"
    space.run("CE_margin", explain, *tiny, *explained, "--checkpoint", head, "--out", "margin")
    space.run("CE_margin_simclr", f"{explain}_simclr", *probe, "--out", "margin")
    space.run("CMaxGrad_simclr", f"{course}_simclr", *lessons, "--save-students")
    return space
