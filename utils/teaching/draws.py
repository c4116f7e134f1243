"""Courses from random parts of the pool: how much of a course's success is the luck of its pool."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from utils.base import processes
from utils.base.files import write_json, write_table
from utils.base.randomness import generator
from utils.running.resuming import Unfinished
from utils.teaching.choice import Selector
from utils.teaching.loop import teach
from utils.teaching.student import Student

SHARE = 0.8  # of the pool that a draw takes


@dataclass(frozen=True)
class DrawSettings:
    """Settings of the draws: how many, lessons of each course, and the seed."""

    draws: int
    iterations: int
    seed: int


def drawn_rows(count: int, seed: int, draw: int) -> Tensor:
    """A random part of a pool: SHARE of the rows 0 .. count-1, ascending; depends on (seed, draw) alone."""
    order = torch.randperm(count, generator=generator(seed, draw, 1))
    return order[: round(SHARE * count)].sort().values


def draw_courses(
    student: Student, selector_of: Callable[[int], Selector], how: DrawSettings, begin: int = 0
) -> Iterator[list[float]]:
    """Teaches one untaught student per draw.

    Args:
        student: who knows the whole pool and the test list; stays as it is.
        selector_of: makes the selector of a draw.
        how: settings.
        begin: the first draw.

    Yields:
        Test accuracy after each lesson, in percent, of draw after draw; of a draw with images of one class alone there are no lessons.
    """
    for draw in range(begin, how.draws):
        pupil = student.anew(drawn_rows(len(student.labels), how.seed, draw))
        yield [lesson.test_accuracy for lesson in teach(pupil, selector_of(draw), how.iterations, quiet=True)]


def run_draws(
    student: Student, selector_of: Callable[[int], Selector], how: DrawSettings, path: Path, unfinished: Unfinished
) -> dict:
    """Teaches all draws and writes their curves; draws that an interrupted run has taught are not taught again.

    Args:
        student, selector_of, how: as in `draw_courses`.
        path: the CSV, a row per draw and lesson.
        unfinished: the run.

    Returns:
        What was measured: the mean over lessons of each draw, and the mean of those; nothing where there are no draws, where none of them
        has two classes, or where the classes of the test list are unknown.
    """
    if not how.draws:
        processes.first_only(path.unlink)(missing_ok=True)  # an earlier run's draws are not of this course
        return {}
    kept = unfinished.folder / "draws.json"
    curves = json.loads(kept.read_text()) if kept.exists() else []
    processes.wait()  # nobody writes before all have read
    course = draw_courses(student, selector_of, how, begin=len(curves))
    for curve in tqdm(
        course, total=how.draws, initial=len(curves), desc="draws", unit="course", disable=not processes.is_first()
    ):
        if any(map(math.isnan, curve)):
            processes.say("Draws: none are made, for nothing can be measured on this test list.")
            processes.first_only(path.unlink)(missing_ok=True)
            return {}
        curves.append(curve)
        processes.first_only(write_json)(kept, curves)
    taught = [curve for curve in curves if curve]
    if len(taught) < len(curves):
        processes.say(
            f"Draws: {len(curves) - len(taught)} of {len(curves)} hold images of one class alone, and are no courses."
        )
    if not taught:
        processes.first_only(path.unlink)(missing_ok=True)
        return {}
    write_draws(path, curves)
    processes.say(f"Draws: {path}")
    means = [round(float(np.mean(curve)), 2) for curve in taught]
    return {"draws": {"test_accuracy_mean": round(float(np.mean(means)), 2), "of_each": means}}


@processes.first_only
def write_draws(path: Path, curves: Sequence[Sequence[float]]) -> None:
    """Writes test accuracies (%) as a table of `draw`, `lesson` (from 1) and `test_accuracy`."""
    write_table(
        path,
        [
            {"draw": draw, "lesson": lesson, "test_accuracy": round(accuracy, 3)}
            for draw, curve in enumerate(curves)
            for lesson, accuracy in enumerate(curve, start=1)
        ],
    )
