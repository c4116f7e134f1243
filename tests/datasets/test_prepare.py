"""The command line of `datasets/prepare.py`: wrong input, a full disk, Ctrl-C, help."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import archives, prepare
from datasets.sources import SOURCES
from tests.helpers.archives import make_zip, names, one_error, run, teach_members
from utils.data.catalog import GULLS, find

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("moths",),
        ("gull", "--bogus"),
        ("gull", "--split", "1"),
        ("gull", "--split-seed", "-1"),
        ("gull", "--split-seed", "1.5"),
        ("gull", "--md5", "abc"),
        ("gull", "--lists", "x", "--split-seed", "1"),
        ("gull", "--archive", "x", "--url", "http://y"),
        ("gull", "--archive", "no_such_file", "--split-seed", "1"),
        ("gull", "--lists", "no_such_folder"),
        ("toy", "--seed", "many"),
        ("check",),
        ("check", "moths"),
        ("check", "gull"),
    ],
)
def test_wrong_input_ends_with_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert one_error(capsys) and list(tmp_path.iterdir()) == []


def test_a_data_root_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "root").write_text("")
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 2
    assert "--data-root" in one_error(capsys)


def test_a_full_memory_ends_with_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 1
    said = "prepare.py: error: The memory of this machine is full; end what else fills it, then run again."
    assert one_error(capsys) == said and names(tmp_path / "root") == []


def test_a_full_disk_ends_with_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 1
    assert "No space left on device (x.png)" in one_error(capsys) and names(tmp_path / "root") == []


def test_ctrl_c_leaves_nothing_and_ends_with_130(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "refuse_broken", interrupted)
    archive = make_zip(tmp_path / "teach.zip", teach_members())
    assert run("butterflies", "--archive", archive, "--split-seed", 0, "--data-root", tmp_path / "root") == 130
    assert "stopped" in one_error(capsys) and names(tmp_path / "root") == []


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, ROOT / "datasets/prepare.py", "check", "gull", "--data-root", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(
        "prepare.py: error: The list nowhere/CUBgull/CUBgull_gt_tr.txt does not exist"
    )
    assert done.stderr.count("\n") == 1


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(io.StringIO()) as shown:
        run("gull", "--help")
    assert end.value.code == 0
    assert all(
        option in shown.getvalue()
        for option in ("--archive", "--url", "--md5", "--lists", "--lists-url", "--split-seed", "--force")
    )


def test_the_sources_agree_with_the_catalog():
    for name, source in {
        "butterflies_s300_rest": "butterflies",
        "gull_whole": "gull",
        "chinese_chars": "chinese_chars",
    }.items():
        dataset, source = find(name), SOURCES[source]
        assert (dataset.folder, dataset.classes) == (source.folder, source.classes)
        assert {dataset.train, dataset.test} <= set(source.list_stems)
    assert SOURCES["nabirds"].classes == GULLS
