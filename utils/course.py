"""The course as files: the teaching list for machines, and the lessons for people."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.catalog import Dataset
from utils.errors import InputError
from utils.lists import Example, Explanation, read_explanations
from utils.pool import Pool
from utils.selection import Choice


def people_list(ce_list: str) -> Path:
    """The list of the pictures for people that belongs to an explanation list."""
    return Path(ce_list).with_name(f"{Path(ce_list).stem}_HTML.txt")


def people_rows(ce_list: str, rows: Sequence[Explanation], num_classes: int) -> list[Explanation] | None:
    """The pictures for people that belong to an explanation list: its `_HTML.txt` sibling, row by row.

    Returns:
        The rows, or None where there is no such list (the paper's lists may come without).

    Raises:
        InputError: the sibling lists other explanations.
    """
    path = people_list(ce_list)
    if not path.exists():
        return None
    people = read_explanations(path, num_classes)
    keys = [[(row.index, row.label, row.counter) for row in some] for some in (rows, people)]
    if keys[0] != keys[1]:
        raise InputError(f"{path} lists other explanations than {ce_list}; explain the list anew.")
    return people


def teaching_rows(pool: Pool, choice: Choice, explain: bool) -> list[Example]:
    """The rows that a lesson adds to the teaching list: x_i, x_j and, if `explain`, E(x_i; a, b), E(x_j; b, a).

    The index of an explanation is that of its source image.
    """
    pair = (choice.image, choice.partner), (choice.partner, choice.image)
    rows = [pool.images.rows[number] for number, _ in pair]
    if explain:
        for number, other in pair:
            source = pool.rows[pool.table[number, pool.images.rows[other].label]]
            rows.append(Example(source.path, source.label, source.index))
    return rows


def lesson_entry(pool: Pool, people: Sequence[Explanation] | None, iteration: int, choice: Choice) -> dict:
    """One lesson of course.json. Scores beyond the range of floats are given as the largest float."""
    labels = pool.images.labels.tolist()

    def explanation(number: int, counter: int) -> tuple[str, str | None]:
        row = pool.table[number, counter]
        return pool.rows[row].path, people[row].path if people else None

    own = labels[choice.image]
    explanations = {}
    for wrong, partner in choice.partners.items():
        image, human = explanation(choice.image, wrong)
        partner_image, partner_human = explanation(partner, own)
        explanations[str(wrong)] = {
            "image": image,
            "human": human,
            "partner": pool.images.rows[partner].path,
            "partner_explanation": partner_image,
            "partner_human": partner_human,
        }
    return {
        "iteration": iteration,
        "image": pool.images.rows[choice.image].path,
        "label": own,
        "answer": choice.counter,
        "score": _plain(choice.score),
        "partner": {"image": pool.images.rows[choice.partner].path, "label": choice.counter},
        "explanations": explanations,
    }


def _plain(log_score: float | None) -> float | None:
    """A logarithmic score as a number that JSON can hold."""
    if log_score is None:
        return None
    return math.exp(log_score) if log_score < math.log(sys.float_info.max) else sys.float_info.max


def read_course(path: Path, dataset: Dataset) -> dict:
    """Reads a course file and checks that it is what the teaching scripts write.

    Args:
        path: course_<selection>.json.
        dataset: the dataset that the course must be of.

    Raises:
        InputError: the file is missing or malformed, or the course is of another dataset.
    """
    try:
        course = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"The course {path} does not exist; run the teaching script first, or correct --selection or --out.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"The course {path} cannot be read as JSON ({error}); make it anew.") from error
    try:
        if course["dataset"] != dataset.name or tuple(course["classes"]) != dataset.classes:
            raise InputError(f"{path} is a course of {course['dataset']}, not of {dataset.name}; correct --dataset or --out.")
        if not course["lessons"]:
            raise InputError(f"{path} has no lessons; make the course anew.")
        for number, lesson in enumerate(course["lessons"], start=1):
            _check_lesson(lesson, len(dataset.classes), f"{path}, lesson {number}")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a course file ({type(error).__name__}: {error}); make it anew.") from error
    return course


def _check_lesson(lesson: dict, num_classes: int, where: str) -> None:
    """Checks an entry as `lesson_entry` makes it: numbers in range, and a whole pair for each wrong answer that it has."""
    wrong = {str(label) for label in range(num_classes)} - {str(lesson["label"])}
    if not isinstance(lesson["image"], str) or lesson["label"] not in range(num_classes):
        raise InputError(f"{where}: image or label is wrong; make the course anew.")
    if str(lesson["answer"]) not in wrong & set(lesson["explanations"]) or not set(lesson["explanations"]) <= wrong:
        raise InputError(
            f"{where}: the answer {lesson['answer']} or another has no explanation, or is no wrong class; make the course anew."
        )
    for answer, pair in lesson["explanations"].items():
        texts = [pair[name] for name in ("image", "partner", "partner_explanation")]
        if not all(isinstance(text, str) for text in texts + [pair[name] or "" for name in ("human", "partner_human")]):
            raise InputError(f"{where}: the explanation against class {answer} names no files; make the course anew.")
