"""What one choice of a selection costs, by the size of the pool.

    python -m benchmarks.pools 300 3000 30000 100000

The pool is random: features of 512 numbers, 5 classes, an explanation of each image against every wrong class. Each size is measured in a
process of its own, whose largest memory counts, the pool itself included.

Reads: nothing.

Writes: nothing; it prints a line a size.

Takes: with KMaxGrad under a minute for the sizes above on 2 CPU cores. No GPU is used.
"""

import multiprocessing
import resource
import sys
import time

import torch

from utils.base.randomness import generator
from utils.running.launch import command, command_line
from utils.teaching.registry import SELECTORS, make_selector
from utils.teaching.selector import Look, Seen, Survey

CLASSES, FEATURES = 5, 512
GIB = 2**30


def random_pool(count: int, seed: int) -> Survey:
    """A survey of `count` random images and their explanations, as a student sees them whose head is random too."""
    rng = generator(seed)
    labels = torch.arange(count) % CLASSES
    table = torch.full((count, CLASSES), -1)
    table[torch.arange(CLASSES) != labels[:, None]] = torch.arange(count * (CLASSES - 1))
    codewords = torch.randn(CLASSES, FEATURES, generator=rng)

    def look(rows: int) -> Look:
        features = torch.randn(rows, FEATURES, generator=rng) / FEATURES**0.5
        return Look(features @ codewords.T, features)

    images = look(count)
    seen = Seen(images, codewords, look(count * (CLASSES - 1)))
    return Survey(labels, table, lambda: seen)


def measure(selection: str, count: int, seed: int) -> tuple[float, float, float]:
    """Seconds that one choice takes, and GiB of memory at most, before it and with it. Meant for a process of its own."""
    seen = random_pool(count, seed)
    selector = make_selector(selection, 0.5, seed)
    before = peak_memory()
    started = time.perf_counter()
    selector.choose(seen, torch.ones(count, dtype=torch.bool))
    return time.perf_counter() - started, before, peak_memory()


def peak_memory() -> float:
    """The largest memory of this process so far, GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GIB


def main() -> None:
    """The command line."""
    parser = command_line("benchmarks.pools", __doc__)
    parser.add_argument("sizes", nargs="+", type=int, metavar="SIZE", help="images of the pool")
    parser.add_argument(
        "--selection", choices=SELECTORS, default="KMaxGrad", help="how the pair is chosen (default: KMaxGrad)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random pool (default: 0)")
    arguments = parser.parse_args()
    print(f"{arguments.selection}: images, seconds of one choice, GiB at most (of them before it)")
    with command("pools"):
        for size in arguments.sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, before, peak = pool.apply(measure, (arguments.selection, size, arguments.seed))
            print(f"{size:>8} {seconds:9.2f} {peak:7.2f} ({before:.2f})", flush=True)


if __name__ == "__main__":
    main()
