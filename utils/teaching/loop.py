"""The teaching loop: choose a pair, add it, let the student learn, see what it knows. It knows no method and no student by name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal

import torch

from utils.base import processes
from utils.running.resuming import Unfinished
from utils.teaching.choice import Choice, Labels, Selector
from utils.teaching.student import Student

TeachExplanations = Literal["by_selection", "yes", "no"]


def taught_explanations(selector: Selector, wanted: TeachExplanations) -> bool:
    """Whether a course teaches explanations: as the selection's authors do (`by_selection`), or, for controls, as is wanted."""
    return selector.explains if wanted == "by_selection" else wanted == "yes"


@dataclass(frozen=True)
class Lesson:
    """One iteration: what was chosen, and the student's accuracy after learning it, in percent; on the test list NaN where the classes of
    all of its images are unknown."""

    iteration: int
    choice: Choice
    train_accuracy: float
    test_accuracy: float


def teach(
    student: Student,
    selector: Selector,
    iterations: int,
    before_choice: Callable[[int, Student], None] | None = None,
    unfinished: Unfinished | None = None,
    quiet: bool = False,
) -> Iterator[Lesson]:
    """Teaches `student` lesson by lesson (Wang & Vasconcelos, ICCV 2021, section 3).

    Ends early, after a printed sentence, where no pair remains.

    Args:
        student: learns in place.
        selector: chooses.
        iterations: lessons.
        before_choice: called with the iteration and the student through whose eyes the next pair is chosen.
        unfinished: where the course stands; it goes on after the last lesson saved there. None: nothing is saved.
        quiet: prints no sentence.

    Yields:
        Each lesson after the student has learned it; first those of an interrupted run.
    """
    remaining = torch.ones(len(student.labels), dtype=torch.bool)
    lessons = _lessons_so_far(unfinished, student, selector)
    for lesson in lessons:
        remaining[[lesson.choice.image, lesson.choice.partner]] = False
    yield from tuple(lessons)
    for iteration in range(len(lessons), iterations):
        if before_choice:
            before_choice(iteration, student)
        choice = _choose(student, selector, remaining)
        if choice is None:
            if not quiet:
                processes.say(
                    f"The course ends after {iteration} of {iterations} lessons: no pair of two classes remains."
                )
            return
        student.add(choice)
        remaining[[choice.image, choice.partner]] = False
        student.learn()
        lessons.append(Lesson(iteration, choice, *student.accuracies()))
        if unfinished:
            unfinished.save_when_due(partial(_course_state, lessons, student, selector))
        yield lessons[-1]


def _choose(student: Student, selector: Selector, remaining: torch.Tensor) -> Choice | None:
    """The next pair, from what the selector wants to see of the pool; explanations only if they are taught."""
    if selector.looks:
        return selector.choose(student.survey(selector.explains and student.explain), remaining)
    return selector.choose(Labels(student.labels, student.table), remaining)


def _course_state(lessons: Sequence[Lesson], student: Student, selector: Selector) -> dict:
    return {
        "lessons": [asdict(lesson) for lesson in lessons],
        "student": student.state_dict(),
        "selector": selector.state_dict(),
    }


def _lessons_so_far(unfinished: Unfinished | None, student: Student, selector: Selector) -> list[Lesson]:
    """Puts student and selector where an unfinished course left them; returns its lessons."""
    state = unfinished.state if unfinished else None
    if state is None:
        return []
    lessons = [Lesson(**(lesson | {"choice": Choice(**lesson["choice"])})) for lesson in state["lessons"]]
    for lesson in lessons:
        student.add(lesson.choice)
    student.load_state_dict(state["student"])
    selector.load_state_dict(state["selector"])
    return lessons
