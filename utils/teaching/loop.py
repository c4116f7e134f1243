"""The teaching loop: choose a pair, teach it, measure the student. Independent of the selection and the student."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from tqdm import tqdm

from utils.base import processes
from utils.running.resuming import Unfinished
from utils.teaching.selector import Choice, Selector, left_classes
from utils.teaching.student import Student

TeachExplanations = Literal["by_selection", "yes", "no"]


def taught_explanations(selector: Selector, wanted: TeachExplanations) -> bool:
    """True if the course teaches explanations; by default, as the selection's authors do."""
    return selector.explains if wanted == "by_selection" else wanted == "yes"


@dataclass(frozen=True)
class Lesson:
    """The choice, and the accuracies in percent after learning it; NaN if all labels of a list are unknown."""

    iteration: int
    choice: Choice
    train_accuracy: float
    test_accuracy: float


def teach(
    student: Student,
    selector: Selector,
    iterations: int,
    unfinished: Unfinished | None = None,
    before_choice: Callable[[int, Student], None] = lambda iteration, student: None,
) -> Iterator[Lesson]:
    """Teaches a student lesson by lesson (Wang & Vasconcelos, ICCV 2021, section 3). Ends early if no pair remains.

    Yields each lesson after the student has learned it. The lessons saved in `unfinished` come first and are not taught
    again. `before_choice` is called with the iteration and the student.
    """
    remaining = torch.ones(len(student.labels), dtype=torch.bool)
    lessons = _restored(student, selector, unfinished.state) if unfinished and unfinished.state else []
    for lesson in lessons:
        remaining[[lesson.choice.image, lesson.choice.partner]] = False

    def state() -> dict:
        taught = [asdict(lesson) for lesson in lessons]
        return {"lessons": taught, "student": student.state_dict(), "selector": selector.state_dict()}

    yield from tuple(lessons)
    for iteration in range(len(lessons), iterations):
        before_choice(iteration, student)
        if len(left_classes(student.labels, remaining)) < 2:
            return
        choice = selector.choose(student.survey(selector.explains and student.explain), remaining)
        student.add(choice)
        remaining[[choice.image, choice.partner]] = False
        student.learn()
        lessons.append(Lesson(iteration, choice, *student.accuracy()))
        if unfinished:
            unfinished.save_when_due(state)
        yield lessons[-1]


def _restored(student: Student, selector: Selector, state: dict) -> list[Lesson]:
    lessons = [Lesson(**(lesson | {"choice": Choice(**lesson["choice"])})) for lesson in state["lessons"]]
    for lesson in lessons:
        student.add(lesson.choice)
    student.load_state_dict(state["student"])
    selector.load_state_dict(state["selector"])
    return lessons


def shown_progress(lessons: Iterator[Lesson], iterations: int, selection: str) -> list[Lesson]:
    """Runs a whole course with a progress bar."""
    taken = []
    progress = tqdm(
        lessons, total=iterations, desc=f"teaching ({selection})", unit="lesson", disable=not processes.is_first()
    )
    for lesson in progress:
        taken.append(lesson)
        progress.set_postfix({"test": f"{lesson.test_accuracy:.1f} %"})
    if len(taken) < iterations:
        processes.say(f"The course ends after {len(taken)} of {iterations} lessons: no pair of two classes remains.")
    return taken
