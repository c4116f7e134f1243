"""Work that goes on in several threads at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Group = TypeVar("Group")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Group], Result], groups: Sequence[Group], workers: int) -> Iterator[Result]:
    """Calls `work` with every group, with several at a time, and yields what it returns in the order of the groups.

    The processors are shared out among the threads, so that each computes by itself: PyTorch would put all of them on every step of
    each thread, and they would spend a third of the time waiting for one another. It releases Python's lock, as do decoding and
    compressing.

    Args:
        work: computes, reads and writes; it must not mind its neighbours.
        groups: what it is called with.
        workers: number of threads; 0 works in the calling thread.

    Raises:
        Exception: what `work` raises first; no further group is begun then.
    """
    if workers == 0:
        yield from map(work, groups)
        return
    processors = torch.get_num_threads()
    torch.set_num_threads(max(1, processors // workers))
    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, groups)
    finally:
        torch.set_num_threads(processors)
