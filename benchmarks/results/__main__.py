"""The tables between markers in docs/results.md, from one command.

    make results DATA=datasets PRETRAINED=imagenet
    python -m benchmarks.results --data-root datasets --pretrained imagenet --out results
    python -m benchmarks.results --only courses --resume

Trains the teachers and encoders, explains, teaches, and measures. What is made on the way lies in <out>/work: a run that was stopped
goes on with --resume; without it that folder begins anew.

Reads: the datasets butterflies, chinese_chars and CUBgull_standin below --data-root, the logs of explain_teach where they are, and the
weights that --pretrained names. The moths are drawn.

Writes: each table as <out>/<table>.csv with its figure <table>.png, the same beside the page, and the tables into the page, between its
markers. Of what is not there the page says so, in place of the table that it had: within a part, results of several weights never
stand beside each other. --page none leaves the page as it is.

Takes: 1 hour and 50 minutes on 2 CPU cores, most of it for the student as published (times.txt in <out>/work says what each part
took). Not measured on a GPU.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import environment, page, stages
from benchmarks.results.parts import PARTS
from benchmarks.results.work import TOP, Work, begin
from utils.base import machine
from utils.base.errors import InputError
from utils.base.files import output_folder
from utils.base.machine import default_workers
from utils.base.randomness import make_repeatable
from utils.running.launch import command
from utils.running.settings import parse, resolve

QUICK = "--quick is there to see that everything runs"


@dataclass(frozen=True)
class Config:
    """What is measured, on what, and where it is written."""

    # what
    only: tuple[str, ...] = ()  # parts to run: courses, explanations and so on; none named: all
    quick: bool = False  # few images, epochs and lessons, on moths drawn for it: to see that everything runs; its numbers mean nothing
    # data
    data_root: str = "datasets"  # folder that holds the datasets' folders; what is not there is left out, and said
    pretrained: str = (
        "imagenet"  # generic features of teachers and students: imagenet, none, or the path of a state dict
    )
    teaching_images: str = (
        "auto"  # explain_teach's table of the pictures people saw; auto: {data_root}/explain_teach/butterflies_crop/
    )
    # run
    out: str = "results"  # output folder
    page: str = (
        "docs/results.md"  # page that gets the tables, and a folder of its name beside it their files; none: no page
    )
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write pictures; no result depends on them
    threads: int = (
        1  # of PyTorch in each process on a CPU; last digits depend on them, but not on how many processors there are
    )
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1
    resume: bool = False  # go on where a run with the same settings was stopped


def chosen(only: Sequence[str]) -> list[str]:
    """The parts to run, in their order.

    Raises:
        InputError: one of them does not exist.
    """
    if unknown := [name for name in only if name not in PARTS]:
        raise InputError(f"--only {unknown[0]}: there is no such part; choose from {', '.join(PARTS)}.")
    return [name for name in PARTS if not only or name in only]


def page_of(cfg: Config) -> Path | None:
    """The page that gets the tables; None: none.

    Raises:
        InputError: a quick run would write its numbers into the documentation.
    """
    path = None if cfg.page == "none" else Path(cfg.page)
    if cfg.quick and path and path.resolve().is_relative_to(TOP / "docs"):
        raise InputError(
            f"--page {cfg.page}: {QUICK}, and its numbers mean nothing; give --page none, or a page elsewhere."
        )
    return path


def work_of(cfg: Config) -> Work:
    """The work folder, begun or gone on with, and what is worked with.

    Raises:
        InputError: the weights do not exist, or the folder is not ours or not of these settings.
    """
    if cfg.pretrained not in ("imagenet", "none") and not Path(cfg.pretrained).is_file():
        raise InputError(
            f"--pretrained {cfg.pretrained} does not exist; give imagenet, none, or the path of a state dict."
        )
    device = machine.choose(cfg.device)
    who = {
        "data_root": cfg.data_root,
        "pretrained": environment.weights(cfg.pretrained),
        "seed": cfg.seed,
        "teaching_images": cfg.teaching_images,
        "machine": environment.place(device),
    }
    folder = output_folder(cfg.out) / "work"
    begin(folder, who | {"device": device, "quick": cfg.quick}, cfg.resume)
    data_root = stages.drawn_moths(folder, cfg.seed) if cfg.quick else cfg.data_root
    return Work(
        data_root, cfg.pretrained, folder, cfg.seed, device, cfg.workers, cfg.threads, cfg.quick, cfg.teaching_images
    )


def main(cfg: Config) -> None:
    """Runs the parts one after the other; each table is written as soon as it is there."""
    with machine.threads(cfg.threads):
        _run(cfg)


def _run(cfg: Config) -> None:
    parts, path = chosen(cfg.only), page_of(cfg)
    work = work_of(cfg)
    for name in parts:
        started = time.monotonic()
        make_repeatable(cfg.seed)
        written = []
        for table in PARTS[name](work):
            table.write(Path(cfg.out))
            written.append(f"{table.name}.csv")
            if path:
                page.put(path, table, Path(cfg.out))
        if path:
            environment.put(path, name, work)
        with open(work.folder / "times.txt", "a", encoding="utf-8") as file:
            file.write(f"{name}: {time.monotonic() - started:.0f} s\n")
        print(f"{name}: {', '.join(written)} in {cfg.out}{f', and on {path}' if path else ''}", flush=True)


if __name__ == "__main__":
    with command("results"):
        main(resolve(parse(Config, __doc__, program="python -m benchmarks.results")))
