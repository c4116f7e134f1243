"""The commit in run records, and paths as a shell leaves them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from utils.data.lists import listed_path, locate
from utils.running import records
from utils.running.settings import parse, resolve


def repository(folder):
    """A repository with one commit; returns it."""

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
    for place in ("unpacked", "theirs/unpacked"):  # the second is in a repository that is not ours
        (tmp_path / place).mkdir()
        monkeypatch.setattr(records, "TOP", tmp_path / place)
        assert records.git_commit() is None


@dataclass(frozen=True)
class Config:
    dataset: str = "toy"
    data_root: str = "$HOME/default"
    out: str = "auto"
    checkpoint: str = "{out}/c.tar"
    answers: tuple[str, ...] = ()


def test_paths_are_expanded_as_by_a_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--out=./~/a/", "--answers", "~/one.json", "two~.json"]
    cfg = resolve(parse(Config, "", words))
    assert cfg == Config("toy", f"{tmp_path}/default", "~/a", "~/a/c.tar", (f"{tmp_path}/one.json", "two~.json"))
    assert resolve(parse(Config, "", ["--data-root=~/my data/"])).data_root == f"{tmp_path}/my data"


@pytest.mark.parametrize(
    "out", ["auto", "datasets2/run1", "runs/datasets/run1", "../datasets/run1", "/x/datasets/run1"]
)
def test_other_output_folders_work_with_any_data_root(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    cfg = resolve(parse(Config, "", ["--data-root", "/data", "--out", out]))
    assert Path(locate(listed_path(f"{cfg.out}/x.png"), cfg.data_root)) == Path(cfg.out, "x.png")
