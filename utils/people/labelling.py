"""Turns answers into a labeled list: filters people and aggregates their answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from utils.base.errors import InputError
from utils.data.lists import Example, listed_path, write_examples
from utils.people.aggregation import Aggregation, Aggregator, Labels, Votes, aggregate
from utils.people.answers import Answer
from utils.people.page_key import KEY_PHASES, Key
from utils.people.teacher import load_teacher

LEARNING = 5  # lessons of a person that do not count as known answers
LESSON_WEIGHT = 0.5  # of the later ones, because people are still learning


@dataclass(frozen=True)
class Person:
    """Summary of one person; accuracies are percentages of the answers with known truth, None without any."""

    name: str
    group: str  # teaching condition, if the answers name one
    kept: bool  # the answers count
    lesson_answers: int
    lesson_accuracy: float | None
    test_answers: int
    test_accuracy: float | None
    labels: int
    label_accuracy: float | None
    gold_answers: int  # hidden among the labels
    gold_accuracy: float | None
    seconds: float | None  # median response time after the lessons


@dataclass(frozen=True)
class Part:
    """The test or labeling part of a course, with the answers of the people who are kept."""

    answers: list[Answer]
    votes: Votes  # the answers as arrays
    labels: Labels
    truth: np.ndarray  # true classes of the images, (N,); -1 if unknown


def course_of(selection: str, key: Key) -> str:
    """Returns the selection of the course that people took; "auto" is the one that the page's key names."""
    if key.selection and selection not in ("auto", key.selection):
        raise InputError(f"--selection {selection}: the course in {key.path} is {key.selection}. Omit --selection.")
    if not key.selection and selection == "auto":
        raise InputError(f"--selection auto: {key.path} not found or names no selection. Pass --selection.")
    return key.selection or selection


def choose_aggregator(
    method: Literal["auto", Aggregation], file: Path, key: Key, seed: int, fixed: bool, answers: Sequence[Answer] = ()
) -> Aggregator:
    """Returns how answers become labels; "auto" takes the teacher if its file covers the images of key and answers.

    Raises InputError if the method is "teacher", but the file is missing or of other images.
    """
    teacher = load_teacher(file) if method in ("auto", "teacher") and key.images else None
    asked = {image.path for image in key.images.values() if image.phase != "lesson"}
    asked |= {answer.image for answer in answers if answer.phase != "lesson"}  # logs of explain_teach have no key
    if teacher and teacher.classes == len(key.classes) and asked <= teacher.paths.keys():
        return Aggregator("teacher", seed, teacher, fixed)
    if method == "teacher":
        raise InputError(f"--aggregation teacher: {file} is missing or of other images. Run teach.py again.")
    return Aggregator("dawid_skene" if method == "auto" else method, seed)


def describe_all(answers: Sequence[Answer], min_accuracy: float) -> list[Person]:
    """Summarizes each person, sorted by name; keeps those whose share of right test answers reaches `min_accuracy`."""
    grouped: dict[str, list[Answer]] = {}
    for answer in answers:
        grouped.setdefault(answer.person, []).append(answer)
    people = []
    for name, own in sorted(grouped.items()):
        parts = [[answer for answer in own if answer.phase == phase] for phase in KEY_PHASES]
        times = [answer.seconds for part in parts[1:] for answer in part if answer.seconds is not None]
        right, known = _right_of(parts[1])  # of the test
        # Compares shares, because 11 / 20 is exactly 0.55 but 100 * 0.55 is more than 55.
        kept = min_accuracy == 0 or (known > 0 and right / known >= min_accuracy)
        seconds = median(times) if times else None
        lesson, test, label, gold = ((len(part), percent(*_right_of(part))) for part in parts)
        people.append(Person(name, own[0].group, kept, *lesson, *test, *label, *gold, seconds))
    return people


def _right_of(answers: Sequence[Answer]) -> tuple[int, int]:
    """Returns the number of right answers, and of answers with known truth."""
    right = [answer.response == answer.truth for answer in answers if answer.truth is not None]
    return sum(right), len(right)


def percent(right: int, total: int) -> float | None:
    return 100 * right / total if total else None


def known_weight(phase: str, truth: int | None, lessons: int) -> float:
    """Returns the weight of an answer as a known answer; `lessons` is the number of the person's lessons before it."""
    if truth is None:
        return 0.0
    return {"lesson": LESSON_WEIGHT * (lessons >= LEARNING), "test": 1.0, "gold": 1.0, "label": 0.0}[phase]


def known_answers(answers: Sequence[Answer], test: bool = True) -> list[tuple[Answer, float]]:
    """Returns known answers with their weights, without those of the test if `test` is False."""
    found, lessons = [], Counter[str]()
    for answer in answers:
        weight = known_weight(answer.phase, answer.truth, lessons[answer.person])
        lessons[answer.person] += answer.phase == "lesson"
        if weight and (test or answer.phase != "test"):
            found.append((answer, weight))
    return found


def aggregate_parts(answers: Sequence[Answer], people: Sequence[Person], key: Key, how: Aggregator) -> dict[str, Part]:
    """Aggregates the test and the labeling part. A part without answers of people who are kept is missing.

    With a teacher, all images to label get a label, even those without answers.
    """
    kept = {person.name for person in people if person.kept}
    asked = {image.path: image.label for image in key.of_phase("label").values()} if how.teacher else {}
    parts = {}
    for phase, images in (("test", {}), ("label", asked)):
        chosen = [answer for answer in answers if answer.phase == phase and answer.person in kept]
        if not chosen:
            continue
        votes = Votes.of(chosen, list(images))
        place = {name: number for number, name in enumerate(votes.people)}
        # Test answers weight a person's labels. Weighting the test by its own solution would be circular.
        known = known_answers(answers, test=phase == "label")
        rows = [(place[a.person], a.truth, a.response, weight) for a, weight in known if a.person in place]
        labels = aggregate(votes, len(key.classes), np.array(rows, dtype=np.float64).reshape(-1, 4), how)
        truths: dict[str, set] = {image: {truth} for image, truth in images.items()}
        for answer in chosen:
            truths.setdefault(answer.image, set()).add(answer.truth)
        # Logs may contain two classes for an image (characters of explain_teach). Its truth is then unknown.
        truth = [next(iter(found)) if len(found := truths[image] - {None}) == 1 else -1 for image in votes.images]
        parts[phase] = Part(chosen, votes, labels, np.array(truth))
    if not parts:
        raise InputError(f"None of {len(people)} participants answered the test and reached --min-accuracy. Lower it.")
    return parts


def write_list(
    path: Path, expert: Sequence[Example], key: Key, parts: Mapping[str, Part], min_certainty: float
) -> dict:
    """Writes the training list: the expert's rows, then the labels with a certainty of at least `min_certainty`.

    Returns its name and size for the report. Without labels, it removes the list of an earlier run.
    """
    images, part = list(key.of_phase("label").values()), parts.get("label")
    found = list(zip(part.votes.images, part.labels.label.tolist(), part.labels.certainty, strict=True)) if part else []
    label_of = {path: label for path, label, certainty in found if certainty >= min_certainty}
    labeled = [(image.path, label_of[image.path]) for image in images if image.path in label_of]
    if unsure := len(found) - len(label_of):
        print(f"{unsure} of {len(found)} labels are below --min-certainty {min_certainty} and left out of the list.")
    if labeled:
        rows = [*((row.path, row.label) for row in expert), *labeled]
        write_examples(path, [Example(name, label, index) for index, (name, label) in enumerate(rows)])
        print(f"Labeled {len(labeled)} of {len(images)} images; with {len(expert)} expert images: {path}")
    else:
        path.unlink(missing_ok=True)
        print(f"No labels from people who are kept{' are left' * bool(found)}, so there is no labeled list.")
    listed = {"list": listed_path(path) if labeled else None, "expert_images": len(expert)}
    return listed | {"labeled_images": len(labeled), "unlabeled_images": len(images) - len(labeled)}
