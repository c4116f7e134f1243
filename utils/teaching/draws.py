"""Extra courses on random subsets of the pool, to estimate the variance."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from utils.base import processes
from utils.base.files import write_json, write_table
from utils.base.randomness import generator
from utils.running.resuming import Unfinished
from utils.teaching.loop import teach
from utils.teaching.selector import Selector
from utils.teaching.student import Student

SHARE = 0.8  # of the pool in each draw


def drawn_rows(count: int, seed: int, draw: int) -> Tensor:
    """A random subset of a pool: SHARE of the rows 0 .. count-1, ascending. Depends only on (seed, draw)."""
    order = torch.randperm(count, generator=generator(seed, draw, 1))
    return order[: round(SHARE * count)].sort().values


def draw_courses(
    student: Student, selector_of: Callable[[int], Selector], draws: Sequence[int], iterations: int, seed: int
) -> Iterator[list[float]]:
    """Teaches one untaught student per draw.

    Args:
        student: a student with the whole pool; it does not change.
        selector_of: makes the selector of a draw.
        draws: numbers of the draws.
        iterations: lessons of each course.
        seed: of the subsets.

    Yields:
        Test accuracy in percent after each lesson; empty if the subset contains only one class.
    """
    for draw in draws:
        untaught = student.untaught(drawn_rows(len(student.labels), seed, draw))
        yield [lesson.test_accuracy for lesson in teach(untaught, selector_of(draw), iterations)]


def run_draws(
    student: Student,
    selector_of: Callable[[int], Selector],
    draws: int,
    iterations: int,
    seed: int,
    path: Path,
    unfinished: Unfinished,
) -> dict:
    """Teaches all draws and writes their curves to a CSV; draws of an interrupted run are not repeated.

    Returns:
        The mean over the lessons of each draw, and the mean of those; nothing if there is nothing to measure.
    """
    draws = draws if student.test.num_known else 0
    kept = unfinished.folder / "draws.json"
    curves = json.loads(kept.read_text()) if kept.exists() else []
    processes.wait()  # every rank reads the state before rank 0 overwrites it
    courses = draw_courses(student, selector_of, range(len(curves), draws), iterations, seed)
    disabled = draws == 0 or not processes.is_first()
    for curve in tqdm(courses, total=draws, initial=len(curves), desc="draws", unit="course", disable=disabled):
        curves.append(curve)
        processes.first_only(write_json)(kept, curves)
    taught = [curve for curve in curves if curve]
    if not taught:
        processes.first_only(path.unlink)(missing_ok=True)  # draws of an earlier run do not belong to this course
        return {}
    write_draws(path, curves)
    processes.say(f"Draws: {path}")
    means = [round(float(np.mean(curve)), 2) for curve in taught]
    return {"draws": {"test_accuracy_mean": round(float(np.mean(means)), 2), "of_each": means}}


@processes.first_only
def write_draws(path: Path, curves: Sequence[Sequence[float]]) -> None:
    """Writes test accuracies (%) as a table of `draw`, `lesson` (from 1) and `test_accuracy`."""
    rows = [
        {"draw": draw, "lesson": lesson, "test_accuracy": round(accuracy, 3)}
        for draw, curve in enumerate(curves)
        for lesson, accuracy in enumerate(curve, start=1)
    ]
    write_table(path, rows)
