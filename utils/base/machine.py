"""Device, processors and threads of a run."""

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from utils.base import processes
from utils.base.errors import InputError

AHEAD = 4  # items per thread that are started early

Item = TypeVar("Item")
Result = TypeVar("Result")


def choose(device: str) -> str:
    """Resolves `--device`: `auto`, `cpu`, `cuda` (each rank takes its own GPU) or `cuda:<number>`."""
    import torch  # takes seconds, and some scripts do without it

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if device not in ("cpu", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise InputError(f"--device '{device}' is unknown. Choose auto, cpu, cuda or cuda:1.")
    if device == "cpu":
        return device
    gpus, ranks = torch.cuda.device_count(), processes.on_this_node()
    if number and ranks > 1:
        raise InputError(f"--device {device}: {ranks} processes on this machine need one GPU each. Pass --device cuda.")
    if max(ranks, int(number or 0) + 1) > gpus:
        found = f"GPUs on this machine: {gpus}, processes: {ranks}"
        raise InputError(f"--device {device}: {found}. Choose another device or fewer processes.")
    return f"cuda:{os.environ.get('LOCAL_RANK') or 0}" if device == "cuda" and processes.count() > 1 else device


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on macOS


def default_workers() -> int:
    """Threads that read and write images: this process's share of the processors."""
    return max(1, processors() // processes.on_this_node())


def keep_freed_memory() -> None:
    """Keeps the memory of freed tensors. Training on a CPU takes a sixth less time, and a third more memory."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # glibc
        for option, value in ((-1, -1), (-4, 0), (-8, 1)):  # M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX
            libc.mallopt(option, value)


def turns(device: str) -> AbstractContextManager:
    """Limits how many threads use a GPU at once: one batch is computed while another is transferred."""
    return threading.BoundedSemaphore(2) if device.startswith("cuda") else nullcontext()


@contextmanager
def threads(number: int | None = None) -> Iterator[None]:
    """Sets the number of PyTorch's threads (None: unchanged) and restores it afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int = 0
) -> Iterator[Result]:
    """Maps `work` over `items` in threads and yields the results in order; 0 workers use the calling thread.

    Unlike ThreadPoolExecutor.map, it starts only `ahead` items early (0: a few per thread), so memory does not grow
    with the number of items. Each worker computes with one PyTorch thread, so results do not depend on their number.
    """
    import torch

    if workers == 0:
        with threads(1):
            yield from map(work, items)
        return
    with threads(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > (ahead or AHEAD * workers):
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
