"""Timing pieces of work in turn, so that a machine that slows down slows them all."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

Work = Callable[[Path], object]  # given an empty folder to write to


def seconds(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Wall time of a call, what it left running on the GPU included, and the time that all its threads spent on the CPU."""
    synchronise(device)
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    synchronise(device)
    return time.perf_counter() - start, time.process_time() - start_cpu


def synchronise(device: str) -> None:
    """Waits for the GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def in_turn(works: dict[str, Work], rounds: int, device: str, folder: str | Path) -> dict[str, dict[str, list[float]]]:
    """Runs every piece of work once a round.

    Args:
        works: the pieces by name.
        rounds: how often each runs.
        device: where they compute.
        folder: each run gets a new folder below it. They stay: some file systems (ext4 without a journal) are slow to make files
            for minutes after many were removed.

    Returns:
        By name the `wall` and `cpu` seconds of every round.
    """
    times: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in works}
    with tqdm(total=rounds * len(works), desc="measuring", unit="run") as progress:
        for _ in range(rounds):
            for name, work in works.items():
                progress.set_postfix_str(name)
                own = Path(tempfile.mkdtemp(dir=folder))
                wall, cpu = seconds(partial(work, own), device)
                times[name]["wall"].append(wall)
                times[name]["cpu"].append(cpu)
                progress.update()
    return times
