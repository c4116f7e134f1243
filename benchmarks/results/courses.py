"""Which course teaches a machine student best? Selections and explanations compared on random parts of the pool."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from benchmarks.results import runs
from train_butterflies_CMaxGrad import Config as Teaching
from utils.base import figures
from utils.base.files import write_json
from utils.base.machine import processors, side_by_side
from utils.data.catalog import find
from utils.data.images import eval_view, whole_view
from utils.data.loading import open_list
from utils.running.settings import pick
from utils.teaching.course import REPORTED_LESSONS
from utils.teaching.draws import drawn_rows
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent, learn_head
from utils.teaching.pool import ExplanationView, Pool
from utils.teaching.registry import SELECTORS, STUDENTS, make_selector
from utils.teaching.selector import Choice
from utils.teaching.student import Student, StudentSettings

DATASETS = (runs.BUTTERFLIES, "chinese_chars", "CUBgull_standin")
LESSONS, MAX_GRAD_NORM = 20, 100.0  # without the maximum, the student as published diverged on random pairs
DRAWS = {"optimal": 6, "sgd": 2}  # by student; a course of the student as published takes half an hour
POOL, NONE = "the whole pool", "none"
KINDS = (NONE, "scout", "margin", "disc")
DEFAULT = {"optimal": "margin", "sgd": "scout"}  # each student's default explanations
# The student as published is taught scout's explanations. CMaxGrad without explanations is MaxGrad.
PUBLISHED = {NONE: ["MaxGrad", "KMaxGrad", "random"], "scout": ["CMaxGrad", "random", "KMaxGrad"]}
RIVALS = ("random", "MaxHerding")
COMPARED = (("KMaxGrad", "random"), ("KMaxGrad", "MaxHerding"), ("CMaxGrad", "random"))

Curves = Sequence[Sequence[float]]  # test accuracy (%) after each lesson, for each draw


def make(cfg) -> None:
    """Makes the table of teachers, a table for each dataset, one for SimCLR features, and the overview."""
    runs.save_table(cfg, "teachers", [compared_teachers(cfg, dataset) for dataset in DATASETS])
    groups = []
    for dataset in DATASETS:
        groups += overview(dataset, "pretrained", make_table(cfg, dataset))
    groups += overview(DATASETS[0], "SimCLR", make_table(cfg, DATASETS[0], from_simclr=True))
    runs.save_table(cfg, "courses", groups)


def compared_teachers(cfg, dataset: str) -> dict:
    """Returns the test accuracy (%) of the fine-tuned teacher and of a linear head on frozen features."""
    records = {
        "fine-tuned": runs.teacher(cfg, dataset).run_record("train_butterflies_resnet18"),
        "linear head": runs.linear_head(cfg, dataset).run_record("train_gull_resnet18_linear"),
    }
    found = {name: json.loads(path.read_text())["measured"]["test_accuracy"] for name, path in records.items()}
    return {"dataset": dataset} | {name: round(accuracy, 1) for name, accuracy in found.items()}


def make_table(cfg, dataset: str, student: str = "optimal", from_simclr: bool = False) -> list[dict]:
    """Teaches all courses of a table and saves it."""
    name = f"courses_{dataset}{'_simclr' if from_simclr else ''}{'_sgd' if student == 'sgd' else ''}"
    side = runs.SIMCLR_SIDE if from_simclr else runs.SIDE
    view: ExplanationView = "image" if student == "sgd" else "attention"
    root = runs.data_root(cfg, dataset)
    pretrained = str(runs.simclr(cfg)) if from_simclr else cfg.pretrained
    shared = {setting: getattr(cfg, setting) for setting in ("seed", "workers", "device")}
    how = Teaching(image_size=side, pretrained=pretrained, max_grad_norm=MAX_GRAD_NORM, **shared)
    described = find(dataset, root)
    train = open_list(described, "train", root, partial(whole_view, size=side), ram_budget=2.0)
    test = open_list(described, "test", root, partial(eval_view, size=side), ram_budget=2.0)
    curves: dict[tuple[str, str], Curves] = {}
    ceilings: dict[str, list[float]] = {}
    compared = PUBLISHED if student == "sgd" else {kind: list(SELECTORS) for kind in KINDS}
    for kind, selections in compared.items():
        ce_list = None if kind == NONE else str(runs.explain(cfg, dataset, kind, from_simclr).explanation_list())
        pool = Pool(train, ce_list, len(described.classes), view, side, 1 if student == "sgd" else how.outlined_share)
        whole = STUDENTS[student](pool, test, kind != NONE, pick(StudentSettings, how))
        for selection in selections:
            print(f"{name}: {selection}, explanations: {kind}", flush=True)
            course = partial(teach_draws, whole, selection, how.alpha, cfg.seed, DRAWS[student])
            curves[selection, kind] = kept(cfg, f"{name}/{kind}_{selection}", course)
        if student == "optimal":
            ceilings[kind] = kept(cfg, f"{name}/{kind}", partial(ceiling_of_draws, whole, cfg.seed, how.ridge))
    rows = table_rows(curves, ceilings)
    runs.save_table(cfg, name, rows)
    shown = {one: shortest(some) for (one, kind), some in curves.items() if kind == DEFAULT[student]}
    means = {one: table.mean(0) for one, table in shown.items()}
    bands = {one: (means[one] - table.std(0), means[one] + table.std(0)) for one, table in shown.items()}
    path, lessons = Path(cfg.out, f"{name}.png"), range(1, LESSONS + 1)
    figures.curves(path, means, lessons, "lessons", "student's test accuracy (%)", ranges=bands)
    return rows


def kept(cfg, name: str, compute: Callable[[], object]):
    """Computes JSON values and keeps them in <out>/work. With --resume, reads those of an interrupted run."""
    path = Path(cfg.out, "work/courses", f"{name}.json")
    if not (cfg.resume and path.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, compute())
    return json.loads(path.read_text(encoding="utf-8"))


def teach_draws(whole: Student, selection: str, alpha: float, seed: int, draws: int) -> list[list[float]]:
    """Teaches one student per draw of the pool. Returns test accuracies (%) after each lesson."""
    # Created one after the other, because their heads are drawn from PyTorch's global generator.
    students = [whole.untaught(drawn_rows(len(whole.labels), seed, draw)) for draw in range(draws)]

    def course(draw: int) -> list[float]:
        lessons = teach(students[draw], make_selector(selection, alpha, seed, draw), LESSONS)
        return [lesson.test_accuracy for lesson in lessons]

    return list(side_by_side(course, range(draws), processors()))


def ceiling_of_draws(whole: OptimalStudent, seed: int, ridge: float) -> list[float]:
    """Returns for each draw the test accuracy (%) of a student that learned the whole draw."""
    return [
        ceiling(whole.untaught(drawn_rows(len(whole.labels), seed, draw)), ridge) for draw in range(DRAWS["optimal"])
    ]


def ceiling(student: OptimalStudent, ridge: float) -> float:
    """Returns the test accuracy (%) of an optimal student that learned all images and explanations of its pool."""
    survey = student.survey(student.explain)
    features, labels = [survey.seen.features], [survey.labels]
    if survey.seen.explained:
        image, counter = (survey.table >= 0).nonzero(as_tuple=True)
        features.append(survey.seen.explained.features[survey.table[image, counter]])
        labels.append(survey.labels[image])
    head = learn_head(torch.cat(features).double(), torch.cat(labels), survey.num_classes, ridge)
    other = int((survey.labels != survey.labels[0]).nonzero()[0])
    student.add(Choice(0, other, int(survey.labels[other]), {}, None))  # accuracy() needs a teaching set
    student.load_state_dict({"head": head})
    return student.accuracy()[1]


def shortest(curves: Curves) -> np.ndarray:
    """Returns the curves (draws, lessons), cut to the shortest."""
    return np.array([curve[: min(map(len, curves))] for curve in curves])


def table_rows(curves: Mapping[tuple[str, str], Curves], ceilings: Mapping[str, Sequence[float]]) -> list[dict]:
    """Returns the rows of a table.

    Args:
        curves: by selection and kind of explanation, for each draw the test accuracies (%) after each lesson.
        ceilings: by kind of explanation, for each draw the test accuracy (%) after the whole pool.
    """
    cut = {key: shortest(some) for key, some in curves.items()}
    longest = max(table.shape[1] for table in cut.values())
    means = {key: [fmean(curve) for curve in some] for key, some in curves.items()}
    means |= {(POOL, kind): list(values) for kind, values in ceilings.items()}
    rows = []
    for (selection, kind), values in means.items():
        row: dict = {"selection": selection, "explanation": kind}
        table = cut.get((selection, kind), np.empty((0, 0)))
        for lesson in [lesson for lesson in REPORTED_LESSONS if lesson <= longest]:
            row[str(lesson)] = round(float(table[:, lesson - 1].mean()), 1) if lesson <= table.shape[1] else ""
        row |= {"mean": round(fmean(values), 1), "sd": sd(values)}
        for rival in RIVALS:
            row |= difference(rival, values, means.get((rival, kind)) if selection not in (rival, POOL) else None)
        rows.append(row | difference("none", values, means.get((selection, NONE)) if kind != NONE else None))
    return rows


def sd(values: Sequence[float]) -> float | str:
    """Returns the standard deviation over the draws; empty for a single draw."""
    return round(stdev(values), 1) if len(values) > 1 else ""


def difference(name: str, values: Sequence[float], others: Sequence[float] | None) -> dict:
    """Returns mean and standard deviation of the differences, draw by draw; empty without `others`."""
    if others is None:
        return {f"minus {name}": "", f"sd of minus {name}": ""}
    differences = [one - other for one, other in zip(values, others, strict=True)]
    return {f"minus {name}": round(fmean(differences), 1) + 0.0, f"sd of minus {name}": sd(differences)}


def overview(dataset: str, features: str, rows: Sequence[dict]) -> list[dict]:
    """Returns a table's rows of the overview: with the default explanations, and without explanations."""
    found = []
    for kind in (DEFAULT["optimal"], NONE):
        of_kind = {row["selection"]: row for row in rows if row["explanation"] == kind}
        one = {"dataset": dataset, "features": features, "explanation": kind}
        one |= {name: of_kind[name]["mean"] if name in of_kind else "" for name in (*SELECTORS, POOL)}
        for name, rival in COMPARED:
            row = of_kind.get(name, {})
            one[f"{name} minus {rival}"] = row.get(f"minus {rival}", "")
            one[f"sd of {name} minus {rival}"] = row.get(f"sd of minus {rival}", "")
        found.append(one)
    return found
