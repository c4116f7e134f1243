"""Turns answers into a labeled list: filters people and aggregates their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from utils.base.errors import InputError
from utils.data.lists import Example, listed_path, write_examples
from utils.people.aggregation import Aggregation, Labels, Votes, aggregate
from utils.people.answers import Answer
from utils.people.page_key import Key
from utils.teaching.registry import SELECTORS


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


def course_of(selection: str, key: Key, answers: Sequence[Answer]) -> str:
    """Returns the selection of the course that people took; "auto" is the one that the page's key names.

    Raises:
        InputError: the key names another selection, or none.
    """
    if selection == "auto":
        if not key.selection:
            choices = ", ".join(SELECTORS)
            raise InputError(f"--selection auto: {key.path} not found or names no selection. Choose one of {choices}.")
        return key.selection
    paths = {image.path for image in key.images.values()}
    if key.selection not in ("", selection) and any(answer.image in paths for answer in answers):
        raise InputError(
            f"--selection {selection}: {key.path} says that people took the course {key.selection}. Omit --selection."
        )
    return selection


def describe_all(answers: Sequence[Answer], min_accuracy: float) -> list[Person]:
    """Summarizes each person, sorted by name; keeps those whose share of right test answers reaches `min_accuracy`."""
    grouped: dict[str, list[Answer]] = {}
    for answer in answers:
        grouped.setdefault(answer.person, []).append(answer)
    return [_describe(name, own, min_accuracy) for name, own in sorted(grouped.items())]


def _describe(name: str, own: Sequence[Answer], min_accuracy: float) -> Person:
    test = [answer for answer in own if answer.phase == "test"]
    label = [answer for answer in own if answer.phase == "label"]
    times = [answer.seconds for answer in test + label if answer.seconds is not None]
    right, known = _right_of(test)
    return Person(
        name=name,
        group=own[0].group,
        # Compares shares, because 11 / 20 is exactly 0.55 but 100 * 0.55 is more than 55.
        kept=min_accuracy == 0 or (known > 0 and right / known >= min_accuracy),
        test_answers=len(test),
        test_accuracy=percent(right, known),
        labels=len(label),
        label_accuracy=percent(*_right_of(label)),
        seconds=median(times) if times else None,
    )


def _right_of(answers: Sequence[Answer]) -> tuple[int, int]:
    """Returns the number of right answers, and of answers with known truth."""
    right = [answer.response == answer.truth for answer in answers if answer.truth is not None]
    return sum(right), len(right)


def percent(right: int, total: int) -> float | None:
    return 100 * right / total if total else None


def aggregate_parts(
    answers: Sequence[Answer], people: Sequence[Person], num_classes: int, method: Aggregation, seed: int
) -> dict[str, Part]:
    """Aggregates the test and the labeling part, or one of them if the people who are kept did not answer the other.

    Raises:
        InputError: nobody is kept.
    """
    kept = {person.name for person in people if person.kept}
    if not kept:
        raise InputError(f"None of the {len(people)} participants reached --min-accuracy on the test. Lower it.")
    parts = {}
    for phase in ("test", "label"):
        chosen = [answer for answer in answers if answer.phase == phase and answer.person in kept]
        # Test answers weight a person's labels. Weighting the test by its own solution would be circular.
        known = [answer for answer in answers if answer.phase == "test"] if phase == "label" else []
        if chosen:
            parts[phase] = aggregate_part(chosen, known, num_classes, method, seed)
    return parts


def aggregate_part(
    answers: list[Answer], known: Sequence[Answer], num_classes: int, method: Aggregation, seed: int
) -> Part:
    """Returns one label per image; `known` are the answers that weight people, such as those to the test."""
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


def write_list(path: Path, expert: Sequence[Example], key: Key, part: Part | None) -> dict:
    """Writes the list for the classifier: the expert's rows, then the labeled ones, in the order of their lists.

    Without labels there is no list, and the list of an earlier run is removed.

    Returns:
        Name and size of the list, for the report.
    """
    images = list(key.of_phase("label").values())
    label_of = dict(zip(part.votes.images, part.labels.label.tolist(), strict=True)) if part else {}
    labeled = [(image.path, label_of[image.path]) for image in images if image.path in label_of]
    if labeled:
        rows = [*((row.path, row.label) for row in expert), *labeled]
        write_examples(path, [Example(name, label, index) for index, (name, label) in enumerate(rows)])
        print(f"Labeled {len(labeled)} of {len(images)} images; with {len(expert)} expert images: {path}")
    else:
        path.unlink(missing_ok=True)
        print("No labels from people who are kept, so there is no labeled list. The report covers the test only.")
    counts = {"labeled_images": len(labeled), "unlabeled_images": len(images) - len(labeled)}
    list_of = {"list": listed_path(path) if labeled else None, "expert_images": len(expert)}
    return list_of | counts | ({"simclr": True} if key.simclr else {})
