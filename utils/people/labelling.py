"""From answers to a labelled list, for all label scripts: who is believed, and what they agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from utils.base.errors import InputError
from utils.data.lists import Example, listed_path, read_examples, write_examples
from utils.data.outputs import Layout
from utils.people.aggregation import Aggregation, Labels, Votes, aggregate, confusion_counts
from utils.people.answers import Answer, Key, KeyImage, absent_key, read_files, read_key
from utils.people.report import write_report
from utils.running.settings import chosen_dataset


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


def run_labelling(cfg) -> dict:
    """Reads answers, aggregates them, and writes the list that a classifier learns from, with a report.

    The story: everybody's answers are read; whoever fails the test is left out; the labels of the others become one per image; the
    expert's images and these make the list; and what can be known of people and labels is written down.

    Args:
        cfg: the resolved settings of a label script.

    Returns:
        What was measured.

    Raises:
        InputError: the answers or the key cannot be used, or nobody passes the test.
    """
    dataset = chosen_dataset(cfg)
    num_classes = len(dataset.classes)
    expert = read_examples(dataset.list_path(cfg.data_root, "train"), num_classes)
    key = read_key(cfg.key, dataset.name, dataset.classes) if Path(cfg.key).exists() else absent_key(cfg.key)
    reading = read_files(cfg.answers, key, num_classes)
    answers = reading.answers
    people = describe_all(answers, cfg.min_accuracy)
    kept = {person.name for person in people if person.kept}
    if not kept:
        raise InputError(f"--min-accuracy {cfg.min_accuracy}: none of {len(people)} people was as right on the test part; lower it.")
    parts = {}
    for phase in ("test", "label"):
        chosen = [answer for answer in answers if answer.phase == phase and answer.person in kept]
        # How people did on the test weighs their labels; to weigh the test's answers by its own solution would be circular.
        known = [answer for answer in answers if answer.phase == "test"] if phase == "label" else []
        if chosen:
            parts[phase] = aggregate_part(chosen, known, num_classes, cfg.aggregation, cfg.seed)
    layout = Layout(Path(cfg.out), dataset.list_stem)
    summary = {"dataset": dataset.name, "selection": cfg.selection, "aggregation": cfg.aggregation, "min_accuracy": cfg.min_accuracy}
    summary |= _write_list(layout.labeled_list(cfg.selection), expert, key, parts.get("label"))
    return write_report(layout, dataset, people, parts, summary, reading.left_out)


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
    right = share_right(test)
    return Person(
        name=name,
        group=own[0].group,
        kept=min_accuracy == 0 or (right is not None and right >= 100 * min_accuracy),
        test_answers=len(test),
        test_accuracy=right,
        labels=len(label),
        label_accuracy=share_right(label),
        seconds=median(times) if times else None,
    )


def share_right(answers: Sequence[Answer]) -> float | None:
    """Percent of right answers among those whose truth is known; None without any."""
    right = [answer.response == answer.truth for answer in answers if answer.truth is not None]
    return 100 * sum(right) / len(right) if right else None


def aggregate_part(answers: list[Answer], known: Sequence[Answer], num_classes: int, method: Aggregation, seed: int) -> Part:
    """One label per image of a part.

    Args:
        answers: the part's answers.
        known: answers by which people are weighed, such as those to the test.
        num_classes: C.
        method: how to aggregate.
        seed: for ties that remain.
    """
    votes = Votes.of(answers)
    known_of = _by_person(known)
    seen = np.stack([confusion_counts(known_of.get(name, []), num_classes) for name in votes.people])
    labels = aggregate(votes, num_classes, method, seen, seed)
    truths: dict[str, set] = {}
    for answer in answers:
        truths.setdefault(answer.image, set()).add(answer.truth)
    # Logs may contradict themselves about an image (explain_teach's characters do); its truth is unknown then.
    truth = [next(iter(known)) if len(known := truths[image] - {None}) == 1 else -1 for image in votes.images]
    return Part(answers, votes, labels, np.array(truth))


def labeled_rows(expert: Sequence[Example], images: Sequence[KeyImage], part: Part) -> list[Example]:
    """The expert's rows and the labelled ones, in the order of their lists; the index is the place in the new list, which is unique.

    Images that nobody labelled are left out.
    """
    label_of = dict(zip(part.votes.images, part.labels.label.tolist(), strict=True))
    rows = [(row.path, row.label) for row in expert] + [(image.path, label_of[image.path]) for image in images if image.path in label_of]
    return [Example(path, label, index) for index, (path, label) in enumerate(rows)]


def _write_list(path: Path, expert: Sequence[Example], key: Key, part: Part | None) -> dict:
    """Writes the list, if anything was labelled; returns its name and what it holds."""
    if part is None or not key.images:
        print("Nobody labelled an image, so no list is written; the report is about the test alone.")
        return {"list": None, "expert_images": len(expert), "labelled_images": 0, "unlabelled_images": None}
    images = list(key.of_phase("label").values())
    write_examples(path, labeled_rows(expert, images, part))
    labelled = len(part.votes.images)
    print(f"Labelled {labelled} of {len(images)} images; with the expert's {len(expert)}: {path}")
    counts = {"expert_images": len(expert), "labelled_images": labelled, "unlabelled_images": len(images) - labelled}
    return {"list": listed_path(path)} | counts
