"""What a run computes on: the device, the processors, and the threads and processes that share them.

Torch is imported where it is needed, not here: scripts that compute nothing ask for processors too, and start at once.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from utils.base import processes
from utils.base.errors import InputError, RunError

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


@contextmanager
def in_processes(
    work: Callable[[Group], Result], groups: Sequence[Group], processes: int, chunk: int = 1
) -> Iterator[Iterator[Result]]:
    """As `side_by_side`, in processes, for work that keeps Python's lock, or that computes with PyTorch's own threads.

    They begin with the `with` block, and its body has their results as an iterator; it may do something else before it asks for them. A
    body that ends early, by an error or by Ctrl-C, stops them: what they have not ended is lost. A script that comes here needs its
    `if __name__ == "__main__"`, for each process imports it.

    Args:
        work: a function of a module, or a `partial` of one; what it takes and returns is pickled.
        groups: what it is called with.
        processes: how many; 1 works in the calling process, when it is asked for results.
        chunk: groups that a process fetches at a time: several, where each takes but a moment.

    Raises:
        Exception: what `work` raises first.
        RunError: a process was killed from without, as the system does where memory is full, or could not start.
    """
    if processes <= 1 or not groups:
        yield map(work, groups)
        return
    # Not by fork, which may stop for good in a process that has threads (NumPy's arithmetic has some, PyTorch many).
    pool = ProcessPoolExecutor(
        min(processes, len(groups)), multiprocessing.get_context("spawn"), initializer=_obey_the_first
    )
    others, left = set(multiprocessing.active_children()), len(groups)

    def counted(results: Iterator[Result]) -> Iterator[Result]:
        nonlocal left
        for result in results:
            left -= 1
            yield result

    try:
        with _ctrl_c_later():
            results = pool.map(work, groups, chunksize=chunk)
        yield counted(results)
    except BrokenProcessPool as error:
        reason = "was killed (the memory may have been full) or could not start (then it says why above)"
        raise RunError(f"A process that computed for this one {reason}.") from error
    finally:
        if left:
            _stop(pool, set(multiprocessing.active_children()) - others)
        pool.shutdown()


def _stop(pool: ProcessPoolExecutor, started: set[multiprocessing.process.BaseProcess]) -> None:
    """Stops the processes of a pool at once, in the middle of their work."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in started:
        process.terminate()
    for process in started:
        process.join()


def _obey_the_first() -> None:
    """In a process of `in_processes`: Ctrl-C is the first's to answer, and where the first was killed, this one ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(first: multiprocessing.process.BaseProcess) -> None:
    """Waits for the end of a process, and ends this one."""
    first.join()
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Holds Ctrl-C back meanwhile. Processes started here never hear it: it reaches all of a terminal, and the first alone shall answer.

    What a process starts with, it takes from the thread that starts it; its initializer would come only after its imports.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows: there the initializer has to do
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
