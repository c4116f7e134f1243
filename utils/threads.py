"""Work that goes on in several threads at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Group = TypeVar("Group")
Result = TypeVar("Result")


@contextmanager
def _own_number_of_threads() -> Iterator[None]:
    """Gives the calling thread the number of PyTorch's threads back that it had before."""
    threads = torch.get_num_threads()  # asked for here, it is settled: a thread that has not asked takes the number that was set last
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def helpers(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which PyTorch computes in that thread alone; the calling thread computes with as many as before.

    PyTorch would put all processors on every step of every thread, and they would spend a third of the time waiting for one another;
    and results whose last digits depend on the number of threads would depend on `workers`. It releases Python's lock while it
    computes, as do decoding and compressing.

    Args:
        workers: number of threads, at least 1.
    """
    with _own_number_of_threads(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def side_by_side(work: Callable[[Group], Result], groups: Sequence[Group], workers: int) -> Iterator[Result]:
    """Calls `work` with every group, in several `helpers` at a time, and yields what it returns in the order of the groups.

    Args:
        work: computes, reads and writes; it must not mind its neighbours.
        groups: what it is called with.
        workers: number of threads; 0 works in the calling thread, and in it alone too.

    Raises:
        Exception: what `work` raises first; no further group is begun then.
    """
    if workers == 0:
        with _own_number_of_threads():
            torch.set_num_threads(1)
            yield from map(work, groups)
    else:
        with helpers(workers) as pool:
            yield from pool.map(work, groups)
