"""On what results were measured: machine, versions, seed, weights. Without times and commits, so that two runs give the same bytes."""

import platform
import re
from pathlib import Path

import numpy as np
import torchvision

from benchmarks.report import machine
from benchmarks.results.page import ENVIRONMENT, read, replaced, section
from benchmarks.results.work import Work
from utils.base.files import file_digest, write_text


def weights(pretrained: str) -> str:
    """Which weights they are: `imagenet`, `none`, or the name of a file and the beginning of its SHA-256."""
    if pretrained in ("imagenet", "none"):
        return pretrained
    return f"{Path(pretrained).name} (SHA-256 {file_digest(pretrained, 'sha256')[:16]})"


def place(device: str) -> str:
    """On what is computed: processors or GPU, threads, and versions."""
    found = machine(device)
    gpu = f", {found['gpu']}" if "gpu" in found else ""
    versions = f"Python {platform.python_version()}, torch {found['torch']}, torchvision {torchvision.__version__}, NumPy {np.__version__}"
    threads = f"{found['cores']} cores, {found['threads']} threads of PyTorch"
    return f"{found['cpu']}{gpu}, {threads}; {versions}"


def line(part: str, work: Work) -> str:
    """What a part was measured on, as a line of a Markdown list."""
    return f"- `{part}`: {place(work.device)}; seed {work.seed}; weights {weights(work.pretrained)}.\n"


def put(page: Path, part: str, work: Work) -> None:
    """Writes a part's line into the page's list of what was measured on what; those of other parts stay.

    Raises:
        InputError: the marker at the end of the list is missing.
    """
    text = read(page)
    lines = dict(re.findall(r"^(- `(?:\w+)`): (.*\n)", section(text, ENVIRONMENT, page) or "", flags=re.M))
    head, _, rest = line(part, work).partition(": ")
    lines[head] = rest
    write_text(
        page, replaced(text, ENVIRONMENT, "".join(f"{name}: {what}" for name, what in sorted(lines.items())), page)
    )
