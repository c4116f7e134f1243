"""What surrounds a run: fonts, warnings of libraries, the repository that the code lies in, paths as shells leave them, long names."""

import io
import os
import re
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from datasets import prepare
from utils.base.errors import InputError, plain_warnings
from utils.base.files import name_limit, remove_leftovers, replacing, write_text
from utils.data.catalog import DATASETS
from utils.data.lists import listed_path, locate
from utils.running import records, settings
from utils.running.launch import launch
from utils.running.settings import parse, resolve
from utils.teaching import compare_courses


@dataclass(frozen=True)
class NoSettings:
    """The settings of a script that has none."""


# ---------------------------------------------------------------- warnings


def test_warnings_are_one_line_each_and_said_once(capsys):
    usual = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with plain_warnings():
            unsaid = "Grad strides do not match bucket view strides. This may indicate"
            for text in ("a thing is\n  old", "a thing is\n  old", unsaid, "another"):
                warnings.warn(text, FutureWarning, stacklevel=1)
        with plain_warnings(shown=False):
            warnings.warn("unheard", stacklevel=1)
    assert capsys.readouterr().err == "warning: a thing is old\nwarning: another\n"
    assert warnings.showwarning is usual


@pytest.mark.parametrize("command", ["prepare", "compare_courses"])
def test_every_command_says_warnings_so(command, tmp_path, monkeypatch, capsys):
    def warn(*_, **__):
        warnings.warn("a thing is old", stacklevel=1)
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        module, function, words = {
            "prepare": (prepare, "check_dataset", ["check", "toy", "--data-root", str(tmp_path)]),
            "compare_courses": (compare_courses, "compare", ["toy", "CMaxGrad"]),
        }[command]
        monkeypatch.setattr(module, function, warn)
        monkeypatch.setattr("sys.argv", [command, *words])
        with pytest.raises(SystemExit) as stopped:
            module.main()
        assert stopped.value.code == 130
    assert capsys.readouterr().err.startswith("warning: a thing is old\n")


def test_a_script_says_warnings_so_from_its_settings_on(monkeypatch, capsys):
    """That CUDA is older than its driver, say, is warned of where `--device auto` is resolved."""

    def warn(cfg):
        warnings.warn("a thing is old", stacklevel=1)
        raise InputError("stopped.")

    monkeypatch.setattr(settings, "resolve", warn)
    monkeypatch.setattr("sys.argv", ["script.py"])
    with warnings.catch_warnings(), pytest.raises(SystemExit):
        warnings.simplefilter("always")
        launch(lambda cfg: None, NoSettings, "")
    assert capsys.readouterr().err == "warning: a thing is old\nscript.py: error: stopped.\n"


# ---------------------------------------------------------------- terminals that cannot write every name


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_names_that_a_terminal_cannot_write_end_no_command(encoding, monkeypatch, tmp_path):
    written = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in written.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(prepare, "check_dataset", lambda *_: ("蝶", ["file \udcff.png"], []))
    monkeypatch.setattr(prepare, "find", lambda *_: DATASETS["toy"])
    assert prepare.main(["check", "toy", "--data-root", str(tmp_path)]) == 1
    monkeypatch.setattr("sys.argv", ["蝶.py"])
    monkeypatch.setattr(settings, "resolve", lambda cfg: cfg)
    launch(lambda cfg: print("蝶"), NoSettings, "")
    name = "蝶" if encoding == "utf-8" else "\\u8776"
    written["stdout"].flush()
    lines = written["stdout"].buffer.getvalue().decode(encoding).splitlines()
    assert lines[1:] == [name, "file \\udcff.png", "1 problem.", name]


# ---------------------------------------------------------------- the commit of the run record


def git(folder, *words):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def repository(folder):
    """A repository with one commit; returns that."""
    folder.mkdir()
    (folder / "code.py").write_text(f"# {folder.name}\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", folder.name]):
        git(folder, *words)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def ours_and_theirs(tmp_path, monkeypatch):
    """Our repository, which the code lies in, and somebody else's; their commits."""
    commits = repository(tmp_path / "ours"), repository(tmp_path / "theirs")
    monkeypatch.setattr(records, "TOP", tmp_path / "ours")
    return commits


def test_the_commit_is_that_of_the_code(ours_and_theirs, tmp_path, monkeypatch):
    ours, _ = ours_and_theirs
    assert records.git_commit() == ours
    (tmp_path / "ours/code.py").write_text("changed\n")
    assert records.git_commit() == f"{ours}-dirty"
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr(records, "TOP", tmp_path / "unpacked")
    assert records.git_commit() is None


def test_an_enclosing_repository_is_not_ours(ours_and_theirs, tmp_path, monkeypatch):
    (tmp_path / "theirs/unpacked").mkdir()
    monkeypatch.setattr(records, "TOP", tmp_path / "theirs/unpacked")
    assert records.git_commit() is None


def test_variables_of_git_do_not_mislead(ours_and_theirs, tmp_path, monkeypatch):
    ours, _ = ours_and_theirs
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "ours"))
    assert records.git_commit() == ours


def test_a_checkout_that_somebody_else_owns_is_ours_still(ours_and_theirs, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert records.git_commit() == ours_and_theirs[0]


# ---------------------------------------------------------------- paths and names


@dataclass(frozen=True)
class Config:
    """Settings that are paths."""

    dataset: str = "toy"
    data_root: str = "$HOME/default"
    out: str = "auto"
    checkpoint: str = "{out}/c.tar"
    answers: tuple[str, ...] = ()


def test_paths_are_taken_as_a_shell_leaves_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--out=./~/a/", "--answers", "~/one.json", "two~.json"]
    cfg = resolve(parse(Config, "", words))
    assert cfg == Config("toy", f"{tmp_path}/default", "~/a", "~/a/c.tar", (f"{tmp_path}/one.json", "two~.json"))
    assert resolve(parse(Config, "", ["--data-root=~/my data/", "--out", "/"])).out == "/"
    assert resolve(parse(Config, "", ["--data-root=~/my data/"])).data_root == f"{tmp_path}/my data"
    assert prepare.build_parser().parse_args(["check", "toy", "--data-root=~/data/"]).data_root == tmp_path / "data"


@pytest.mark.parametrize("out", ["datasets", "datasets/run1", "./datasets/run1/", "datasets/../run1"])
def test_an_output_folder_that_lists_would_take_for_the_data_root_is_refused(tmp_path, monkeypatch, out):
    """`./datasets/run1/x.png` in a list of that run would be looked for as `<data root>/run1/x.png`."""
    monkeypatch.chdir(tmp_path)
    named = str(Path(out))
    said = f"--out {named} lies below ./datasets/, which stands for --data-root /data in lists, so that"
    with pytest.raises(InputError, match=f"^{re.escape(said)} [^\n]*; give another folder\\.$"):
        resolve(parse(Config, "", ["--data-root", "/data", "--out", out]))
    for data_root in ("datasets", "./datasets/", str(tmp_path / "datasets")):
        assert resolve(parse(Config, "", ["--data-root", data_root, "--out", out])).out == named


@pytest.mark.parametrize(
    "out", ["auto", "run1", "datasets2/run1", "runs/datasets/run1", "../datasets/run1", "/elsewhere/datasets/run1"]
)
def test_other_output_folders_go_with_any_data_root(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    cfg = resolve(parse(Config, "", ["--data-root", "/data", "--out", out]))
    listed = listed_path(f"{cfg.out}/x.png")
    assert Path(locate(listed, cfg.data_root)) == Path(cfg.out, "x.png")


def test_a_name_as_long_as_names_can_be_is_written(tmp_path):
    name = "\u83dc" * 83 + "ab.png"  # 255 bytes
    assert len(name.encode()) == 255 == name_limit(tmp_path)
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text" and os.listdir(tmp_path) == [name]


def test_files_of_one_folder_are_written_side_by_side(tmp_path):
    """Two threads hold files open whose names differ at the end alone; both come out whole."""
    met = threading.Barrier(2)

    def write(name):
        with replacing(tmp_path / name) as temporary:
            assert temporary.suffix == ".png" and len(temporary.name) < 60
            temporary.write_text(name)
            met.wait(10)

    names = ["a" * 200 + "_1.png", "a" * 200 + "_2.png"]
    threads = [threading.Thread(target=write, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: (tmp_path / name).read_text() for name in names} == {name: name for name in names}


def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: ended.pid)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # as if it had been killed before
        with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.png") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    assert temporary.exists()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("out", ["", " "])
def test_an_output_folder_without_a_name_is_refused(out):
    """As a variable that is not set leaves it; all would be poured into the working folder."""

    @dataclass(frozen=True)
    class Settings:
        out: str

    with pytest.raises(InputError) as refusal:
        settings.check(Settings(out))
    assert str(refusal.value) == f"--out '{out}' must name a folder, or be auto; correct it."
    settings.check(Settings("auto"))
