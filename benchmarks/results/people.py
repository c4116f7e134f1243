"""Real people: how well each student predicts what people of the public logs answered after their lessons, and what follows for courses.

Every machine student is taught exactly the pictures that a person was shown, in order, and then asked what that person was asked.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.results import people_tables
from benchmarks.results.table import Table
from benchmarks.results.work import Work
from train_butterflies_CMaxGrad import Config as TeachingScript
from utils.base.errors import InputError
from utils.base.files import file_digest
from utils.data.catalog import DATASETS, Dataset, find
from utils.data.images import eval_view, whole_view
from utils.data.loading import open_list
from utils.people import prediction
from utils.people.attention import attended
from utils.people.prediction import Asked, Predictor
from utils.people.pupils import PUPILS, Schooling, Taught
from utils.people.shown import LOG, TABLE, Learner, read_learners, table_folder
from utils.running.settings import pick
from utils.teaching.choice import logits_of
from utils.teaching.draws import drawn_rows
from utils.teaching.exemplar import ExemplarStudent
from utils.teaching.frozen import FrozenStudent
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent, learn_head, raw_head
from utils.teaching.pool import Pool
from utils.teaching.selection import Selection, SelectorSettings, make_selector
from utils.teaching.sgd import make_network
from utils.teaching.student import StudentSettings
from utils.teaching.students import StudentKind
from utils.training.evaluation import share_right
from utils.training.features import FeatureMaps

FOLDS = 5
DRAWS = 10  # courses of each selection, each from another 80 % of the pool
LESSONS = 10  # pairs: as many pictures as people were shown
EXPERIMENTS = ("butterflies_crop", "chinese_chars")
Chooser = type[OptimalStudent] | type[ExemplarStudent]
CHOSEN: tuple[tuple[str, Selection, Chooser], ...] = (
    ("random pairs", "random", OptimalStudent),
    ("KMaxGrad, picked for the optimal student", "KMaxGrad", OptimalStudent),
    ("KMaxGrad, picked for the exemplar student", "KMaxGrad", ExemplarStudent),
)


def tables(work: Work) -> list[Table]:
    """The tables `people` and `people_courses`; empty, with a sentence that says why, where the logs are not there."""
    measured, said = [], []
    for path in sources(work):
        try:
            measured.append(work.kept(f"people/{path.parent.name}", partial(_measured, work, path), _depends_on(path)))
        except InputError as error:
            print(f"Left out: {error}", flush=True)
            # The page is the same wherever the data lies: it names the folder as its commands do.
            said.append(
                f"Left out: {str(error).replace(os.path.normpath(work.data_root) + os.sep, f'datasets{os.sep}')}"
            )
    return people_tables.made(measured, said)


def sources(work: Work) -> list[Path]:
    """The table of each experiment: the one that the setting gives, and those of others beside it."""
    first = (
        Path(work.data_root, "explain_teach", EXPERIMENTS[0], TABLE)
        if work.teaching_images == "auto"
        else Path(work.teaching_images)
    )
    beside = [first.parent.parent / name / TABLE for name in EXPERIMENTS]
    return [first, *(path for path in beside if path != first and path.parent.exists())]


def _depends_on(path: Path) -> dict:
    """What is measured on an experiment depends on, besides pictures and weights.

    Raises:
        InputError: its table or its log is not there.
    """
    if not path.exists():
        raise InputError(
            f"{path} is absent, so the pictures of {path.parent.name} that people saw are unknown; give --teaching-images."
        )
    log = path.with_name(LOG)
    if not log.exists():
        raise InputError(
            f"{log} is absent, so what people of {path.parent.name} answered is unknown; put it beside {TABLE}."
        )
    sizes = {"folds": FOLDS, "draws": DRAWS, "lessons": LESSONS}
    return sizes | {one.name: file_digest(one, "sha256") for one in (path, log)}


@dataclass(frozen=True)
class Seen:
    """The pictures of an experiment through a network of frozen features.

    Attributes:
        dataset: whose lists they stand in.
        student: who sees the training list as its pool; untaught.
        attended: standardised features of the explained regions of the training list, (N, d).
        network_taught_all: codewords learned from the whole training list, (C, d).
        school: what all students have in common.
        train, test: the row of each path in its list.
    """

    dataset: Dataset
    student: FrozenStudent
    attended: Tensor
    network_taught_all: Tensor
    school: Schooling
    train: dict[str, int]
    test: dict[str, int]

    def taught(self, rows: Sequence[int], attention: bool) -> Taught:
        """Lessons of these rows of the training list, in order."""
        seen = self.student.features
        items = [torch.stack([seen.images[row], *([self.attended[row]] if attention else [])]) for row in rows]
        return Taught(items, seen.labels[list(rows)])

    def strengths(self, kind: StudentKind, taught: Taught) -> Tensor:
        """What a student of a kind makes of the test list after these lessons, float64 (T, C)."""
        return PUPILS[kind](taught, self.student.features.test, self.school)


def _measured(work: Work, path: Path) -> dict:
    """All that is measured on an experiment, as JSON values.

    Raises:
        InputError: something is missing, or table and log do not agree.
    """
    dataset = _dataset_of(table_folder(path), work.data_root)
    learners = read_learners(path, path.with_name(LOG), dataset.classes)
    seen = _looked_at(work, dataset)
    _refuse_unlisted(learners, seen, path)
    asked = _asked(learners, seen)
    ways = tqdm(list(product(PUPILS, (False, True))), desc="students of people's lessons", unit="student")
    students = {way: _answers(learners, seen, *way) for way in ways}
    answers = {people_tables.named(*way): strengths for way, strengths in students.items()}
    answers[people_tables.NETWORK] = logits_of(seen.student.features.test, seen.network_taught_all)[asked.image]
    every = np.array([len({listed.label for listed in learner.lessons}) == asked.num_classes for learner in learners])
    some = {people_tables.EVERYBODY: np.ones(len(asked.truth), dtype=bool), people_tables.WHOLLY: every[asked.person]}
    rows = [row for name, chosen in some.items() for row in _predictions(work, name, chosen, asked, answers)]
    found = {
        row["predictor"]: np.mean(row["with_table"] or -np.inf)
        for row in rows
        if row["people"] == people_tables.EVERYBODY
    }
    best = max(students, key=lambda way: found[people_tables.named(*way)])
    return {
        "dataset": dataset.name,
        "people": len(learners),
        "answers": len(asked.truth),
        "right": 100 * float(asked.right.mean()),
        "predictions": rows,
        "best": people_tables.named(*best),
        "courses": list(_courses(work, learners, seen, asked, best, students[best])),
    }


def _dataset_of(folder: str, data_root: str) -> Dataset:
    return next((dataset for dataset in DATASETS.values() if dataset.folder == folder), None) or find(folder, data_root)


def _looked_at(work: Work, dataset: Dataset) -> Seen:
    """The lists of a dataset through the network, explained regions too."""
    script = TeachingScript(
        pretrained=work.pretrained, freeze_features=True, seed=work.seed, workers=work.workers, device=work.device
    )
    how = pick(StudentSettings, replace(script, image_size=64) if work.quick else script)
    views = {"train": whole_view, "test": eval_view}
    images = {
        split: open_list(dataset, split, work.data_root, partial(view, size=how.image_size))
        for split, view in views.items()
    }
    num_classes = len(dataset.classes)
    student = OptimalStudent(
        Pool(images["train"], None, num_classes, "attention", how.image_size), images["test"], False, how
    )
    print(f"looking at {len(images['train'])} and {len(images['test'])} pictures of {dataset.name}", flush=True)
    seen = student.features
    codewords = learn_head(seen.images.double(), seen.labels, num_classes, how.ridge)
    network = make_network(how.arch, num_classes, how.pretrained, how.seed, how.device, freeze_features=True)
    maps = FeatureMaps(network, images["train"], how.batch_size, how.workers, how.device, budget=0)
    regions = (attended(maps, raw_head(codewords, seen), how.image_size) - seen.mean) / seen.scale
    school = Schooling(num_classes, how, network.linear_head.weight.detach().cpu(), seen.mean, seen.scale)
    train, test = ({row.path: number for number, row in enumerate(images[split].rows)} for split in ("train", "test"))
    return Seen(dataset, student, regions.float(), codewords, school, train, test)


def _refuse_unlisted(learners: Sequence[Learner], seen: Seen, path: Path) -> None:
    """Proves that lessons are of the training list and tests of the test list.

    Raises:
        InputError: with counts.
    """
    lessons = sum(listed.path not in seen.train for learner in learners for listed in learner.lessons)
    tests = sum(listed.path not in seen.test for learner in learners for listed in learner.tested)
    if lessons or tests:
        name = seen.dataset.name
        raise InputError(
            f"{path}: {lessons} lessons are not in the training list of {name}, {tests} questions not in its test list."
        )


def _asked(learners: Sequence[Learner], seen: Seen) -> Asked:
    """The answers of the tests, person by person; pictures are rows of the test list."""
    entries = [
        (number, seen.test[listed.path], listed.label, response)
        for number, learner in enumerate(learners)
        for listed, response in zip(learner.tested, learner.responses, strict=True)
    ]
    person, image, truth, response = np.array(entries).T
    return Asked(person, image, truth, response, seen.school.num_classes)


def _lessons(learner: Learner, seen: Seen) -> list[int]:
    return [seen.train[listed.path] for listed in learner.lessons]


def _answers(learners: Sequence[Learner], seen: Seen, kind: StudentKind, attention: bool) -> Tensor:
    """What the student of each person's lessons makes of that person's test, float64 (M, C), in the order of `_asked`."""
    lists = {tuple(_lessons(learner, seen)) for learner in learners}  # who were shown the same have the same student
    students = {rows: seen.strengths(kind, seen.taught(rows, attention)) for rows in sorted(lists)}
    tests = [[seen.test[listed.path] for listed in learner.tested] for learner in learners]
    return torch.cat(
        [students[tuple(_lessons(learner, seen))][rows] for learner, rows in zip(learners, tests, strict=True)]
    )


def _predictions(
    work: Work, people: str, chosen: np.ndarray, everything: Asked, answers: dict[str, Tensor]
) -> Iterator[dict]:
    """A row per predictor of some people, with a value of every fold: first students and networks, then what knows nothing of lessons.

    Args:
        work: with what.
        people: what these people are called.
        chosen: which answers are theirs, bool (M,); without any there are no rows.
        everything: the answers of all.
        answers: strengths (M, C) by predictor.
    """
    asked, count = everything.of(chosen), len(np.unique(everything.person[chosen]))
    if count < 2:
        return
    folds, truth = (
        prediction.folds_of(asked.person, min(2 if work.quick else FOLDS, count), work.seed),
        torch.from_numpy(asked.truth),
    )
    common = {"people": people, "count": count}
    for name, strengths in tqdm(answers.items(), desc=f"predicting people ({people})", unit="student"):
        z = strengths[torch.from_numpy(chosen)]
        ways = prediction.student(z.numpy()), prediction.student_with_table(z.numpy())
        alone, beside = (prediction.cross_validated(asked, folds, predict) for predict in ways)
        yield common | _row(name, alone, share_right(z.softmax(1), truth), beside.log_likelihood)
    plain: dict[str, Predictor] = {
        "other people's answers to the image": prediction.others,
        "confusion table": prediction.table,
        "chance": prediction.chance,
    }
    for name, predict in plain.items():
        yield common | _row(name, prediction.cross_validated(asked, folds, predict))


def _row(
    name: str, scores: prediction.Scores, right: float | None = None, with_table: np.ndarray | None = None
) -> dict:
    values = {
        "predictor": name,
        "right": right,
        "log_likelihood": scores.log_likelihood.tolist(),
        "auc": scores.auc.tolist(),
    }
    return values | {"with_table": None if with_table is None else with_table.tolist()}


def _courses(
    work: Work, learners: Sequence[Learner], seen: Seen, asked: Asked, best: tuple[StudentKind, bool], answers: Tensor
) -> Iterator[dict]:
    """What the best student reaches by courses on all questions that were asked, and what people would, in percent.

    Args:
        work, learners, seen, asked: as above.
        best: the student that stands for people: its kind, and whether explanations are taught.
        answers: its strengths for the answers, (M, C), to which it is fitted.

    Yields:
        A row per course with a value for each of its draws, or for each person who was taught so; of these also what they reached.
    """
    kind, attention = best
    prior, everyone = prediction.log_table(asked)[asked.truth], np.arange(len(asked.truth))
    people = prediction.calibrate(answers.numpy(), asked.response, prior)

    def predicted(strengths: Tensor) -> float:
        return 100 * float(np.exp(people.log_shares(strengths.numpy(), prior)[everyone, asked.truth]).mean())

    def row(name: str, courses: Sequence[Sequence[int]], reached: Sequence[float] = ()) -> dict:
        strengths = [seen.strengths(kind, seen.taught(rows, attention))[asked.image] for rows in courses]
        student = [share_right(one.softmax(1), torch.from_numpy(asked.truth)) for one in strengths]
        return {
            "course": name,
            "student": student,
            "predicted": [predicted(one) for one in strengths],
            "reached": list(reached),
        }

    draws = range(2 if work.quick else DRAWS)
    for name, selection, chooser in CHOSEN:
        yield row(
            name, [_course(work, seen, selection, chooser, draw) for draw in tqdm(draws, desc=name, unit="course")]
        )
    for group in sorted({learner.group for learner in learners}):
        members = [learner for learner in learners if learner.group == group]
        reached = [
            100 * float(np.mean([r == t.label for t, r in zip(m.tested, m.responses, strict=True)])) for m in members
        ]
        lists = list({tuple(_lessons(member, seen)): None for member in members})
        yield row(f"{group}, {'one list' if len(lists) == 1 else 'their own lists'}", lists, reached)


def _course(work: Work, seen: Seen, selection: Selection, chooser: Chooser, draw: int) -> list[int]:
    """The pictures of a course from a random part of the training list, in order: as many as people were shown."""
    part = drawn_rows(len(seen.train), work.seed, draw)
    selector = make_selector(SelectorSettings(selection, TeachingScript.alpha, work.seed), draw)
    lessons = teach(chooser.sharing(seen.student, part), selector, LESSONS, quiet=True)
    return [int(part[row]) for lesson in lessons for row in (lesson.choice.image, lesson.choice.partner)]
