"""Work that goes on in several threads at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Group = TypeVar("Group")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Group], Result], groups: Sequence[Group], workers: int) -> Iterator[Result]:
    """Calls `work` with every group, with several at a time, and yields what it returns in the order of the groups.

    Within each, PyTorch computes in that thread alone. It would put all processors on every step of every thread, and they would spend
    a third of the time waiting for one another; and results whose last digits depend on the number of threads would depend on `workers`.
    It releases Python's lock while it computes, as do decoding and compressing.

    Args:
        work: computes, reads and writes; it must not mind its neighbours.
        groups: what it is called with.
        workers: number of threads; 0 works in the calling thread, which must not compute otherwise until all is done.

    Raises:
        Exception: what `work` raises first; no further group is begun then.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if workers == 0:
            yield from map(work, groups)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, groups)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def helpers(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that prepare what the calling thread computes with, which keeps all processors for itself.

    Within each, PyTorch computes in that thread alone, for the reasons that `side_by_side` gives.

    Args:
        workers: number of threads, at least 1.
    """
    threads = torch.get_num_threads()  # asked for here, it is settled: a thread that has not asked takes the number that was set last
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
