"""What run records and the identity of a run contain."""

import dataclasses
import subprocess

import pytest
import torch

import train_gull_simclr
from utils.running import records, resuming, settings


def repository(folder):
    """Makes a repository with one commit; returns the commit."""

    def git(*words):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    folder.mkdir()
    (folder / "code.py").write_text(f"# {folder.name}\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", folder.name)
    return git("rev-parse", "HEAD")


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    ours, _ = repository(tmp_path / "ours"), repository(tmp_path / "theirs")
    monkeypatch.setattr(records, "TOP", tmp_path / "ours")
    assert records.git_commit() == ours
    (tmp_path / "ours/code.py").write_text("changed\n")
    assert records.git_commit() == f"{ours}-dirty"
    for place in ("unpacked", "theirs/unpacked"):  # the second is inside a repository that is not ours
        (tmp_path / place).mkdir()
        monkeypatch.setattr(records, "TOP", tmp_path / place)
        assert records.git_commit() is None


def identity_on_rank(rank, device, monkeypatch, launched):
    """Device and identity of a run on one of two ranks, on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    launched(rank, 2)
    cfg = settings.resolve(train_gull_simclr.Config(dataset="toy", device=device))
    return cfg.device, resuming.identity(dataclasses.asdict(cfg), {}, 2)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_ranks_with_their_own_gpus_are_one_run(device, monkeypatch, launched):
    devices, found = zip(*(identity_on_rank(rank, device, monkeypatch, launched) for rank in (0, 1)), strict=True)
    assert devices == ("cuda:0", "cuda:1")
    assert found[0] == found[1] and found[0]["device"] == "cuda"
    assert identity_on_rank(0, "cpu", monkeypatch, launched)[1]["device"] == "cpu"
    assert resuming.identity({"seed": 1, "workers": 2}, {}, 1) == {"seed": 1, "processes": 1}
