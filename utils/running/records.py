"""What a run leaves besides its results: its record, which says what was run, on what, and what it measured."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision

from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import write_json
from utils.data.outputs import record_of, run_records, variant_of

EXPLAINING = "get_all_CE_*"  # the scripts that explain
TOP = Path(__file__).resolve().parents[2]
# Of git's variables, those that say where a repository and its parts lie.
GIT_PLACES = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
}


def git_commit() -> str | None:
    """The commit of this code, with `-dirty` behind it where files were changed; None outside a git checkout of its own."""
    try:
        # Code that was unpacked from an archive may lie in somebody else's repository, whose commit tells nothing about it.
        if not os.path.samefile(_git("rev-parse", "--show-toplevel"), TOP):
            return None
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    """What git says in this code's folder: of the repository that it lies in, not of the one that variables like GIT_DIR name.

    Somebody else may own the checkout, as where a container mounts it; git is told that this one may be looked into.
    """
    environment = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    command = ["git", "-c", f"safe.directory={TOP}", *words]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.removesuffix("\n")


def write_run_record(paths: Sequence[Path], script: str, cfg, inputs: dict[str, str], measured: dict) -> None:
    """Writes a run's record under each of its names: settings, digests of its input files, seed, commit, versions, device, and what it
    measured.

    Whether the run was resumed is left out, since nothing depends on it.
    """
    device = torch.cuda.get_device_name(cfg.device) if getattr(cfg, "device", "cpu").startswith("cuda") else "cpu"
    settings = {name: value for name, value in dataclasses.asdict(cfg).items() if name != "resume"}
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    record = {
        "script": script,
        "settings": settings,
        "inputs": inputs,
        "seed": cfg.seed,
        "git_commit": git_commit(),
        "versions": versions,
        "device": device,
        "processes": processes.count(),
        "measured": measured,
    }
    for path in paths:
        write_json(path, record)


def read_explanation_record(ce_list: str | Path) -> dict:
    """Reads how an explanation list was made, from the record next to it; {} if it has none, like the lists of the paper.

    The record contains the settings `explanation`, `explanation_layer`, `mask_sizes`, `image_size`, `counters`, `dataset` and `seed`;
    the `variant` as in `Layout`; `mask_size`, the one that the list names; and the SHA-256 of input files (`contents`).

    Raises:
        InputError: the record is damaged.
    """
    path = record_of(ce_list)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"The explanation record {path} cannot be read ({error}). Run the explanation script again."
        ) from error
    if not isinstance(record, dict):
        raise InputError(f"The explanation record {path} is not a JSON object. Run the explanation script again.")
    return record


def last_records(out: str | Path) -> dict[str, Path]:
    """The records of the explanation runs whose files lie in an output folder, the last of each variant (as in `Layout.variant`)."""
    records = sorted(run_records(out, EXPLAINING), key=lambda path: path.stat().st_mtime)
    return {variant_of(path.stem): path for path in records}


def explanation_run(ce_list: str | Path) -> dict:
    """The record of the run that made an explanation list; empty where none beside it tells (the paper's lists have none)."""
    record = last_records(Path(ce_list).parent).get(variant_of(Path(ce_list).stem))
    try:
        found = json.loads(record.read_text(encoding="utf-8")) if record else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("settings"), dict) else {}


def explained_by(ce_list: str | Path) -> str | None:
    """The name of the explainer that made an explanation list; None where no record beside it tells."""
    name = explanation_run(ce_list).get("settings", {}).get("explanation")
    return None if name is None else str(name)
