"""An iteration of a course: ours, the released procedure's, and its limit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import baseline, limits
from benchmarks.explanations import explain, subset, whole
from benchmarks.report import Row
from benchmarks.timing import Work
from models.resnet import Arch, Network
from utils.data.lists import Example, locate
from utils.data.loading import ImageSet, to_float
from utils.data.outputs import TEACHING_SIZE, Layout
from utils.teaching.course import teaching_rows
from utils.teaching.loop import teach
from utils.teaching.pool import ExplanationView, Pool
from utils.teaching.registry import make_selector
from utils.teaching.sgd import SGDStudent
from utils.teaching.student import StudentSettings, make_network, margin_risk

ARCH: Arch = "resnet18"  # of the networks that are measured: the paper's
# Those of the teaching scripts, but for a learning rate at which students of any weights, random ones too, stay what they are.
LR, MOMENTUM, WEIGHT_DECAY = 1e-9, 0.9, 1e-4
STEPS = 10
# Target: so many times as fast as the released procedure. It is one for the scripts' default view; in the other, ours must look at as
# many pictures as the released procedure, and on a CPU even the limit is not twice as fast.
FASTER = {"cpu": 2, "cuda": 20}


def student_settings(cfg) -> StudentSettings:
    """What every student of the benchmark has in common; what only some kinds of students read is 0."""
    return StudentSettings(
        arch=ARCH,
        pretrained=cfg.pretrained,
        ridge=0.0,
        freeze_features=False,
        steps=0,
        lr=0.0,
        momentum=0.0,
        weight_decay=0.0,
        max_grad_norm=0.0,
        image_size=cfg.image_size,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        workers=cfg.workers,
        device=cfg.device,
    )


class Lesson:
    """The pieces of work of one iteration of a course: score the pool, choose, learn, look at the test list.

    The product's course goes on from round to round; the others train on what it has taught by then. Its images are in memory, as they
    are from a course's second lesson on.

    Args:
        network: explains the pool.
        images: the training list, in the whole view.
        test: the test list, in test view.
        classes: class names.
        view: how our student sees explanations; the released one always sees pictures.
        cfg: settings of the benchmark.
        folder: for the explanations.
    """

    def __init__(
        self,
        network: Network,
        images: ImageSet[Example],
        test: ImageSet[Example],
        classes: tuple[str, ...],
        view: ExplanationView,
        cfg,
        folder: Path,
    ) -> None:
        self.cfg, self.view = cfg, view
        self.images, self.test = subset(images, cfg.pool), subset(test, cfg.test_images)
        layout = Layout(folder / f"pool_{view}", "list_gt")
        explain(network, self.images, (TEACHING_SIZE,), classes, cfg, layout)
        self.pool = Pool(self.images, str(layout.explanation_list()), len(classes), view, cfg.image_size)
        student = self._student()
        seen = [whole(self.images), whole(self.test)]
        if view == "image":
            seen.append(whole(self.pool.explained))
        else:
            for row in range(len(self.pool.rows)):
                self.pool.weights(row, student.grid(cfg.image_size))
        floats = torch.cat([to_float(images, cfg.device) for images in seen])
        self.forward = limits.BareForward(student, floats, cfg.device)
        self.prepared = self.forward.prepare(floats)
        self.taught: list[Example] = []
        self.course = self._course()
        for _ in range(cfg.lessons):
            self.ours()
        self.trained = {name: self._in_training() for name in ("released", "limit")}
        self.trained["limit"][0].to(memory_format=torch.channels_last)

    def _student(self) -> Network:
        return make_network(ARCH, self.pool.table.shape[1], self.cfg.pretrained, self.cfg.seed, self.cfg.device)

    def _in_training(self) -> tuple[Network, torch.optim.Optimizer]:
        student = self._student()
        return student, torch.optim.SGD(student.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def _course(self):
        cfg = self.cfg
        how = replace(student_settings(cfg), steps=STEPS, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        student = SGDStudent(self.pool, self.test, True, how)
        return teach(student, make_selector("CMaxGrad", 0.5, cfg.seed), cfg.lessons + cfg.rounds)

    def works(self) -> dict[str, Work]:
        """What is timed; ours and the limit, which are close, one after the other."""
        return {
            f"lesson ({self.view})": lambda _: self.ours(),
            f"limit of lesson ({self.view})": lambda _: self.limit(),
            f"released lesson ({self.view})": lambda _: self.as_released(),
        }

    def ours(self) -> None:
        """The product's next lesson."""
        lesson = next(self.course)
        self.taught += teaching_rows(self.pool, lesson.choice, explain=True)

    def as_released(self) -> None:
        """The released procedure's iteration."""
        student, optimizer = self.trained["released"]
        pool, explained, test, taught = (
            [(locate(row.path, self.images.data_root), row.label) for row in rows]
            for rows in (self.images.rows, self.pool.rows, self.test.rows, self.taught)
        )
        baseline.teaching_iteration(student, optimizer, pool, explained, test, taught, self.cfg.image_size, STEPS)

    def limit(self) -> None:
        """Nothing but forward passes over pool and test list, and training steps on the pictures that were taught."""
        self.forward(self.prepared)
        student, optimizer = self.trained["limit"]
        images, labels = self._taught_pictures()
        for _ in range(STEPS):
            optimizer.zero_grad()
            margin_risk(student(images).logits, labels).backward()
            optimizer.step()

    def _taught_pictures(self) -> tuple[Tensor, Tensor]:
        """What the student looks at: all pictures taught, or in the attention view the images alone; as floats, with their labels."""
        places = {row.path: number for number, row in enumerate(self.images.rows)}
        pictures = {row.path: number for number, row in enumerate(self.pool.rows)}
        rows = [row for row in self.taught if self.view == "image" or row.path in places]
        taken = [
            self.images[places[row.path]] if row.path in places else self.pool.explained[pictures[row.path]]
            for row in rows
        ]
        return to_float(torch.stack(taken), self.cfg.device), torch.tensor(
            [row.label for row in rows], device=self.cfg.device
        )

    def rows(self, times: dict[str, dict[str, list[float]]]) -> list[Row]:
        """The table's row of what `works` took, by image of the pool, explanations included."""
        scored = len(self.pool) + len(self.pool.rows)
        ours, limit, released = (np.array(times[name]["wall"]) / scored for name in self.works())
        faster = FASTER[self.cfg.device.split(":")[0]] if self.view == "attention" else None
        return [Row(f"lesson of a course, {self.view} view", ours, released, limit, faster, 1.15)]
