"""Localization: scores by hand, true differences redrawn, the table against loops, and the teacher of `make demo`."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from utils.base.errors import InputError
from utils.data.catalog import MOTHS
from utils.data.toy_moths import SIZE, VISIBLE, counterfactuals, draw_moth
from utils.explanations import localization
from utils.explanations.localization import COLUMNS, disc, find_runs, map_scores, measure, report, tally, truths

REPOSITORY = Path(__file__).resolve().parents[2]
MONOCLE, SASH = MOTHS.index("Monocle"), MOTHS.index("Sash")


def test_precision_and_recall_by_hand():
    masks, truth, own = torch.zeros(3, 2, 4, 4, dtype=torch.bool)
    masks[0, 0] = True  # 4 pixels, 2 of them true, 1 of those on a mark of a
    truth[0, :, :2] = True  # 8 pixels
    own[0, :, 0] = True  # 4 pixels
    masks[1, 3, 3] = True  # 1 pixel, not true; T_own of this one does not count
    truth[1, 0, 0] = own[1, 0, 0] = True
    sums = tally(masks, masks.float(), truth, own, torch.tensor([True, False]))
    assert sums[:, :4].tolist() == [[2, 2, 1, 1], [5, 9, 4, 4]] and sums.shape == (2, len(COLUMNS))


def test_scores_of_maps_by_hand():
    maps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]], [[0.0, 1.0], [2.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]])
    truth = torch.tensor([[[1, 0], [1, 0]], [[1, 1], [1, 0]], [[1, 1], [1, 1]]]).bool()
    points, mass, rank = map_scores(maps, truth)
    assert points.tolist() == [1, 0, 0]  # a constant map scores 0
    assert mass.tolist() == pytest.approx([6 / 10, 3 / 8, 0])
    assert rank.tolist() == pytest.approx([1 / 2, 2 / 3, 0])


def test_a_disc_has_the_masks_area_and_is_centered():
    masks = torch.rand(3, 21, 21) > torch.tensor([0.9, 0.7, 0.5])[:, None, None]
    discs, falling = disc(masks)
    assert torch.equal(discs.sum((1, 2)), masks.sum((1, 2)))
    assert falling[0].argmax() == 10 * 21 + 10 and falling.amin() == 0
    for one in discs:
        far, near = (falling[0][inside] for inside in (~one, one))
        assert near.min() >= far.max()


def test_the_difference_of_two_kinds_is_where_their_pictures_differ():
    """A loop over pixels. A Sash is a Monocle with a band, so a Monocle has no mark that a Sash lacks."""
    picture, differences = counterfactuals(7, 3, MONOCLE)
    assert set(differences) == set(range(len(MOTHS))) - {MONOCLE} and np.array_equal(
        picture, draw_moth(7, 3, MONOCLE)[0]
    )
    other, band = draw_moth(7, 3, SASH)
    for y in range(0, SIZE, 3):
        for x in range(SIZE):
            differs = max(abs(int(picture[y, x, k]) - int(other[y, x, k])) for k in range(3)) > VISIBLE
            assert differences[SASH].all[y, x] == differs
    assert differences[SASH].own is None
    _, back = counterfactuals(7, 3, SASH)
    assert np.array_equal(back[MONOCLE].all, differences[SASH].all)
    own = back[MONOCLE].own
    assert own.any() and not (own & ~back[MONOCLE].all).any() and not (own & (band == 0)).any()
    assert back[MONOCLE].all.sum() < 0.2 * SIZE * SIZE


@pytest.fixture
def ran(butterflies, data_root, monkeypatch):
    """The folder in which the small dataset was explained, as working folder."""
    monkeypatch.chdir(butterflies.folder)
    return butterflies.folder


def test_one_table_for_all_runs(ran, data_root):
    lines = list(report(["margin", "toy"], str(data_root), seed=5))
    heads = [line.split(", t")[0] for line in lines if ", t = " in line]
    names = ["margin: margin", "margin: margin, SimCLR features", "toy: scout", "toy: scout, SimCLR features"]
    assert heads == [names[0], names[0], names[1], names[2], names[2], names[3]]
    assert len(lines) == 4 + 6 * 6 and lines[3].startswith("The lists differ in ")
    assert "mask_sizes (margin: margin [0.05, 0.3], margin: margin, SimCLR features [0.05], toy: scout" in lines[3]
    for line in lines[5:10]:
        assert len(line[24:].split()) == len(COLUMNS)


def test_the_table_against_loops(ran, data_root):
    """Precision on T and the pointing game of one run, from its files, explanation by explanation."""
    (run, _) = find_runs("toy")
    exact = truths(run.dataset, str(data_root), seed=5)
    found = dict(zip(COLUMNS, measure(run, 0.05, exact)["explanation"], strict=True))
    hit, inside, points = 0, 0, []
    maps = np.load("toy/heatmaps.npz")
    for number, (row, differences) in enumerate(exact):
        for b, difference in differences.items():
            name = f"{Path(row.path).stem}_groundtruth_{row.label}_counter_{b}_index_{row.index}.png"
            mask = np.array(Image.open(f"toy/counterfactual_gradcam_mask/0.05/{name}")) == 255
            picture = Image.fromarray(difference.all.astype(np.uint8)).resize(mask.shape, Image.Resampling.NEAREST)
            truth = np.array(picture) == 1
            hit, inside = hit + (mask & truth).sum(), inside + mask.sum()
            a, other = maps["attribution"][number, row.label], maps["attribution"][number, b]
            d = maps["confidence"][number] * a * (other.max() - other if other.max() > 1e-7 else 1)
            large = torch.nn.functional.interpolate(torch.tensor(d)[None, None], mask.shape, mode="bilinear")[0, 0]
            large = large.numpy()
            points.append(large.max() > large.min() and truth.ravel()[large.argmax()])
    assert found["on T"] == pytest.approx(100 * hit / inside, abs=0.1)
    assert found["points"] == pytest.approx(100 * np.mean(points), abs=2.6)  # one or two of 80 may tie


def test_moths_of_another_seed_are_refused(ran, data_root):
    with pytest.raises(InputError, match=r"toy_gt_tr.txt, line 1: .* is not the moth drawn from seed 6"):
        list(report(["toy"], str(data_root), seed=6))


def test_folders_that_cannot_be_measured_are_refused(tmp_path, capsys, monkeypatch):
    with pytest.raises(InputError, match="contains no record of an explanation list"):
        find_runs(str(tmp_path))
    (tmp_path / "CUBgull_gt_CE.json").write_text('{"dataset": "gull"}')
    with pytest.raises(InputError, match="gull has no exact counterfactuals"):
        find_runs(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["localization", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        localization.main()
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("localization: error: ")


@pytest.fixture
def demo():
    """The checkout, if `make demo` was run in it; its teacher takes minutes to train."""
    if not (REPOSITORY / "toy/run_get_all_CE_butterflies.json").exists() or not (REPOSITORY / "datasets/toy").exists():
        pytest.skip("run make demo first")
    return REPOSITORY


def test_explanations_of_the_demos_teacher_find_the_true_differences(demo, monkeypatch):
    monkeypatch.chdir(demo)
    (run,) = find_runs("toy")
    exact = truths(run.dataset, "datasets", seed=0)
    assert sum(len(differences) for _, differences in exact) == 150 * 4
    table = {name: dict(zip(COLUMNS, values, strict=True)) for name, values in measure(run, 0.05, exact).items()}
    print(table)
    found = table.pop("explanation")
    assert found["on T"] >= 40 and found["points"] >= 65
    assert all(found["on T"] > 2 * other["on T"] and found["mass"] > 2 * other["mass"] for other in table.values())
