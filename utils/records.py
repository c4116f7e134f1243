"""What a run leaves besides its results: the run record and tables of its progress."""

import csv
import dataclasses
import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision

from utils.files import write_json, write_text


def git_commit() -> str | None:
    """The commit of this code, with `-dirty` behind it where files were changed; None outside a git checkout."""
    folder = Path(__file__).parent
    try:
        words = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_run_record(script: str, cfg, measured: dict) -> Path:
    """Writes `<out>/run_<script>.json`: settings, seed, commit, versions, device, and what the run measured."""
    device = torch.cuda.get_device_name(cfg.device) if getattr(cfg, "device", "cpu").startswith("cuda") else "cpu"
    path = Path(cfg.out) / f"run_{script}.json"
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    record = {
        "script": script,
        "settings": dataclasses.asdict(cfg),
        "seed": cfg.seed,
        "git_commit": git_commit(),
        "versions": versions,
        "device": device,
        "measured": measured,
    }
    write_json(path, record)
    return path


def write_table(path: str | Path, rows: Sequence[dict]) -> None:
    """Writes rows as CSV, the columns being the keys of the first row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
