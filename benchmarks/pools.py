"""Measures one choice of a selection on random pools of several sizes.

    python -m benchmarks.pools 300 3000 30000 100000

A pool has random features of 512 numbers, 5 classes, and an explanation of each image against every wrong class.

Reads: nothing.

Writes: nothing. It prints a line per size.

Takes: under a minute on 2 CPU cores with KMaxGrad and the sizes above. Memory is measured on Linux only.
"""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import torch

from utils.base.randomness import generator
from utils.running.launch import command, command_line
from utils.teaching.registry import SELECTORS, make_selector
from utils.teaching.selector import Look, Seen, Survey

CLASSES, FEATURES = 5, 512


def random_pool(count: int, seed: int) -> Survey:
    """Returns a survey of `count` random images and their explanations."""
    rng = generator(seed)
    labels = torch.arange(count) % CLASSES
    table = torch.full((count, CLASSES), -1)
    table[torch.arange(CLASSES) != labels[:, None]] = torch.arange(count * (CLASSES - 1))
    codewords = torch.randn(CLASSES, FEATURES, generator=rng)

    def look(rows: int) -> Look:
        features = torch.randn(rows, FEATURES, generator=rng) / FEATURES**0.5
        return Look(features @ codewords.T, features)

    seen = Seen(look(count), codewords, look(count * (CLASSES - 1)))
    return Survey(labels, table, lambda: seen)


def measure(selection: str, count: int, seed: int) -> tuple[float, float, float]:
    """Returns the seconds of one choice, and the peak memory in MB before and after it. Call it in a new process."""
    survey = random_pool(count, seed)
    selector = make_selector(selection, 0.5, seed)
    before = peak_memory()
    started = time.perf_counter()
    selector.choose(survey, torch.ones(count, dtype=torch.bool))
    return time.perf_counter() - started, before, peak_memory()


def line(count: int, seconds: float, before: float, peak: float) -> str:
    return f"one choice of {count} images: {seconds:.2f} s, {peak:.0f} MB ({before:.0f} MB before)"


def peak_memory() -> float:
    """Returns the peak memory of this process in MB; 0 if the system does not say."""
    status = Path("/proc/self/status")  # getrusage would start with the peak of the parent process
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(text.split()[1]) / 1024 for text in lines if text.startswith("VmHWM")), 0.0)


def in_new_process(function: Callable, *arguments: object):
    """Calls a function of a module in a new process and returns its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = command_line("benchmarks.pools", __doc__)
    parser.add_argument("sizes", nargs="+", type=int, metavar="SIZE", help="images in the pool")
    parser.add_argument("--selection", choices=SELECTORS, default="KMaxGrad", help="default: KMaxGrad")
    parser.add_argument("--seed", type=int, default=0, help="of the random pool (default: 0)")
    arguments = parser.parse_args()
    with command("pools"):
        for size in arguments.sizes:
            found = in_new_process(measure, arguments.selection, size, arguments.seed)
            print(line(size, *found), flush=True)


if __name__ == "__main__":
    main()
