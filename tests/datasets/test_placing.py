"""Folders are replaced whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import prepare
from tests.helpers.archives import make_zip, names, one_error, run, teach_members
from utils.base.files import remove_leftovers, replacing_folder

ROOT = Path(__file__).resolve().parents[2]
REPLACES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from utils.base.files import replacing_folder
rename = Path.rename
def killed(self, target):
    if self.name == "d" and self.parent.name.endswith(".part"):  # the new folder, when the old one has been put aside
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = killed
with replacing_folder(Path(sys.argv[1]), "d", force=True) as staging:
    (staging / "d").mkdir()
    (staging / "d/new.txt").write_text("new")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_an_existing_folder_is_replaced_only_by_force_and_only_by_a_whole_one(tmp_path, capsys):
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    arguments = ("chinese_chars", "--split-seed", 0, "--data-root", tmp_path / "root", "--archive")
    mine = tmp_path / "root/chinese_chars/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run(*arguments, archive) == 2
    assert "--force" in one_error(capsys)
    assert run(*arguments, make_zip(tmp_path / "none.zip", {}), "--force") == 2
    assert mine.read_text() == "mine" and os.listdir(tmp_path / "root") == ["chinese_chars"]
    assert run(*arguments, archive, "--force") == 0
    assert not mine.exists() and os.listdir(tmp_path / "root") == ["chinese_chars"]


def test_what_was_to_be_replaced_comes_back_when_the_last_step_fails(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/mine.txt").write_text("mine")
    with pytest.raises(OSError), prepare.replacing_folder(tmp_path, "d", force=True):
        pass  # nothing was made, so there is nothing to move into place
    assert names(tmp_path) == ["d/mine.txt"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine.txt").write_text("mine")
    (tmp_path / "d").symlink_to(tmp_path / "elsewhere")
    with prepare.replacing_folder(tmp_path, "d", force=True) as staging:
        (staging / "d").mkdir()
    assert not (tmp_path / "d").is_symlink() and names(tmp_path) == ["elsewhere/mine.txt"]


@pytest.fixture
def replacing_process(tmp_path):
    """A process that replaces the folder `d` of the temporary folder, and waits with it half done."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/mine.txt").write_text("mine")
    command = [sys.executable, "-c", REPLACES.format(root=str(ROOT)), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_works_in_stays(tmp_path, replacing_process):
    own = tmp_path / f".d.{replacing_process.pid}.part"
    elsewhere = (
        tmp_path / f".d.{ended_process()}.part"
    )  # as the folder of a process of another computer looks, on a shared disk
    remove_leftovers(tmp_path)
    assert (own / "d/new.txt").exists()
    own.rename(elsewhere)
    remove_leftovers(tmp_path)
    assert (elsewhere / "d/new.txt").exists()
    replacing_process.send_signal(signal.SIGKILL)
    replacing_process.wait()
    with replacing_folder(tmp_path, "other", force=False) as staging:  # whatever it makes
        (staging / "other").mkdir()
    assert names(tmp_path) == ["d/mine.txt"] and sorted(os.listdir(tmp_path)) == ["d", "other"]


def test_what_was_to_be_replaced_comes_back_after_a_kill_at_the_last_step(tmp_path, replacing_process):
    replacing_process.communicate("")  # goes on, and is killed when it has put the old folder aside
    assert not (tmp_path / "d").exists() and replacing_process.returncode == -signal.SIGKILL
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["d"] and names(tmp_path) == ["d/mine.txt"]


def test_folders_that_are_not_of_this_program_stay(tmp_path):
    foreign = tmp_path / f".d.{ended_process()}.part"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    linked = tmp_path / f".e.{ended_process()}.part"
    linked.symlink_to(foreign)
    remove_leftovers(tmp_path)
    assert (foreign / "thesis.txt").exists() and not linked.is_symlink()


def ended_process():
    """The number of a process that runs no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid
