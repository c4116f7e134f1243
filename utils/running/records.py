"""Records of runs (settings, inputs, versions, measurements) and of explanation lists."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision

from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import write_json
from utils.data.lists import check_unchanged
from utils.data.outputs import record_of

TOP = Path(__file__).resolve().parents[2]


def git_commit() -> str | None:
    """Returns the commit of this code, with `-dirty` if files were changed; None outside its own git checkout."""

    def git(*words: str) -> str:
        command = ["git", "-c", f"safe.directory={TOP}", *words]
        return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An unpacked archive may be inside another repository, whose commit is not the code's.
        if not os.path.samefile(git("rev-parse", "--show-toplevel"), TOP):
            return None
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*")
    except (OSError, subprocess.SubprocessError):
        return None


def write_run_record(paths: Sequence[Path], script: str, cfg, inputs: dict[str, str], measured: dict) -> None:
    """Writes a run's record to each path; `inputs` are the SHA-256 of its input files."""
    device = torch.cuda.get_device_name(cfg.device) if getattr(cfg, "device", "cpu").startswith("cuda") else "cpu"
    record = {
        "script": script,
        "settings": {name: value for name, value in dataclasses.asdict(cfg).items() if name != "resume"},
        "inputs": inputs,
        "seed": cfg.seed,
        "git_commit": git_commit(),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__},
        "device": device,
        "processes": processes.count(),
        "measured": measured,
    }
    for path in paths:
        write_json(path, record)


def read_explanation_record(ce_list: str | Path) -> dict:
    """Reads the record next to an explanation list; {} if it has none, like the paper's lists."""
    path = record_of(ce_list)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        problem = f"Explanation record {path} is damaged ({error})"
        raise InputError(f"{problem}. Run the explanation script again.") from error


def check_explained(ce_list: str | Path, data_root: str | Path) -> None:
    """Raises InputError for the first picture that has changed since it was explained."""
    pictures = read_explanation_record(ce_list).get("pictures", {})
    check_unchanged(pictures, data_root, f"it was explained for {ce_list}. Explain the list again")


def differing(runs: Mapping[str, Mapping], aside: Container[str] = ()) -> str:
    """Names the values in which runs differ, except those `aside`: `lr (was 0.01, is 0.02)`; "" if they are equal."""
    names = sorted({name for values in runs.values() for name in values if name not in aside})
    found = {name: {run: str(values.get(name)) for run, values in runs.items()} for name in names}
    unequal = {name: values for name, values in found.items() if len(set(values.values())) > 1}
    return ", ".join(f"{name} ({', '.join(map(' '.join, values.items()))})" for name, values in unequal.items())
