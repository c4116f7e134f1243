"""What a run computes on: the device, the processors, and the threads and processes that share them.

Torch is imported where it is needed, not here: scripts that compute nothing ask for processors too, and start at once.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from utils.base import processes
from utils.base.errors import InputError

AHEAD = 4  # groups a thread that are begun or wait before the caller has taken the first
ON_GPU = 2  # batches that are on a GPU at once: one computes while another comes or goes

Group = TypeVar("Group")
Result = TypeVar("Result")


def choose(device: str) -> str:
    """Resolves `--device`: `auto` (CUDA where there is one), `cpu`, `cuda` (of several processes each takes its own) or `cuda:<number>`.

    Raises:
        InputError: the device does not exist here, or several processes would have to share it.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    sharing = processes.on_this_node()
    if device.startswith("cuda:") and sharing > 1:
        raise InputError(
            f"--device {device}: the {sharing} processes on this machine need a GPU each; give --device cuda."
        )
    device = processes.own_device(device)
    try:
        kind = torch.device(device)
    except RuntimeError:
        kind = None
    if kind is None or kind.type not in ("cpu", "cuda"):
        raise InputError(f"--device '{device}' is unknown; choose auto, cpu, cuda or cuda:1.")
    if kind.type == "cuda" and sharing > torch.cuda.device_count():
        raise InputError(
            f"The {sharing} processes on this machine need a GPU each, and it shows {torch.cuda.device_count()}; start as many as it shows "
            "(--nproc-per-node), or give --device cpu."
        )
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device {device}: this machine shows {torch.cuda.device_count()} CUDA devices; choose another, or auto."
        )
    return device


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Threads that decode and encode: this process's share of the processors."""
    return max(1, processors() // processes.on_this_node())


def turns(device: str) -> AbstractContextManager:
    """What threads enter for as long as they have a batch on the device: on a GPU two are within at a time, on the CPU all.

    There are as many threads as processors, sixty perhaps, since decoding and encoding are theirs; sixty batches may not fit on a GPU.
    """
    return threading.BoundedSemaphore(ON_GPU) if device.startswith("cuda") else nullcontext()


@contextmanager
def threads(number: int | None = None) -> Iterator[None]:
    """Lets PyTorch compute with `number` threads meanwhile (None: with as many as before), and afterwards with as many as before."""
    import torch

    before = (
        torch.get_num_threads()
    )  # asked for here, it is settled: a thread that has not asked takes the number that was set last
    try:
        torch.set_num_threads(number or before)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def helpers(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in each of which PyTorch computes in that thread alone; the calling thread computes with as many as before.

    PyTorch would put all processors on every step of every thread, and they would spend a third of the time waiting for one another;
    and results whose last digits depend on the number of threads would depend on `workers`. It releases Python's lock while it
    computes, as do decoding and compressing.

    Args:
        workers: number of threads, at least 1.
    """
    import torch

    with threads(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def side_by_side(work: Callable[[Group], Result], groups: Iterable[Group], workers: int) -> Iterator[Result]:
    """Calls `work` with every group, in several `helpers` at a time, and yields what it returns in the order of the groups.

    Threads are a few groups ahead of the caller and no more, so that however many groups there are take no more memory.

    Args:
        work: computes, reads and writes; it must not mind its neighbours.
        groups: what it is called with.
        workers: number of threads; 0 works in the calling thread, and in it alone too.

    Raises:
        Exception: what `work` raises first; no further group is begun then.
    """
    if workers == 0:
        with threads(1):
            yield from map(work, groups)
        return
    with helpers(workers) as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for group in groups:
                ahead.append(pool.submit(work, group))
                if len(ahead) > AHEAD * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
