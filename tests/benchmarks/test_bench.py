"""The benchmark runs end to end and its table says what it measured. Nothing here depends on how fast this machine is."""

import json
import re
import runpy
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import bench, limits
from benchmarks.report import Row, table
from benchmarks.timing import in_turn
from utils.base.errors import InputError


@pytest.fixture
def tiny(data_root, tmp_path, monkeypatch):
    """Settings for a run of a few seconds."""
    monkeypatch.setattr(limits, "BATCHES", (4,))
    sizes = dict(
        images=5, images_30=1, baseline_images=1, pool=10, test_images=5, rounds=1, image_size=64, batch_size=4
    )
    return bench.Config(data_root=str(data_root), out=str(tmp_path / "bench"), workers=1, device="cpu", **sizes)


def test_a_small_run_leaves_its_table(tiny, tmp_path, capsys):
    bench.main(tiny)
    text, record = (tmp_path / "bench/bench.txt").read_text(), json.loads((tmp_path / "bench/bench.json").read_text())
    assert text in capsys.readouterr().out
    assert len(record["rows"]) == 8 and all(row["name"] in text for row in record["rows"])
    for row in record["rows"]:
        rates, seconds = row["images_per_second"], record["seconds"]
        assert rates["ours"] > 0 and rates["limit"] > 0
        assert all(len(taken["wall"]) == 1 and taken["wall"][0] > 0 for taken in seconds.values())
        assert row["time_by_limit"] == pytest.approx(rates["limit"] / rates["ours"], rel=0.02)
        if rates["released"]:
            assert row["times_as_fast_as_released"] == pytest.approx(
                rates["ours"] / rates["released"], rel=0.02, abs=0.01
            )
    targets = [tuple(row["targets"].values()) for row in record["rows"]]
    assert targets == [
        (None, 1.1),
        (50, 1.25),
        (None, None),
        (5, None),
        (40, 1.25),
        (None, 1.3),
        (2, 1.15),
        (None, 1.15),
    ]
    assert {"cpu", "cores", "threads", "torch"} <= set(record["machine"]) and record["settings"]["images"] == 5
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"bench.txt", "bench.json"}


def test_each_runs_once_a_round_in_a_new_folder(tmp_path):
    calls = []

    def work(name, folder):
        assert folder.parent == tmp_path and not list(folder.iterdir())
        (folder / "x").touch()
        calls.append(name)

    times = in_turn({name: lambda folder, name=name: work(name, folder) for name in "ab"}, 3, "cpu", tmp_path)
    assert calls == list("ababab") and set(times) == {"a", "b"}
    assert all(len(taken["wall"]) == len(taken["cpu"]) == 3 for taken in times.values())
    assert len(list(tmp_path.iterdir())) == 6


def test_the_tables_ratios_by_hand():
    # The ratios of the rounds are 40, 50 and 10, and 1.25, 1 and 2; those of the medians would be 50 and 1.
    ours, released, limit = np.array([0.1, 0.08, 0.2]), np.array([4.0, 4.0, 2.0]), np.array([0.08, 0.08, 0.1])
    row = Row("x", ours, released, limit, faster=50, slower=1.25)
    assert (row.speedup, row.overhead) == (pytest.approx(40), pytest.approx(1.25))
    assert row.cells() == ["x", "10", "0.25", "12.5", "40.0", ">= 50 missed", "1.25", "<= 1.25 met"]
    assert re.search(r"^x +10 +0.25 +12.5", table([row]), flags=re.M)


@pytest.mark.parametrize(
    ("setting", "value"), [("images", 10**6), ("pool", 9), ("rounds", 0), ("test_images", 0), ("lessons", -1)]
)
def test_counts_that_cannot_be_measured_are_refused(tiny, setting, value):
    with pytest.raises(InputError, match=f"--{setting.replace('_', '-')} {value} must lie in"):
        bench.main(replace(tiny, **{setting: value}))


def test_a_wrong_setting_ends_with_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--dataset", "moths", "--out", str(tmp_path / "bench")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(bench.__file__, run_name="__main__")
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("bench.py: error: --dataset 'moths' is unknown")
