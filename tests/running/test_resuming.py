"""Who a run is: what must be equal for it to go on."""

import dataclasses

import pytest
import torch

import train_gull_simclr
from utils.running import resuming, settings


def identity_in_process(rank, device, monkeypatch):
    """The identity of a run as process `rank` of two on a machine with two GPUs finds it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    cfg = settings.resolve(train_gull_simclr.Config(dataset="toy", device=device))
    return cfg.device, resuming.identity(dataclasses.asdict(cfg), {}, 2)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_processes_on_gpus_of_their_own_compute_one_run(device, monkeypatch):
    devices, found = zip(*(identity_in_process(rank, device, monkeypatch) for rank in (0, 1)), strict=True)
    assert devices == ("cuda:0", "cuda:1")
    assert found[0] == found[1] and found[0]["device"] == "cuda"


def test_a_run_on_a_cpu_is_another_than_one_on_a_gpu(monkeypatch):
    assert identity_in_process(0, "cpu", monkeypatch)[1]["device"] == "cpu"


def test_scripts_without_a_device_have_an_identity():
    assert resuming.identity({"seed": 1, "workers": 2}, {}, 1) == {"seed": 1, "processes": 1}
