"""Folders are replaced whole or not at all."""

import os

import pytest

from datasets import prepare
from tests.helpers.archives import make_zip, names, one_error, run, teach_members


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
