"""The command line of prepare.py: wrong input, existing folders, errors, the toy dataset."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import prepare
from datasets.sources import SOURCES
from tests.helpers.archives import make_archive, names, one_error, run, teach_members
from utils.data import toy_moths
from utils.data.catalog import GULLS, find

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("gull", "--archive", "no_such_file", "--split-seed", "1"),
        ("nabirds", "--split-seed", "1"),
        ("check", "gull"),
        ("folder", "no_such_folder", "--name", "mine"),
    ],
)
def test_wrong_input_ends_with_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert one_error(capsys) and list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_replaced_only_by_force_and_only_by_a_complete_one(tmp_path, capsys):
    arguments = ("chinese_chars", "--split-seed", 0, "--data-root", tmp_path / "root", "--archive")
    archive = make_archive(tmp_path / "teach.zip", teach_members())
    mine = tmp_path / "root/chinese_chars/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run(*arguments, archive) == 2 and "--force" in one_error(capsys)
    assert run(*arguments, make_archive(tmp_path / "none.zip", {}), "--force") == 2 and mine.exists()
    assert run(*arguments, archive, "--force") == 0 and not mine.exists()
    assert os.listdir(tmp_path / "root") == ["chinese_chars"]


def test_a_run_that_stops_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "draw_lists", stop)
    archive = make_archive(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 130
    assert names(tmp_path / "root") == []


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, ROOT / "datasets/prepare.py", "check", "gull", "--data-root", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "nowhere/CUBgull/CUBgull_gt_tr.txt" in done.stderr and done.stderr.count("\n") == 1


def test_the_sources_agree_with_the_catalog():
    pairs = {"butterflies_s300_rest": "butterflies", "gull_whole": "gull", "chinese_chars": "chinese_chars"}
    for name, source in pairs.items():
        dataset, source = find(name), SOURCES[source]
        assert (dataset.folder, dataset.classes) == (source.folder, source.classes)
        assert {dataset.train, dataset.test} <= set(source.list_stems)
    assert SOURCES["nabirds"].classes == GULLS


def test_toy_is_drawn_by_its_seed_and_kept_unless_forced(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_moths, "PER_CLASS", dict.fromkeys(toy_moths.PER_CLASS, 1))
    pictures = []
    for more, status in ((["--seed", 5], 0), ([], 2), (["--force"], 0), (["--force", "--seed", 5], 0)):
        assert run("toy", "--data-root", tmp_path, *more) == status
        pictures.append({path.read_bytes() for path in tmp_path.glob("toy/images/*/*.png")})
    assert pictures[0] == pictures[1] == pictures[3] and not pictures[0] & pictures[2]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
