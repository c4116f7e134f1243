"""The benchmark runs end to end. Nothing here depends on the speed of this machine."""

import json
import runpy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import bench
from utils.base.errors import InputError


@pytest.fixture
def tiny(data_root, tmp_path):
    sizes = dict(images=20, baseline_images=1, rounds=1, many=20, pool_sizes=(40,))
    small = dict(image_size=64, batch_size=4, workers=1, device="cpu")
    return bench.Config(data_root=str(data_root), out=str(tmp_path / "bench"), **sizes, **small)


def test_a_small_run_writes_its_tables(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "BATCHES", (4,))
    monkeypatch.setattr(bench, "LESSONS", 3)
    monkeypatch.setattr(bench, "in_new_process", lambda function, *arguments: function(*arguments))
    bench.main(tiny)
    text, record = (tmp_path / "bench/bench.txt").read_text(), json.loads((tmp_path / "bench/bench.json").read_text())
    assert text in capsys.readouterr().out and all(row["images/s"] in text for row in record["rows"])
    assert [(row["at least"], row["at most"]) for row in record["rows"]] == [
        (40, 1.25),
        ("", ""),
        (50, 1.25),
        ("", ""),
        ("", 1.5),
        ("", ""),
    ]
    assert all(len(times) == 1 and times[0] > 0 for times in record["seconds"].values())
    assert len(record["memory_mb"]) == 2 and "Memory to explain 2 and 20 images" in text
    assert "from 40 images" in text and record["settings"]["images"] == 20
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"bench.txt", "bench.json"}


def test_everything_runs_once_a_round_in_a_new_folder(tmp_path):
    calls = []

    def work(name, folder):
        assert folder.parent == tmp_path and not list(folder.iterdir())
        (folder / "x").touch()
        calls.append(name)

    works = {name: lambda folder, name=name: work(name, folder) for name in "ab"}
    times = bench.in_turn(works, 3, "cpu", tmp_path)
    assert calls == list("ababab") and {name: len(walls) for name, walls in times.items()} == {"a": 3, "b": 3}


def test_ratios_by_hand():
    """The rounds' ratios are 40, 50, 10 and 1.25, 1, 2; ratios of the medians would be 50 and 1."""
    times = {"ours": [0.1, 0.08, 0.2], "released": [4.0, 4.0, 2.0], "limit": [0.08, 0.08, 0.1]}
    times = {name: np.array(values) for name, values in times.items()}
    row = bench.row("x", times, "ours", "released", "limit", least=50, most=1.25)
    assert list(row.values()) == ["x", "10", "0.25", "12.5", 40.0, 50, 1.25, 1.25, "no"]
    assert bench.row("x", times, "ours", "released", "limit", least=40, most=1.25)["met"] == "yes"
    assert bench.row("x", times, "ours", limit="limit", most=1.2)["met"] == "no"
    assert bench.row("x", times, "ours", "released")["met"] == ""
    assert bench.table([row]).splitlines()[1].split() == [str(cell) for cell in row.values()]


@pytest.mark.parametrize("setting", [{"images": 10**6}, {"baseline_images": 0}])
def test_counts_that_a_list_does_not_have_are_refused(tiny, setting):
    with pytest.raises(InputError, match="--images .* must be --baseline-images .. 20"):
        bench.main(replace(tiny, **setting))


def test_a_wrong_setting_ends_with_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--dataset", "moths", "--out", str(tmp_path / "bench")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(bench.__file__, run_name="__main__")
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("bench.py: error: --dataset 'moths' ")


def test_a_random_pool_is_a_survey():
    survey = bench.random_pool(12, seed=3)
    assert survey.labels.tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1] and survey.features.shape == (12, 512)
    assert (survey.table[torch.arange(12), survey.labels] == -1).all()
    assert survey.table[survey.table >= 0].tolist() == list(range(48))
    assert torch.allclose(survey.logits, survey.features @ survey.codewords.T)
    assert survey.explained.features.shape == (48, 512)


def test_a_choice_is_measured_in_a_new_process():
    seconds, peak = bench.in_new_process(bench.choice, 40, 0)
    assert seconds > 0 and 0 < peak < 16_000
