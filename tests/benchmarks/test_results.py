"""The tables of docs/results.md: one small run from teachers to tables, and values computed by hand."""

import csv
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from benchmarks.results import __main__ as results
from benchmarks.results import courses, explanations, labels, runs
from tests.conftest import IMAGES
from tests.helpers.noise import CLASSES, SIZE, noise_material, settings
from tests.helpers.runs import call
from utils.base.errors import InputError
from utils.base.figures import GAP, HEADLINE, TILE
from utils.data import toy_moths
from utils.data.images import read_picture
from utils.explanations import localization
from utils.people.study import ANNOTATORS, EXPERT, SELF_TRAINED
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool

SMALL = {
    "get_all_CE_butterflies_simclr": "--probe-epochs 20",
    "study_annotators": "--repeats 2 --accuracy 0.2 --probe-epochs 5 --image-size 64 --rounds 1 --confidence 0.2",
}
KINDS = ("none", "scout", "margin")
SETTINGS = {
    runs: dict(
        TOY_TEACHER="--epochs 2 --milestones 1 --lr 0.01 --batch-size 10 --image-size 64 --eval-every 2",
        HEAD="--epochs 1 --milestones 1 --image-size 64",
        SIMCLR="--batch-size 10 --image-size 64",
        SIMCLR_EPOCHS=1,
        SIMCLR_DATASET="toy",
        SIDE=64,
        SIMCLR_SIDE=64,
    ),
    courses: dict(
        DATASETS=("toy",),
        DRAWS={"optimal": 2, "sgd": 2},
        LESSONS=2,
        KINDS=KINDS,
        SELECTORS=("KMaxGrad", "random"),
        PUBLISHED={"none": ["random"], "scout": ["CMaxGrad"]},
    ),
    explanations: dict(DATASET="toy", IMAGES=3, SHOWN=1),
    labels: dict(DATASET="toy"),
    localization: dict(SANITY_IMAGES=1),
    toy_moths: dict(PER_CLASS=IMAGES),
}


def run_here(command, env):
    """Runs a script in this process, with small settings."""
    name = Path(command[1]).stem
    done = call(name, *command[2:], *SMALL.get(name, "").split(), cwd=Path.cwd())
    assert done.status == 0, done.err
    return subprocess.CompletedProcess(command, 0)


@pytest.fixture(scope="module")
def ran(weights, tmp_path_factory):
    """A folder with all tables of a small run on moths, and its settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("results"))
        patch.setattr(runs, "subprocess", SimpleNamespace(run=run_here))
        for module, values in SETTINGS.items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        parts = ("courses", "explanations", "labels", "published")  # people are tested in test_crowd.py
        cfg = results.Config(only=parts, pretrained=str(weights), seed=5, workers=1, device="cpu")
        results.main(cfg)
        yield cfg


def column(table, *names):
    with open(f"results/{table}.csv", encoding="utf-8", newline="") as file:
        return [tuple(row[name] for name in names) for row in csv.DictReader(file)]


def test_every_table_has_its_rows(ran):
    curves = {f"courses_toy{variant}" for variant in ("", "_simclr", "_sgd")}
    explained = {f"explanations_{table}" for table in ("localization", "coverage", "deletion")}
    others = {"courses", "teachers", "labels"} | explained
    assert {path.stem for path in Path("results").glob("*.csv")} == curves | others
    assert {path.stem for path in Path("results").glob("*.png")} == curves | {"labels", "focus"}
    wanted = [(one, kind) for kind in KINDS for one in ("KMaxGrad", "random")]
    wanted += [(courses.POOL, kind) for kind in KINDS]
    assert column("courses_toy", "selection", "explanation") == wanted
    assert column("teachers", "dataset") == [("toy",)]
    assert column("courses", "explanation") == [("margin",), ("none",)] * 2
    assert column("courses_toy_sgd", "selection", "explanation") == [("random", "none"), ("CMaxGrad", "scout")]
    assert column("explanations_localization", "explanation") == [("margin",)] * 14 + [("scout",)] * 14
    ranked = [(kind, by) for kind in ("margin", "scout") for by in ("faithfulness", "lost", "margin")]
    assert column("explanations_coverage", "explanation", "ranked by") == ranked
    blurred = [("margin",), ("unfocused",), ("scout",), ("disc",), ("contrast",)]
    assert column("explanations_deletion", "explanation")[::2] == blurred
    record = json.loads(Path("results/work/toy/annotators/run_study_annotators.json").read_text())["measured"]
    study = {(row[0], row[1]): float(row[2]) for row in column("labels", "labels", "people", "test_accuracy")}
    assert study[ANNOTATORS, "20.0"] == record["annotators"]["0.2"]


def test_the_figure_shows_outlines_against_the_strongest_wrong_class(ran):
    """The one with the smallest margin in the table of faithfulness. The outline without focus comes first."""
    margins = column("work/toy/margin/toy_gt_CE_faithfulness", "margin", "path")[:4]  # of the first image
    name = Path(min(margins, key=lambda row: float(row[0]))[1]).name
    pictures = list(Path("results/work/toy").glob("[mu]*/demo/*/0.05/*"))  # of margin and unfocused
    figure = np.array(read_picture("results/focus.png"), dtype=float)[HEADLINE:][:TILE]
    for place, kind in enumerate(("unfocused", "margin")):
        drawn = figure[:, GAP + place * (TILE + GAP) :][:, :TILE]
        nearest = min(pictures, key=lambda path: np.abs(drawn - read_picture(path).resize((TILE, TILE))).mean())
        assert (nearest.parents[3].name, nearest.name) == (kind, name)


def test_resume_teaches_only_what_is_missing(ran, monkeypatch):
    before = {path.name: path.read_bytes() for path in Path("results").glob("*.csv")}
    Path("results/work/courses/courses_toy/margin_KMaxGrad.json").unlink()
    teach_draws, taught = courses.teach_draws, []
    monkeypatch.setattr(
        courses, "teach_draws", lambda whole, name, *how: taught.append(name) or teach_draws(whole, name, *how)
    )
    cfg = results.Config(only=("courses",), pretrained=ran.pretrained, seed=5, workers=2, device="cpu", resume=True)
    results.main(cfg)
    assert taught == ["KMaxGrad"] and {path.name: path.read_bytes() for path in Path("results").glob("*.csv")} == before
    with pytest.raises(InputError, match="--resume: .*settings.json has other settings"):
        results.main(results.Config(seed=6, resume=True))


def test_a_new_run_forgets_the_courses_of_an_earlier_one(tmp_path):
    course = tmp_path / "work/courses/courses_toy/none_random.json"
    course.parent.mkdir(parents=True)
    course.touch()
    for resume in (True, False):
        results.main(results.Config(only=(), out=str(tmp_path), resume=resume))
        assert course.exists() == resume


def test_a_script_that_fails_ends_the_run(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(runs, "subprocess", subprocess)  # the fixture `ran` replaces it for the module
    cfg = results.Config(out=str(tmp_path), data_root=str(tmp_path), device="cpu")
    with pytest.raises(SystemExit, match="2"):
        runs.run_script(cfg, "get_all_CE_butterflies", "chinese_chars", tmp_path / "out")
    assert "get_all_CE_butterflies.py: error: " in capfd.readouterr().err


def test_differences_are_taken_draw_by_draw():
    """Two draws of two lessons. KMaxGrad's means are 60 and 50, random's 40 and 40: mean difference 15, sd sqrt(50)."""
    curves = {
        ("random", "none"): [[30.0, 50.0], [40.0, 40.0]],
        ("KMaxGrad", "none"): [[50.0, 70.0], [40.0, 60.0]],
        ("MaxHerding", "none"): [[40.0, 60.0], [41.0, 61.0]],
        ("KMaxGrad", "margin"): [[52.0, 72.0], [41.0, 61.0]],
        ("random", "margin"): [[62.0, 62.0], [51.0, 51.0]],
    }
    rows = courses.table_rows(curves, {"none": [80.0, 90.0], "margin": [82.0, 91.0]})
    assert [tuple(row.values()) for row in rows] == [
        ("random", "none", 35.0, 45.0, 40.0, 0.0, "", "", -10.5, 0.7, "", ""),
        ("KMaxGrad", "none", 45.0, 65.0, 55.0, 7.1, 15.0, 7.1, 4.5, 7.8, "", ""),
        ("MaxHerding", "none", 40.5, 60.5, 50.5, 0.7, 10.5, 0.7, "", "", "", ""),
        ("KMaxGrad", "margin", 46.5, 66.5, 56.5, 7.8, 0.0, 0.0, "", "", 1.5, 0.7),
        ("random", "margin", 56.5, 56.5, 56.5, 7.8, "", "", "", "", 16.5, 7.8),
        (courses.POOL, "none", "", "", 85.0, 7.1, "", "", "", "", "", ""),
        (courses.POOL, "margin", "", "", 86.5, 6.4, "", "", "", "", 1.5, 0.7),
    ]
    (row, _) = courses.overview("x", "SimCLR", rows)
    assert (row["random"], row["KMaxGrad"], row[courses.POOL], row["features"]) == (56.5, 56.5, 86.5, "SimCLR")
    assert (row["KMaxGrad minus random"], row["sd of KMaxGrad minus random"]) == (0.0, 0.0)


@pytest.mark.parametrize("explain", [True, False])
def test_the_ceiling_minimizes_the_risk_of_the_whole_pool(explain, tmp_path):
    """Against SciPy, image by image."""
    images, ce_list = noise_material(tmp_path)
    how = settings(ridge=1e-2)
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)
    student = OptimalStudent(pool, images, explain, how).untaught(torch.tensor([0, 1, 2, 3, 4, 5, 7]))
    seen = student.survey(explain).seen
    items = list(zip(seen.features.double().numpy(), student.labels.tolist(), strict=True))
    for place, label in enumerate(student.labels.tolist()) if explain else ():
        for counter in set(range(CLASSES)) - {label}:
            items.append((seen.explained.features[student.table[place, counter]].double().numpy(), label))

    def loss(flat):
        W = flat.reshape(CLASSES, -1)
        slope, value = 2 * how.ridge * W, how.ridge * (W**2).sum()
        for features, label in items:
            for other in set(range(CLASSES)) - {label}:
                risk = np.exp(-0.5 * features @ (W[label] - W[other])) / len(items)
                value += risk
                slope[label] -= 0.5 * risk * features
                slope[other] += 0.5 * risk * features
        return value, slope.ravel()

    start = np.zeros(CLASSES * len(items[0][0]))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9})
    answers = torch.from_numpy(student.features.test.double().numpy() @ found.x.reshape(CLASSES, -1).T).argmax(1)
    wanted = 100 * (answers == images.labels).double().mean().item()
    assert courses.ceiling(student, how.ridge) == pytest.approx(wanted)


def test_seeds_are_merged_by_hand():
    def row(source, quality, accuracy, share=""):
        return {"labels": source, "annotator_accuracy": quality, "label_accuracy": share, "test_accuracy": accuracy}

    rows = [row(EXPERT, "", 60.0), row(EXPERT, "", 50.0)]
    rows += [row(ANNOTATORS, 0.5, 50.0, 48.0), row(ANNOTATORS, 0.5, 40.0, 53.0)]
    rows += [row(ANNOTATORS, 1.0, 70.0, 100.0), row(ANNOTATORS, 1.0, 80.0, 100.0)]
    rows += [row(SELF_TRAINED, "", 75.0), row(SELF_TRAINED, "", 70.0, 90.0)]
    assert [tuple(one.values()) for one in labels.by_source(rows)] == [
        (EXPERT, "", "", 55.0, 7.07, 66.7, 62.5, 75.0),
        (ANNOTATORS, 50.0, 50.5, 45.0, 7.07, "", "", ""),
        (ANNOTATORS, 100.0, 100.0, 75.0, 7.07, "", "", ""),
        (SELF_TRAINED, "", 90.0, 72.5, 3.54, 95.8, 87.5, "never"),
    ]
