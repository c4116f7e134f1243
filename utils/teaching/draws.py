"""Extra courses on random subsets of the pool, to estimate the variance."""

import json
from collections.abc import Callable
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
    """Draws SHARE of the rows 0 .. count-1, in ascending order. Depends only on (seed, draw)."""
    order = torch.randperm(count, generator=generator(seed, draw, 1))
    return order[: round(SHARE * count)].sort().values


def run_draws(
    student: Student,
    selector_of: Callable[[int], Selector],
    draws: int,
    iterations: int,
    seed: int,
    path: Path,
    unfinished: Unfinished,
) -> dict:
    """Teaches one untaught student per draw and writes a CSV of `draw`, `lesson` (from 1) and `test_accuracy` (%).

    `student` has the whole pool and is left unchanged. Without draws or test labels, an earlier CSV is removed. Returns
    the mean over the lessons of each draw, and the mean of those.
    """
    draws = draws if student.test.num_known else 0
    kept = unfinished.folder / "draws.json"
    curves = json.loads(kept.read_text()) if kept.exists() else []  # of an interrupted run
    processes.wait()  # every rank reads the state before rank 0 overwrites it
    disabled = draws == 0 or not processes.is_first()
    missing = range(len(curves), draws)
    for draw in tqdm(missing, total=draws, initial=len(curves), desc="draws", unit="course", disable=disabled):
        untaught = student.untaught(drawn_rows(len(student.labels), seed, draw))
        curves.append([lesson.test_accuracy for lesson in teach(untaught, selector_of(draw), iterations)])
        processes.first_only(write_json)(kept, curves)
    if not any(curves):
        processes.first_only(path.unlink)(missing_ok=True)
        return {}
    rows = [
        {"draw": draw, "lesson": lesson, "test_accuracy": round(accuracy, 3)}
        for draw, curve in enumerate(curves)
        for lesson, accuracy in enumerate(curve, start=1)
    ]
    processes.first_only(write_table)(path, rows)
    processes.say(f"Draws: {path}")
    means = [round(float(np.mean(curve)), 2) for curve in curves if curve]
    return {"draws": {"test_accuracy_mean": round(float(np.mean(means)), 2), "of_each": means}}
