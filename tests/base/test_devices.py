"""The device of a process, alone and beside others, and what is said when processes lose each other."""

import pytest
import torch
import torch.distributed

from utils.base import machine, processes
from utils.base.errors import InputError

NCCL = """NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error (run with NCCL_DEBUG=INFO for details)
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 700 'an illegal memory access was encountered'"""


@pytest.fixture
def second_of_two(monkeypatch):
    """This process is the second of two on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in {"LOCAL_RANK": 1, "RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))


def test_every_process_takes_a_gpu_of_its_own(second_of_two):
    assert [machine.choose(device) for device in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_several_processes_do_not_share_a_gpu(device, second_of_two, monkeypatch):
    with pytest.raises(
        InputError, match=f"^--device {device}: the 2 processes on this machine need a GPU each; give --device cuda.$"
    ):
        machine.choose(device)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # one on each of two machines
    assert machine.choose(device) == device


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_processes_than_gpus_are_told_so(device, second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        InputError, match="^The 2 processes on this machine need a GPU each, and it shows 1; start as many as it shows"
    ):
        machine.choose(device)
    assert machine.choose("cpu") == "cpu"


@pytest.mark.parametrize(
    "text",
    [
        NCCL,
        "[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 3000ms for recv operation",
        "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:7",
    ],
)
def test_who_loses_another_process_says_what_it_was_told(text, second_of_two, monkeypatch):
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    with pytest.raises(ConnectionError) as told, processes.joined("cpu"):
        raise RuntimeError(text)
    sentence = "The connection to another process broke; that process says why, or else this does: "
    assert str(told.value) == sentence + text.replace("\n", " ")
