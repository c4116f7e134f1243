"""From answers to a labelled list: who is believed, and what they agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from scipy.sparse import csr_array

from utils.base.errors import InputError
from utils.data.lists import Example, listed_path, write_examples
from utils.people.aggregation import Aggregation, Labels, Votes, aggregate
from utils.people.page_key import Key, KeyImage
from utils.people.participants import Answer
from utils.teaching.registry import Selection


@dataclass(frozen=True)
class LabelSettings:
    """Settings of labelling.

    Attributes:
        selection: the course that people took.
        min_accuracy: the share of right answers on the test part that a person needs to be kept, 0 .. 1; 0 keeps everybody.
        aggregation: how the labels of an image become one.
        seed: draws the labels that are tied.
    """

    selection: Selection
    min_accuracy: float
    aggregation: Aggregation
    seed: int


@dataclass(frozen=True)
class Person:
    """What one person did.

    Attributes:
        name: who.
        group: what they were taught by, where the answers tell.
        kept: whether their answers count.
        test_answers: answers on the test part.
        test_accuracy: percent of them that are right; None without any.
        labels: images labelled.
        label_accuracy: percent of them that are right, of those whose truth is known; None without any.
        seconds: median time of an answer after the lessons; None where unknown.
    """

    name: str
    group: str
    kept: bool
    test_answers: int
    test_accuracy: float | None
    labels: int
    label_accuracy: float | None
    seconds: float | None


@dataclass(frozen=True)
class Part:
    """One part of the course, test or labelling, as the people who are kept answered it.

    Attributes:
        answers: their answers.
        votes: the same as arrays.
        labels: one label per image of `votes`.
        truth: the classes of these images, (N,), -1 where unknown.
    """

    answers: list[Answer]
    votes: Votes
    labels: Labels
    truth: np.ndarray


def check_course(answers: Sequence[Answer], key: Key, selection: Selection) -> None:
    """Makes sure that answers which were given on a course page come from the course that is named.

    Args:
        answers: everybody's; logs of explain_teach are of no course of ours.
        key: of the course page. Keys of earlier versions do not tell the course, and pass.
        selection: the course that people are said to have taken.

    Raises:
        InputError: they took another one.
    """
    if key.selection in ("", selection):
        return
    paths = {image.path for image in key.images.values()}
    if any(answer.image in paths for answer in answers):
        raise InputError(
            f"--selection {selection}: these answers were given on the page of the course {key.selection}, as {key.path} tells; give "
            f"--selection {key.selection}."
        )


def describe_all(answers: Sequence[Answer], min_accuracy: float) -> list[Person]:
    """Everybody who answered, by name; they are kept if at least `min_accuracy` (0 .. 1) of their test answers are right."""
    return [_describe(name, own, min_accuracy) for name, own in sorted(_by_person(answers).items())]


def _by_person(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    grouped: dict[str, list[Answer]] = {}
    for answer in answers:
        grouped.setdefault(answer.person, []).append(answer)
    return grouped


def _describe(name: str, own: Sequence[Answer], min_accuracy: float) -> Person:
    """Sums up one person's answers."""
    test = [answer for answer in own if answer.phase == "test"]
    label = [answer for answer in own if answer.phase == "label"]
    times = [answer.seconds for answer in test + label if answer.seconds is not None]
    accuracy = share_right(test)
    return Person(
        name=name,
        group=own[0].group,
        kept=min_accuracy == 0 or _reaches(test, min_accuracy),
        test_answers=len(test),
        test_accuracy=accuracy,
        labels=len(label),
        label_accuracy=share_right(label),
        seconds=median(times) if times else None,
    )


def share_right(answers: Sequence[Answer]) -> float | None:
    """Percent of right answers among those whose truth is known; None without any."""
    right = _whether_right(answers)
    return 100 * sum(right) / len(right) if right else None


def _reaches(answers: Sequence[Answer], min_accuracy: float) -> bool:
    """Whether at least the share `min_accuracy` of the answers whose truth is known is right.

    The share is compared and not the percentage: 11 / 20 is the number 0.55 to the last bit, 100 * 0.55 is more than 55.
    """
    right = _whether_right(answers)
    return bool(right) and sum(right) / len(right) >= min_accuracy


def _whether_right(answers: Sequence[Answer]) -> list[bool]:
    """Of each answer whose truth is known, whether it is right."""
    return [answer.response == answer.truth for answer in answers if answer.truth is not None]


def aggregate_parts(
    answers: Sequence[Answer], people: Sequence[Person], num_classes: int, how: LabelSettings
) -> dict[str, Part]:
    """The test and the labelling part by name, those of them that somebody kept has answered, with one label per image.

    Args:
        answers: everybody's.
        people: everybody.
        num_classes: C.
        how: settings.

    Raises:
        InputError: nobody is kept.
    """
    kept = {person.name for person in people if person.kept}
    if not kept and all(person.test_accuracy is None for person in people):
        raise InputError(
            f"--min-accuracy {how.min_accuracy}: nobody answered to a test image whose class is known; leave it out."
        )
    if not kept:
        raise InputError(
            f"--min-accuracy {how.min_accuracy}: none of {len(people)} people was as right on the test part; lower it."
        )
    parts = {}
    for phase in ("test", "label"):
        chosen = [answer for answer in answers if answer.phase == phase and answer.person in kept]
        # How people did on the test weighs their labels; to weigh the test's answers by its own solution would be circular.
        known = [answer for answer in answers if answer.phase == "test"] if phase == "label" else []
        if chosen:
            parts[phase] = aggregate_part(chosen, known, num_classes, how.aggregation, how.seed)
    return parts


def aggregate_part(
    answers: list[Answer], known: Sequence[Answer], num_classes: int, method: Aggregation, seed: int
) -> Part:
    """One label per image of a part.

    Args:
        answers: the part's answers.
        known: answers by which people are weighed, such as those to the test.
        num_classes: C.
        method: how to aggregate.
        seed: for ties that remain.
    """
    votes = Votes.of(answers)
    labels = aggregate(votes, num_classes, method, seen_by_person(known, votes.people, num_classes), seed)
    truths: dict[str, set] = {}
    for answer in answers:
        truths.setdefault(answer.image, set()).add(answer.truth)
    # Logs may contradict themselves about an image (explain_teach's characters do); its truth is unknown then.
    truth = [next(iter(told)) if len(told := truths[image] - {None}) == 1 else -1 for image in votes.images]
    return Part(answers, votes, labels, np.array(truth))


def seen_by_person(known: Sequence[Answer], people: Sequence[str], num_classes: int) -> csr_array:
    """What each of the people answered where the truth is known.

    Args:
        known: answers, also of others.
        people: names, (P,).
        num_classes: C.

    Returns:
        Counts (P, C C), the columns by class and answer, class x C + answer. Sparse: hundreds of people answer to thousands of classes, but
        each of them to few.
    """
    place = {name: number for number, name in enumerate(people)}
    cells = [
        (place[answer.person], answer.truth * num_classes + answer.response)
        for answer in known
        if answer.truth is not None and answer.person in place
    ]
    person, cell = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    return csr_array((np.ones(len(cells), np.int64), (person, cell)), shape=(len(people), num_classes**2))


def labeled_rows(expert: Sequence[Example], images: Sequence[KeyImage], part: Part) -> list[Example]:
    """The expert's rows and the labelled ones, in the order of their lists; the index is the place in the new list, which is unique.

    Images that nobody labelled are left out.
    """
    label_of = dict(zip(part.votes.images, part.labels.label.tolist(), strict=True))
    rows = [(row.path, row.label) for row in expert] + [
        (image.path, label_of[image.path]) for image in images if image.path in label_of
    ]
    return [Example(path, label, index) for index, (path, label) in enumerate(rows)]


def write_list(
    path: Path, expert: Sequence[Example], key: Key, part: Part | None, people: Sequence[Person], how: LabelSettings
) -> dict:
    """Writes the list that a classifier learns from, if anybody who is kept labelled anything; else there is none, not
    even that of an earlier run.

    Args:
        path: the list.
        expert: the rows that the expert labelled.
        key: of the course page; of images to label it knows the files.
        part: the labelling part; None where nobody who is kept answered it.
        people: everybody.
        how: settings, of which the message about people who are not kept names one.

    Returns:
        The list's name and what it holds, for the report; and, where it is so, that people took the SimCLR variant's course.
    """
    course = {"simclr": True} if key.simclr else {}
    if part is None or not key.images:
        earlier = ", and that of an earlier run is removed" if path.exists() else ""
        path.unlink(missing_ok=True)
        failed = any(person.labels for person in people)
        why = (
            f"None of those who labelled reached --min-accuracy {how.min_accuracy:g}"
            if failed
            else "Nobody labelled an image"
        )
        print(f"{why}, so no list is written{earlier}; the report is about the test alone.")
        return course | {"list": None, "expert_images": len(expert), "labelled_images": 0, "unlabelled_images": None}
    images = list(key.of_phase("label").values())
    write_examples(path, labeled_rows(expert, images, part))
    labelled = len(part.votes.images)
    print(f"Labelled {labelled} of {len(images)} images; with the expert's {len(expert)}: {path}")
    counts = {"expert_images": len(expert), "labelled_images": labelled, "unlabelled_images": len(images) - labelled}
    return course | {"list": listed_path(path)} | counts
