"""Makes the tables and figures of docs/results.md.

    make results DATA=datasets PRETRAINED=imagenet
    python -m benchmarks.results --only explanations labels
    python -m benchmarks.results --only published        # not in the default run: hours
    python -m benchmarks.results --resume

Runs the repository's scripts to train teachers and encoders and to explain, then teaches and measures. It replays the
answers of real people, too. Prints every table as Markdown for docs/results.md. With --resume it skips finished scripts
and courses.

Reads: below --data-root, the datasets butterflies, chinese_chars and CUBgull_standin and the logs of explain_teach; the
weights of --pretrained. It draws the moths.

Writes: <out>/<table>.csv, curves <out>/<table>.png, <out>/focus.png; networks and explanations to <out>/work.

Takes: an hour and a half on 2 CPU cores, and `published` almost three hours more. Not measured on a GPU.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.results import courses, crowd, explanations, labels
from utils.base.errors import InputError
from utils.base.files import output_folder, write_json
from utils.base.machine import default_workers, threads
from utils.base.randomness import make_repeatable
from utils.running.launch import command
from utils.running.settings import parse, resolve

PARTS: dict[str, Callable] = {"courses": courses.make, "explanations": explanations.make, "labels": labels.make}
PARTS |= {"crowd": crowd.make, "published": lambda cfg: courses.make_table(cfg, courses.DATASETS[0], student="sgd")}
Part = Literal["courses", "explanations", "labels", "crowd", "published"]


@dataclass(frozen=True)
class Config:
    only: tuple[Part, ...] = ("courses", "explanations", "labels", "crowd")  # tables to make
    data_root: str = "datasets"  # folder with the datasets' folders; read only
    pretrained: str = "imagenet"  # initial weights of teachers and students: imagenet, none, or a state dict file
    out: str = "results"  # output folder
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write images; results do not depend on it
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1
    resume: bool = False  # continue an interrupted run with the same settings


def main(cfg: Config) -> None:
    record = output_folder(str(Path(cfg.out, "work"))) / "settings.json"
    settings = {name: getattr(cfg, name) for name in ("data_root", "pretrained", "seed", "device")}
    if cfg.resume and record.exists() and json.loads(record.read_text()) != settings:
        raise InputError(f"--resume: {record} has other settings. Restore them, or start without --resume.")
    if not cfg.resume:  # --resume of this run must not find courses of an earlier one
        shutil.rmtree(record.parent / "courses", ignore_errors=True)
    write_json(record, settings)
    # The last digits of a result depend on the number of PyTorch's threads.
    with threads(1):
        for part in cfg.only:
            make_repeatable(cfg.seed)
            PARTS[part](cfg)


if __name__ == "__main__":
    with command("results"):
        main(resolve(parse(Config, __doc__, program="python -m benchmarks.results")))
