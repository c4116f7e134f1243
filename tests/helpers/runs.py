"""The scripts run on a small dataset: one by one, or the six of a family one after the other.

Most runs happen in this process (`call`), because importing torch costs a subprocess several seconds; `spawn` is the real thing.
"""

import contextlib
import hashlib
import importlib
import io
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 64  # side of the images in pixels: the smallest whose feature map (2 x 2) can point somewhere
LESSONS = 3


@dataclass(frozen=True)
class Finished:
    """How a script ended: exit status, what it printed, and what it said on stderr (progress bars included)."""

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
    """Runs a script as a process of its own in the folder `cwd`."""
    command = [sys.executable, str(REPOSITORY / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    return Finished(script, done.returncode, done.stdout, done.stderr)


def snapshot(folder: Path) -> dict[str, tuple]:
    """Every entry below a folder with its time of change and its digest.

    Folders count too: a file that was made there and removed again leaves its mark on the folder's time.
    """
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in [folder, *sorted(folder.rglob("*"))]
    }


@dataclass
class Workspace:
    """A working folder in which the six scripts of one family (butterflies or gull) have run on the small dataset.

    Attributes:
        family: `butterflies` or `gull`.
        folder: the working folder; `out` is the output folder in it.
        runs: how each run ended, by name: `teacher`, `CE`, `CMaxGrad`, `MaxGrad`, `random`, `simclr`, `CE_simclr`, ...
        commands: script and arguments of each run, to run it again.
    """

    family: str
    folder: Path
    runs: dict[str, Finished] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "toy"

    def run(self, name: str, script: str, *arguments: object, how=call) -> None:
        self.commands[name] = [script, *map(str, arguments)]
        self.runs[name] = how(script, *arguments, cwd=self.folder)
        assert self.runs[name].status == 0, f"{script}: {self.runs[name].err}"


def common(data_root: Path, workers: int = 2) -> list[str]:
    """The settings that keep every script small and on the small dataset."""
    return [
        "--dataset",
        "toy",
        "--data-root",
        str(data_root),
        "--image-size",
        str(SIZE),
        "--workers",
        str(workers),
        "--device",
        "cpu",
    ]


def run_family(space: Workspace, data_root: Path, weights: Path) -> Workspace:
    """Runs the six scripts of a family, and more courses with the butterflies': every selection, and explanations as pictures."""
    family, tiny, generic = space.family, common(data_root), ["--pretrained", weights]
    training = ["--epochs", 2, "--batch-size", 8, "--lr", 0.01, "--milestones", 1, "--eval-every", 2]
    teacher = "train_gull_resnet18_linear" if family == "gull" else "train_butterflies_resnet18"
    frozen = generic if family == "gull" else []  # the gulls' teacher is a head on generic features
    lessons = [*tiny, *generic, "--iterations", LESSONS, "--steps", 2, "--batch-size", 16, "--student", "sgd"]
    course, explain = f"train_{family}_CMaxGrad", f"get_all_CE_{family}"
    space.run("teacher", teacher, *tiny, *generic, *training)
    explained = [*frozen, "--mask-sizes", 0.3, 0.05, "--batch-size", 7]
    space.run("CE", explain, *tiny, *explained, "--explanation", "scout")
    space.run("CMaxGrad", course, *lessons, "--save-students")
    space.run("random", course, *lessons, "--selection", "random")
    if family == "butterflies":
        space.run("MaxGrad", course, *lessons, "--selection", "MaxGrad")
        pictures = ["--explanation-view", "image", "--out", "pictures", "--ce-list", "./toy/toy_gt_CE.txt"]
        space.run("image", course, *lessons, *pictures, "--save-students")
        optimal = [*lessons, "--student", "optimal", "--ce-list", "./toy/toy_gt_CE.txt"]
        space.run("optimal", course, *optimal, "--out", "optimal", "--save-students", "--draws", 2)
        space.run(
            "KMaxGrad", course, *optimal, "--out", "optimal", "--selection", "KMaxGrad", "--save-students", "--draws", 2
        )
    space.run("simclr", f"train_{family}_simclr", *tiny, "--epochs", 2, "--batch-size", 8)
    probe = ["--probe-epochs", 30, "--batch-size", 7]
    space.run(
        "CE_simclr",
        f"{explain}_simclr",
        *tiny,
        *probe,
        "--explanation",
        "scout",
        "--checkpoint",
        "{out}/simclr_checkpoint_2.tar",
    )
    head = f"./toy/checkpoint_pretrain_resnet18_{'linear' if family == 'gull' else 's300'}.pth.tar"
    space.run("CE_margin", explain, *tiny, *explained, "--checkpoint", head, "--out", "margin")
    space.run(
        "CE_margin_simclr",
        f"{explain}_simclr",
        *tiny,
        *probe,
        "--checkpoint",
        "./toy/simclr_checkpoint_2.tar",
        "--out",
        "margin",
    )
    space.run("CMaxGrad_simclr", f"{course}_simclr", *lessons, "--save-students")
    return space
