"""Devices of ranks, and maps over threads: order, number of threads, errors."""

import itertools
import platform
import time

import pytest
import torch
import torch.distributed

from train_gull_simclr import Config
from utils.base import machine, processes
from utils.base.errors import InputError
from utils.base.machine import side_by_side
from utils.running import settings


@pytest.fixture
def second_of_two(monkeypatch, launched):
    """This process is the second rank on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    launched(1, 2)


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory on request")
def test_the_memory_of_freed_tensors_is_kept():
    import resource

    machine.keep_freed_memory()
    faults = []
    for _ in range(40):  # the first ones enlarge the heap
        torch.ones(10**7)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    assert faults[-1] - faults[-11] < 1000  # pages of memory; each tensor has 9,766


def test_every_rank_takes_its_own_gpu(second_of_two, monkeypatch):
    assert [machine.choose(device) for device in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    with pytest.raises(InputError, match="^--device cuda:0: 2 processes on this machine need one GPU each"):
        machine.choose("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="^--device cuda: GPUs on this machine: 1, processes: 2. Choose"):
        machine.choose("auto")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # one rank on each of two machines
    assert machine.choose("cuda:0") == "cuda:0"
    with pytest.raises(InputError, match="^--device 'mps' is unknown. Choose auto, cpu, cuda or cuda:1"):
        machine.choose("mps")
    with pytest.raises(InputError, match="^--device cuda:1: GPUs on this machine: 1, processes: 1. Choose"):
        machine.choose("cuda:1")


def test_the_environment_of_a_cluster(second_of_two, monkeypatch):
    """All variables of the launcher, some, empty ones, none; those of a GPU by themselves."""
    processes.check_launcher()
    assert (processes.rank(), processes.count(), processes.on_this_node()) == (1, 2, 2)
    monkeypatch.setenv("MASTER_ADDR", "")
    monkeypatch.delenv("RANK")
    with pytest.raises(InputError, match="has WORLD_SIZE, MASTER_PORT, but not RANK, MASTER_ADDR. Unset"):
        settings.resolve(Config())
    for name in ("WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
    processes.check_launcher()
    assert (processes.rank(), processes.count(), processes.on_this_node()) == (0, 1, 1)
    assert machine.choose("cuda") == "cuda"


@pytest.mark.parametrize("text", ["NCCL error in: x.cpp:94,\nunhandled cuda error", "Connection closed by peer"])
def test_a_lost_connection(text, second_of_two, monkeypatch):
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    with pytest.raises(ConnectionError) as error, processes.joined("cpu"):
        raise RuntimeError(text)
    assert str(error.value).endswith(text.replace("\n", " "))


@pytest.mark.parametrize("workers", [0, 1, 3, 50])
def test_results_come_in_order_and_workers_use_one_thread(workers, four_threads):
    def work(number):
        time.sleep(0.01 * (number % 3))
        return number**2, torch.get_num_threads()

    assert list(side_by_side(work, range(20), workers)) == [(number**2, 1) for number in range(20)]
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_endless_items_are_taken_a_few_ahead(workers):
    begun = []
    results = side_by_side(begun.append, itertools.count(), workers)
    for taken in range(1, 20):
        next(results)
        time.sleep(0.002)
        assert taken <= len(begun) <= taken + 4 * workers
    results.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_stops_the_others(workers):
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.01)
        if number == 3:
            raise ValueError("three")

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="three"):
        list(side_by_side(work, range(200), workers))
    assert len(begun) < 20 and torch.get_num_threads() == before
