"""Localization: scores by hand, true differences redrawn, tables against loops, random layers, `make demo`."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.resnet import LAYERS, build
from models.weights import load_classifier
from utils.base.errors import InputError
from utils.data.catalog import MOTHS
from utils.data.outputs import Layout
from utils.data.toy_moths import SIZE, VISIBLE, counterfactuals, draw_moth
from utils.explanations import localization
from utils.explanations.faithfulness import box_blur
from utils.explanations.localization import COLUMNS, find_runs, measure, percent, report, tally, truths

REPOSITORY = Path(__file__).resolve().parents[2]
MONOCLE, SASH = MOTHS.index("Monocle"), MOTHS.index("Sash")


def test_precision_and_recall_by_hand():
    masks, truth, own = torch.zeros(3, 2, 4, 4, dtype=torch.bool)
    masks[0, 0] = True  # 4 pixels, 2 of them true, 1 of those on a mark of a
    truth[0, :, :2] = True  # 8 pixels
    own[0, :, 0] = True  # 4 pixels
    masks[1, 3, 3] = True  # 1 pixel, not true; T_own of this one is empty and does not count
    truth[1, 0, 0] = True
    tallies = tally(masks, masks.float(), truth, own)
    assert tallies.sum(2)[:, :4].tolist() == [[2, 2, 1, 1], [5, 9, 4, 4]] and tallies.shape == (2, len(COLUMNS), 2)
    assert percent(tallies)[:4] == [40, 22.2, 25, 25]


def test_scores_of_maps_by_hand():
    maps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]], [[0.0, 1.0], [2.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]])
    truth = torch.tensor([[[1, 0], [1, 0]], [[1, 1], [1, 0]], [[1, 1], [1, 1]]]).bool()
    points, mass, rank = localization.map_scores(maps, truth)
    assert points.tolist() == [1, 0, 0]  # a constant map scores 0
    assert mass.tolist() == pytest.approx([6 / 10, 3 / 8, 0])
    assert rank.tolist() == pytest.approx([1 / 2, 2 / 3, 0])


def test_controls_have_the_masks_areas():
    """A disc has no pixel that is farther from the center than one outside."""
    masks = torch.rand(3, 21, 21) > torch.tensor([0.9, 0.7, 0.5])[:, None, None]
    near = localization.center(masks)
    assert near.argmax() == 10 * 21 + 10 and near.amin() == 0
    for scores in (near, torch.rand(21, 21)):
        controls = localization.of_same_area(masks, scores)
        assert torch.equal(controls.sum((1, 2)), masks.sum((1, 2)))
        for one in controls:
            assert scores[one].min() >= scores[~one].max()


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


def test_one_table_for_all_runs(ran, data_root, monkeypatch):
    """Coverage is below the listed size of each list, random layers also if it was explained by the checkpoint."""
    monkeypatch.setattr(localization, "SANITY_IMAGES", 1)
    lines = list(report(["margin", "toy"], str(data_root), 5, "toy/checkpoint_pretrain_resnet18_s300.pth.tar"))
    heads = [line.split(", t")[0] for line in lines if ", t = " in line]
    names = ["margin: margin", "margin: margin, SimCLR features", "toy: scout", "toy: scout, SimCLR features"]
    assert heads == [names[0], names[0], names[1], names[2], names[2], names[3]]
    assert lines[4].startswith("The lists differ in ") and len(lines) == 5 + 6 * (1 + 7) + 4 * 3 + 2 * 7
    assert "mask_sizes (margin: margin [0.05, 0.3], margin: margin, SimCLR features [0.05], toy: scout" in lines[4]
    rows = [line[24:].split() for line in lines if line.startswith(("  explanation", "  trained"))]
    assert {len(row) for row in rows} == {len(COLUMNS)} and len(rows) == 6 + 2
    with pytest.raises(InputError, match="--checkpoint: these lists were not explained by toy/teacher.csv"):
        list(report(["margin", "toy"], str(data_root), 5, "toy/teacher.csv"))


def test_coverage_against_loops(tmp_path):
    rng, count, layout = np.random.default_rng(1), 36, Layout(tmp_path, "toy_gt")
    run, area = localization.Run("", layout, None, {}, None, None), rng.integers(50, 100, count).tolist()
    hit = [int(rng.integers(0, whole)) for whole in area]
    tallies = torch.tensor([hit, area], dtype=torch.float64)[:, None].expand(-1, len(COLUMNS), -1)
    assert localization.coverage(run, tallies) == []  # not measured
    ranks = {by: rng.permutation(count).tolist() for by in ("faithfulness", "lost", "margin")}
    lines = [",".join(map(str, row)) for row in [ranks, *zip(*ranks.values(), strict=True)]]
    (tmp_path / "toy_gt_CE_faithfulness.csv").write_text("\n".join(lines))
    single = [sum(hit[other] / area[other] < hit[n] / area[n] for other in range(count)) for n in range(count)]
    for row, (by, rank) in zip(localization.coverage(run, tallies), ranks.items(), strict=True):
        expected = {"ranked by": by}
        for share in (100, 75, 50, 25, "worst 25"):
            kept = [n for n in range(count) if (rank[n] < 9 if share == "worst 25" else rank[n] >= 36 - 0.36 * share)]
            precision = 100 * sum(hit[n] for n in kept) / sum(area[n] for n in kept)
            expected[f"{share} %"] = pytest.approx(precision, abs=0.051)
        squares = sum((one - other) ** 2 for one, other in zip(rank, single, strict=True))
        expected["rank correlation"] = pytest.approx(1 - 6 * squares / (count**3 - count), abs=0.0051)
        assert row == expected


def test_layers_are_randomized_from_the_head_down():
    torch.manual_seed(0)
    teacher, images = build("resnet18", 5).eval(), torch.rand(1, 3, 64, 64)
    before, trained = teacher(images).logits, teacher.folded().state_dict()
    for step, (_, network) in enumerate(localization.randomized(teacher, 3)):
        weights = {key: values for key, values in network.state_dict().items() if "weight" in key}
        kept = {key.split(".")[0] for key, values in weights.items() if torch.equal(values, trained[key])}
        assert kept == {*("conv1", *LAYERS, "fc")[: 6 - step]}
    torch.manual_seed(3)  # at the end nothing is left of the teacher, and the teacher is unchanged
    torch.testing.assert_close(network(images).logits, build("resnet18", 5).eval()(images).logits)
    assert step == 6 and torch.equal(teacher(images).logits, before)


def test_the_table_against_loops(ran, data_root):
    """Precision on T and the pointing game of one run, from its files, explanation by explanation."""
    (run, _) = find_runs("toy", str(data_root))
    exact = truths(run.images, seed=5)
    tallies = measure(run, 0.05, exact)
    found = dict(zip(COLUMNS, percent(tallies["explanation"]), strict=True))
    hit, inside, sharp, points = 0, 0, 0, []
    maps = np.load("toy/heatmaps.npz")
    for number, (row, differences) in enumerate(zip(run.images.rows, exact, strict=True)):
        image = run.images[number][None] / 255
        contrast = (image - box_blur(image)).abs().sum(1).flatten().numpy()
        for b, difference in differences.items():
            name = f"{Path(row.path).stem}_groundtruth_{row.label}_counter_{b}_index_{row.index}.png"
            mask = np.array(Image.open(f"toy/counterfactual_gradcam_mask/0.05/{name}")) == 255
            picture = Image.fromarray(difference.all.astype(np.uint8)).resize(mask.shape, Image.Resampling.NEAREST)
            truth = np.array(picture) == 1
            hit, inside = hit + (mask & truth).sum(), inside + mask.sum()
            sharp += truth.ravel()[np.argsort(-contrast)[: int(0.05 * truth.size)]].mean() / 80
            a, other = maps["attribution"][number, row.label], maps["attribution"][number, b]
            d = maps["confidence"][number] * a * (other.max() - other if other.max() > 1e-7 else 1)
            large = torch.nn.functional.interpolate(torch.tensor(d)[None, None], mask.shape, mode="bilinear")[0, 0]
            large = large.numpy()
            points.append(large.max() > large.min() and truth.ravel()[large.argmax()])
    assert found["precision on T"] == pytest.approx(100 * hit / inside, abs=0.1)
    assert found["pointing game"] == pytest.approx(100 * np.mean(points), abs=2.6)  # one or two of 80 may tie
    assert percent(tallies["contrast of the image"])[0] == pytest.approx(100 * sharp, abs=0.1)
    teacher = load_classifier("toy/checkpoint_pretrain_resnet18_s300.pth.tar", run.dataset.classes)
    again = localization.cascade(run, teacher, exact)["trained"]  # all images are explained again by the same network
    assert percent(again) == pytest.approx(list(found.values()), abs=1)


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
    exact = truths(run.images, seed=0)
    assert sum(map(len, exact)) == 150 * 4
    found = measure(run, 0.05, exact)
    table = {name: dict(zip(COLUMNS, percent(tallies), strict=True)) for name, tallies in found.items()}
    print(table)
    found = table.pop("explanation")
    assert found["precision on T"] >= 40 and found["pointing game"] >= 65
    for name in ("moved at random", "mirrored left-right", "mirrored top-bottom", "disc in the middle"):
        assert all(found[score] > 2 * table[name][score] for score in ("precision on T", "relevance mass accuracy"))
