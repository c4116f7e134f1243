"""The benchmark runs end to end. Nothing here depends on the speed of this machine."""

import json
import sys

import numpy as np

from benchmarks import bench

TIMES = {
    # The rounds' ratios are 40, 50, 10 and 1.25, 1, 2; ratios of the medians would be 50 and 1.
    "margins": [0.1, 0.08, 0.2],
    "margins with faithfulness": [0.2, 0.16, 0.4],
    "released": [4.0, 4.0, 2.0],
    "course": [0.1, 0.08, 0.2],
    "forward": [0.08, 0.08, 0.1],
}


def test_a_small_run_measures_everything(data_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "LESSONS", 3)
    sizes = dict(baseline_images=1, rounds=1, many=20, image_size=64, batch_size=4, workers=1, device="cpu")
    bench.main(bench.Config(data_root=str(data_root), out=str(tmp_path / "bench"), **sizes))
    text, record = (tmp_path / "bench/bench.txt").read_text(), json.loads((tmp_path / "bench/bench.json").read_text())
    assert text in capsys.readouterr().out and record["settings"]["many"] == 20
    times, peaks = record["measured"]["seconds_per_image"], record["measured"]["memory_mb"]
    assert bench.report({name: np.array(walls) for name, walls in times.items()}, peaks, 20) in text
    assert times.keys() == TIMES.keys() and all(len(walls) == 1 and min(walls) > 0 for walls in times.values())
    assert len(peaks) == 2 * sys.platform.startswith("linux") and all(0 < peak < 16_000 for peak in peaks)
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"bench.txt", "bench.json"}


def test_ratios_by_hand():
    times = {name: np.array(walls) for name, walls in TIMES.items()}
    lines = bench.report(times, [1000, 1110], 3000).splitlines()
    assert lines[0] == "Released procedure (30 mask sizes): 0.25 images/s."
    assert "Explanations by margins: 10 images/s." in lines
    assert "  40.0 times as fast (at least 40: met)" in lines
    assert "  20.0 times as fast (at least 30: missed)" in lines and "  1.25 times as long (at most 1.5: met)" in lines
    assert "Memory to explain 300 and 3000 images: 1000 and 1110 MB." in lines
    assert "  1.11 times as much (at most 1.1: missed)" in lines
    worse = bench.report(times | {"margins": 1.01 * times["margins"], "course": times["released"]}, [], 0)
    assert "39.6 times as fast (at least 40: missed)" in worse and "(at most 1.5: missed)" in worse
    assert "Memory" not in worse
