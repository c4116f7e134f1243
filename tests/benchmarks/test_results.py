"""The tables of docs/results.md: one small run from teachers to tables, and values computed by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from benchmarks.results import __main__ as results
from benchmarks.results import courses, explanations, labels, runs
from tests.conftest import IMAGES
from tests.helpers.noise import CLASSES, SIZE, noise_material, settings
from tests.helpers.runs import call
from utils.base.errors import InputError, RunError
from utils.data import toy_moths
from utils.people.study import ANNOTATORS, EXPERT, SELF_TRAINED
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool

RUN_SCRIPT = runs.run_script
SMALL = {
    "get_all_CE_butterflies_simclr": "--probe-epochs 20",
    "study_annotators": "--repeats 1 --accuracy 0.2 --probe-epochs 5 --image-size 64 --rounds 1 --confidence 0.2",
}


def run_here(cfg, name, *arguments):
    """Runs a script in this process, with small settings."""
    done = call(name, *runs.words(cfg, name, *arguments)[1:], *SMALL.get(name, "").split(), cwd=Path.cwd())
    assert done.status == 0, done.err


@pytest.fixture(scope="module")
def ran(weights, tmp_path_factory):
    """A folder with all tables of a small run on moths, and its settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("results"))
        patch.setattr(toy_moths, "PER_CLASS", IMAGES)
        patch.setattr(runs, "run_script", run_here)
        for module, name, value in (
            (
                runs,
                "MOTHS_TEACHER",
                "--epochs 2 --milestones 1 --lr 0.01 --batch-size 10 --image-size 64 --eval-every 2",
            ),
            (runs, "SIMCLR", "--batch-size 10 --image-size 64"),
            (runs, "SIMCLR_EPOCHS", 1),
            (runs, "SIMCLR_DATASET", "toy"),
            (runs, "SIDE", 64),
            (runs, "SIMCLR_SIDE", 64),
            (courses, "DATASETS", ("toy",)),
            (courses, "SGD_SIDE", 64),
            (courses, "DRAWS", 2),
            (courses, "KINDS", ("none", "scout", "margin")),
            (courses, "LESSONS", 2),
            (courses, "SELECTORS", ("KMaxGrad", "random")),
            (explanations, "DATASET", "toy"),
            (explanations, "IMAGES", 3),
            (labels, "DATASET", "toy"),
        ):
            patch.setattr(module, name, value)
        cfg = results.Config(pretrained=str(weights), seed=5, workers=1, device="cpu")
        results.main(cfg)
        yield cfg


def read(name):
    with open(f"results/{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_has_its_rows_and_a_figure(ran):
    tables = {path.stem for path in Path("results").glob("*.csv")}
    moths = {f"courses_toy{variant}" for variant in ("", "_simclr", "_sgd")}
    assert tables == {
        *moths,
        "courses",
        "explanations_localization",
        "explanations_deletion",
        "labels",
        "labels_self_training",
    }
    assert {path.stem for path in Path("results").glob("*.png")} == tables - {"labels_self_training"}
    keys = [(row["selection"], row["explanation"]) for row in read("courses_toy")]
    kinds = ("none", "scout", "margin")
    assert keys == [(one, kind) for kind in kinds for one in courses.SELECTORS] + [
        (courses.POOL, kind) for kind in kinds
    ]
    assert [row["explanation"] for row in read("courses")] == ["margin", "none", "margin", "none", "scout", "none"]
    assert [row["explanation"] for row in read("explanations_localization")] == ["margin"] * 5 + ["scout"] * 5
    assert [row["explanation"] for row in read("explanations_deletion")] == [
        "margin",
        "margin",
        "scout",
        "scout",
        "disc",
        "disc",
    ]


def test_tables_contain_what_the_scripts_measured(ran):
    record = json.loads(Path("results/work/toy/annotators/run_study_annotators.json").read_text())["measured"]
    study = {(row["labels"], row["people"]): float(row["test_accuracy"]) for row in read("labels")}
    assert study[ANNOTATORS, "20.0"] == record["annotators"]["0.2"]


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


def test_a_script_that_fails_ends_the_run(tmp_path):
    (tmp_path / "work").mkdir()
    cfg = results.Config(out=str(tmp_path), data_root=str(tmp_path), device="cpu")
    with pytest.raises(
        RunError, match=r"simulate_people.py failed with exit status 2. See the end of .*simulate_people.log"
    ):
        RUN_SCRIPT(cfg, "simulate_people", "chinese_chars", tmp_path / "toy", "--seed", 4)
    assert "simulate_people.py: error: " in (tmp_path / "work/simulate_people.log").read_text()


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
    (row, _) = courses.overview("x", "optimal", "SimCLR", rows)
    assert (row["random"], row["KMaxGrad"], row[courses.POOL], row["features"]) == (56.5, 56.5, 86.5, "SimCLR")
    assert (row["KMaxGrad minus random"], row["sd of KMaxGrad minus random"]) == (0.0, 0.0)


def test_a_course_that_ends_early_is_compared_up_to_its_end():
    curves = {("random", "none"): [[30.0, 50.0, 60.0], [40.0, 40.0]], ("MaxGrad", "none"): [[20.0, 30.0, 40.0]] * 2}
    random, other = courses.table_rows(curves, {})
    assert (random["1"], random["2"], random["3"]) == (35.0, 45.0, "")
    assert (other["3"], other["minus random"]) == (40.0, -13.3)


@pytest.mark.parametrize("explain", [True, False])
def test_the_ceiling_minimizes_the_risk_of_the_whole_pool(explain, tmp_path):
    """Against SciPy, image by image."""
    images, ce_list = noise_material(tmp_path)
    how = settings(ridge=1e-2)
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)
    student = OptimalStudent(pool, images, explain, how).untaught(torch.tensor([0, 1, 2, 3, 4, 5, 7]))
    seen = student.survey(explain)
    items = [
        (features.double().numpy(), label) for features, label in zip(seen.features, seen.labels.tolist(), strict=True)
    ]
    for place, label in enumerate(seen.labels.tolist()) if explain else ():
        for counter in set(range(CLASSES)) - {label}:
            items.append((seen.explained.features[seen.table[place, counter]].double().numpy(), label))

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


def test_deletion_by_hand():
    row = explanations.deleted_columns([[3.621, 0.834, 0.999], [3.623, 0.434, -1.003]])
    assert list(row.values()) == [3.62, 0.63, 0.28, 0.0, 1.42] and str(row["lost, moved at random"]) == "0.0"


def test_seeds_are_merged_by_hand():
    def row(source, quality, seed, accuracy, share=""):
        names = ("labels", "annotator_accuracy", "seed", "label_accuracy", "test_accuracy")
        return dict(zip(names, (source, quality, seed, share, accuracy), strict=True))

    rows = [row(EXPERT, "", 0, 60.0), row(EXPERT, "", 1, 50.0)]
    rows += [row(ANNOTATORS, 0.5, 0, 50.0, 48.0), row(ANNOTATORS, 0.5, 1, 40.0, 53.0)]
    rows += [row(ANNOTATORS, 1.0, 0, 70.0, 100.0), row(ANNOTATORS, 1.0, 1, 80.0, 100.0)]
    rows += [row(SELF_TRAINED, "", 0, 75.0, ""), row(SELF_TRAINED, "", 1, 70.0, 90.0)]
    assert [tuple(one.values()) for one in labels.by_source(rows)] == [
        (EXPERT, "", "", 55.0, 7.07, 66.7, 62.5, 75.0),
        (ANNOTATORS, 50.0, 50.5, 45.0, 7.07, "", "", ""),
        (ANNOTATORS, 100.0, 100.0, 75.0, 7.07, "", "", ""),
        (SELF_TRAINED, "", 90.0, 72.5, 3.54, 95.8, 87.5, "never"),
    ]
    of_seeds = [
        {"labels": SELF_TRAINED, "round": 1, "own_labels": 0, "changed": 7, "label_accuracy": "", "test_accuracy": 75.0}
    ]
    of_seeds += [of_seeds[0] | {"own_labels": 7.0, "label_accuracy": 90.0, "test_accuracy": 70.0}]
    of_seeds = [
        {name: float(value) if isinstance(value, int) else value for name, value in one.items()} for one in of_seeds
    ]
    assert [tuple(one.values()) for one in labels.self_training(of_seeds)] == [(SELF_TRAINED, 1, 3.5, 7.0, 90.0, 72.5)]
