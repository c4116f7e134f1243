"""Atomic writes, and the leftovers of killed processes."""

import csv
import io
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.runs import REPOSITORY
from utils.base import files
from utils.base.errors import InputError
from utils.base.files import NAME_BYTES, remove_leftovers, replacing, replacing_folder, write_png, write_text


def test_a_name_of_the_greatest_length_is_written(tmp_path):
    name = "\u83dc" * 83 + "ab.png"
    assert len(name.encode()) == NAME_BYTES
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text" and os.listdir(tmp_path) == [name]


def test_temporary_files_of_similar_names(tmp_path):
    names = ["a" * 200 + "_1.png", "a" * 200 + "_2.png"]
    with replacing(tmp_path / names[0]) as one, replacing(tmp_path / names[1]) as two:
        assert one.suffix == ".png" and len(one.name) < 60
        one.write_text("one")
        two.write_text("two")
    assert [(tmp_path / name).read_text() for name in names] == ["one", "two"] and len(os.listdir(tmp_path)) == 2


def test_an_error_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a.json", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", [math.nan])
    assert (tmp_path / "a.json").read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


HOLD = """import os, sys, time; from pathlib import Path; from utils.base import errors, files
held = 0
while held < 60:
    try:
        with files.locked(Path("all.json")):
            os.mkdir("inside"), os.rmdir("inside")
            held += 1
    except (errors.InputError, FileNotFoundError) as error:
        assert type(error) is errors.InputError or error.filename == "all.lock"
with files.locked(Path(sys.argv[1])):
    print("held", flush=True), time.sleep(60)
"""


def test_a_lock_has_one_holder_and_ends_with_its_process(tmp_path):
    """Three processes; no two of them are inside at once."""
    how = dict(cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True)
    records = [tmp_path / f"{number}.json" for number in range(3)]
    started = [subprocess.Popen([sys.executable, "-c", HOLD, str(record)], **how) for record in records]
    assert [process.stdout.readline() for process in started] == ["held\n"] * 3
    for record, process in zip(records, started, strict=True):
        with pytest.raises(InputError, match=rf"run is about to write {record} \(process {process.pid} on .* Wait"):
            files.locked(record).__enter__()
        process.kill()
        process.communicate()
        with files.locked(record):
            assert record.with_suffix(".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert os.listdir(tmp_path) == []


def test_pictures(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for shape in ((3, 6, 4), (6, 4)):
        picture = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
        write_png(tmp_path / "a.png", picture)
        pixels = np.array(Image.open(tmp_path / "a.png"))
        assert np.array_equal(pixels, picture.permute(1, 2, 0) if len(shape) == 3 else picture)


def test_leftovers_of_killed_processes_are_removed(tmp_path, monkeypatch):
    process = subprocess.Popen(["true"])
    process.wait()
    dead = process.pid
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead)
        patch.setattr(files.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path, "toy", force=False) as staging:
            (staging / "toy").mkdir()
            raise KeyboardInterrupt
    (tmp_path / f".0123456789abcdef.{dead}.part.png").touch()
    running = tmp_path / f".0123456789abcdef.{os.getppid()}.part.png"
    running.touch()
    (tmp_path / ".hidden.party").touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running.name, ".hidden.party"])


def test_a_folder_is_replaced_at_the_end_and_only_by_force(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/old.txt").touch()
    with pytest.raises(InputError, match="already exists. Pass --force"), replacing_folder(tmp_path, "toy", False):
        pass
    with replacing_folder(tmp_path, "toy", True) as staging:
        (staging / "toy").mkdir()
        (staging / "toy/new.txt").touch()
        assert (tmp_path / "toy/old.txt").exists()
    assert os.listdir(tmp_path) == ["toy"] and os.listdir(tmp_path / "toy") == ["new.txt"]


def test_output_folders(tmp_path):
    with pytest.raises(InputError, match="contains a space, but list files are separated by spaces"):
        files.output_folder(tmp_path / "a b")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"is not writable \(Not a directory\)"):
        files.output_folder(tmp_path / "file/out")
    assert files.output_folder(tmp_path / "new/out").is_dir() and os.listdir(tmp_path / "new/out") == []


def test_tables_have_no_formulas_and_are_read_as_written(tmp_path):
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "\n=1", "'=1", "''-", "'tis", "a=b", "", "1.0"]
    files.write_table(
        tmp_path / "t.csv", [{"class": text, "number": -1.5, "none": None, "yes": True} for text in texts]
    )
    written = (tmp_path / "t.csv").read_bytes().decode()
    raw = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert not any(row[0].startswith(("=", "+", "-", "@", "\t", "\n")) for row in raw)
    assert [row[1:] for row in raw] == [["-1.5", "", "true"]] * len(texts)
    assert [row["class"] for row in files.TableReader(written)] == texts
