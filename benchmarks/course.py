"""A whole course of the optimal student, and its limit: looking once at every image of the pool and of the test list."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import limits
from benchmarks.explanations import whole
from benchmarks.lesson import ARCH, student_settings
from benchmarks.report import Row
from benchmarks.timing import Work
from utils.data.lists import Example
from utils.data.loading import ImageSet, to_float
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.registry import Selection, make_selector
from utils.teaching.student import make_network

LESSONS = 20
RIDGE = 1e-3  # that of the teaching scripts
SELECTION: Selection = "KMaxGrad"  # the one that computes most


class Course:
    """The pieces of work of a course. Its images are in memory.

    Args:
        images: the pool's, in the whole view.
        test: the test list, in test view.
        ce_list: explanations of the pool.
        num_classes: C.
        cfg: settings of the benchmark.
    """

    def __init__(
        self, images: ImageSet[Example], test: ImageSet[Example], ce_list: Path, num_classes: int, cfg
    ) -> None:
        self.cfg, self.test = cfg, test
        self.taught = 0  # lessons of the last course; fewer than LESSONS where no pair remained
        self.pool = Pool(images, str(ce_list), num_classes, "attention", cfg.image_size)
        network = make_network(ARCH, num_classes, cfg.pretrained, cfg.seed, cfg.device)
        for row in range(len(self.pool.rows)):
            self.pool.weights(row, network.grid(cfg.image_size))
        floats = torch.cat([to_float(whole(some), cfg.device) for some in (images, self.test)])
        self.forward = limits.BareForward(network, floats, cfg.device)
        self.prepared = self.forward.prepare(floats)

    def works(self) -> dict[str, Work]:
        """What is timed."""
        return {"course": lambda _: self.ours(), "limit of course": lambda _: self.forward(self.prepared)}

    def ours(self) -> None:
        """The product's course, from a new student to the accuracy after the last lesson."""
        cfg = self.cfg
        how = replace(student_settings(cfg), ridge=RIDGE)
        student = OptimalStudent(self.pool, self.test, True, how)
        selector = make_selector(SELECTION, 0.5, cfg.seed)
        self.taught = sum(1 for _ in teach(student, selector, LESSONS))

    def rows(self, times: dict[str, dict[str, list[float]]]) -> list[Row]:
        """The table's row of what `works` took, by image of pool and test list."""
        ours, limit = (np.array(times[name]["wall"]) / (len(self.pool) + len(self.test)) for name in self.works())
        return [Row(f"course of {self.taught} lessons, optimal student (limit: forward)", ours, None, limit, None, 1.3)]
