"""Turns answers into a labeled list: filters people and aggregates their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from utils.base.errors import InputError
from utils.data.lists import Example, listed_path, write_examples
from utils.people.aggregation import Aggregation, Labels, Votes, aggregate
from utils.people.answers import Answer
from utils.people.page_key import Key


@dataclass(frozen=True)
class Person:
    """Summary of one person; accuracies are percentages of the answers with known truth, None without any."""

    name: str
    group: str  # teaching condition, if the answers name one
    kept: bool  # the answers count
    test_answers: int
    test_accuracy: float | None
    labels: int
    label_accuracy: float | None
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


def describe_all(answers: Sequence[Answer], min_accuracy: float) -> list[Person]:
    """Summarizes each person, sorted by name; keeps those whose share of right test answers reaches `min_accuracy`."""
    grouped: dict[str, list[Answer]] = {}
    for answer in answers:
        grouped.setdefault(answer.person, []).append(answer)
    people = []
    for name, own in sorted(grouped.items()):
        test, label = ([answer for answer in own if answer.phase == phase] for phase in ("test", "label"))
        times = [answer.seconds for answer in test + label if answer.seconds is not None]
        right, known = _right_of(test)
        # Compares shares, because 11 / 20 is exactly 0.55 but 100 * 0.55 is more than 55.
        kept = min_accuracy == 0 or (known > 0 and right / known >= min_accuracy)
        accuracies = percent(right, known), percent(*_right_of(label))
        seconds = median(times) if times else None
        people.append(Person(name, own[0].group, kept, len(test), accuracies[0], len(label), accuracies[1], seconds))
    return people


def _right_of(answers: Sequence[Answer]) -> tuple[int, int]:
    """Returns the number of right answers, and of answers with known truth."""
    right = [answer.response == answer.truth for answer in answers if answer.truth is not None]
    return sum(right), len(right)


def percent(right: int, total: int) -> float | None:
    return 100 * right / total if total else None


def aggregate_parts(
    answers: Sequence[Answer], people: Sequence[Person], num_classes: int, method: Aggregation, seed: int
) -> dict[str, Part]:
    """Aggregates the test and the labeling part. A part without answers of people who are kept is missing."""
    kept = {person.name for person in people if person.kept}
    parts = {}
    for phase in ("test", "label"):
        chosen = [answer for answer in answers if answer.phase == phase and answer.person in kept]
        # Test answers weight a person's labels. Weighting the test by its own solution would be circular.
        known = [answer for answer in answers if answer.phase == "test"] if phase == "label" else []
        if chosen:
            parts[phase] = aggregate_part(chosen, known, num_classes, method, seed)
    if not parts:
        raise InputError(f"None of {len(people)} participants answered the test and reached --min-accuracy. Lower it.")
    return parts


def aggregate_part(
    answers: list[Answer], known: Sequence[Answer], num_classes: int, method: Aggregation, seed: int
) -> Part:
    """Returns one label per image; `known` are the answers that weight people."""
    votes = Votes.of(answers)
    place = {name: number for number, name in enumerate(votes.people)}
    rows = [(place[a.person], a.truth, a.response) for a in known if a.truth is not None and a.person in place]
    labels = aggregate(votes, num_classes, method, np.array(rows, dtype=np.int64).reshape(-1, 3), seed)
    truths: dict[str, set] = {}
    for answer in answers:
        truths.setdefault(answer.image, set()).add(answer.truth)
    # Logs may contain two classes for an image (characters of explain_teach). Its truth is then unknown.
    truth = [next(iter(found)) if len(found := truths[image] - {None}) == 1 else -1 for image in votes.images]
    return Part(answers, votes, labels, np.array(truth))


def write_list(path: Path, expert: Sequence[Example], key: Key, parts: Mapping[str, Part]) -> dict:
    """Writes the training list: the expert's rows, then the labeled ones. Returns its name and size for the report.

    Without labels, it removes the list of an earlier run.
    """
    images = list(key.of_phase("label").values())
    part = parts.get("label")
    label_of = dict(zip(part.votes.images, part.labels.label.tolist(), strict=True)) if part else {}
    labeled = [(image.path, label_of[image.path]) for image in images if image.path in label_of]
    if labeled:
        rows = [*((row.path, row.label) for row in expert), *labeled]
        write_examples(path, [Example(name, label, index) for index, (name, label) in enumerate(rows)])
        print(f"Labeled {len(labeled)} of {len(images)} images; with {len(expert)} expert images: {path}")
    else:
        path.unlink(missing_ok=True)
        print("No labels from people who are kept, so there is no labeled list. The report covers the test only.")
    listed = {"list": listed_path(path) if labeled else None, "expert_images": len(expert)}
    return listed | {"labeled_images": len(labeled), "unlabeled_images": len(images) - len(labeled)}
