"""Which pictures people of the public logs of explain_teach were shown, and what they answered after it.

Mac Aodha, Su, Chen, Perona & Yue, "Teaching Categories to Human Learners with Visual Explanations", CVPR 2018. A log names pictures by
number; the file of each number stands in its experiment's `teaching_images.json`. Of a table that does not belong to its log the classes
of the files are not those that the log says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils.base.errors import InputError
from utils.people.answers import read_answers
from utils.people.participants import Answer
from utils.people.tables import parsed_json, read_text

TABLE, LOG = "teaching_images.json", "results.json"


@dataclass(frozen=True)
class Listed:
    """A picture of a table: its path as lists name it, and the label of the class whose folder it lies in."""

    path: str
    label: int


@dataclass(frozen=True)
class Learner:
    """One person: the lessons in the order they came, and the answers after them.

    Attributes:
        name: the person's.
        group: by what the lessons were chosen.
        lessons: the pictures shown with their classes.
        tested: the pictures of the test, without feedback.
        responses: the class answered to each of these.
    """

    name: str
    group: str
    lessons: tuple[Listed, ...]
    tested: tuple[Listed, ...]
    responses: tuple[int, ...]


def table_folder(path: str | Path) -> str:
    """The folder below the data root that a table's pictures lie in, by its first entry.

    Raises:
        InputError: the table is missing or malformed.
    """
    return _parts(_entries(path)[0], 1, path)[0]


def read_table(path: str | Path, classes: Sequence[str]) -> list[Listed]:
    """The pictures of a table; a picture's number is its place. A class's folder may be written with blanks: `Cabbage White`.

    Raises:
        InputError: the table is missing or malformed, or a folder is of no class.
    """
    labels = {name: label for label, name in enumerate(classes)}
    listed = []
    for number, entry in enumerate(_entries(path)):
        folder, images, owner, name = _parts(entry, number, path)
        known = owner.replace(" ", "")
        if known not in labels:
            raise InputError(
                f"{path}, image {number}: the folder '{owner}' is of no class ({', '.join(classes)}); replace the file."
            )
        listed.append(Listed(f"./datasets/{folder}/{images}/{known}/{name}", labels[known]))
    return listed


def _entries(path: str | Path) -> list:
    entries = parsed_json(read_text(path), path)
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"{path} must hold a list with an object for every image, and image_url in each; replace the file."
        )
    return entries


def _parts(entry: object, number: int, path: str | Path) -> tuple[str, ...]:
    """Folder, `images`, class and file of an entry."""
    url = entry.get("image_url") if isinstance(entry, dict) else None
    parts = PurePosixPath(url).parts if isinstance(url, str) else ()
    if len(parts) != 4 or ".." in parts or parts[0] == "/":
        raise InputError(
            f"{path}, image {number}: image_url must be <folder>/images/<Class>/<file>, and is {url!r}; replace the file."
        )
    return parts


def read_learners(table: str | Path, log: str | Path, classes: Sequence[str]) -> list[Learner]:
    """The people of a log, in its order.

    Args:
        table: `teaching_images.json` of the experiment.
        log: its `results.json`.
        classes: class names in label order.

    Raises:
        InputError: a file is missing or malformed, or table and log do not agree: how many answers are to pictures whose class differs,
            or that the table lacks; or somebody had no lessons or no test, or there are fewer than two people.
    """
    listed, answers = read_table(table, classes), read_answers([log], None, len(classes))
    numbers = [_number(answer, log) for answer in answers]
    differing = sum(
        n >= len(listed) or listed[n].label != answer.truth for n, answer in zip(numbers, answers, strict=True)
    )
    if differing:
        raise InputError(
            f"{table} does not belong to {log}: {differing} of {len(answers)} answers are to images whose folder is of another class than "
            "the log says, or that the table lacks; give the table of the same experiment."
        )
    people: dict[str, list[tuple[Answer, Listed]]] = {}
    for n, answer in zip(numbers, answers, strict=True):
        people.setdefault(answer.person, []).append((answer, listed[n]))
    learners = [_learner(name, shown) for name, shown in people.items()]
    lacking = sum(not learner.lessons or not learner.tested for learner in learners)
    if lacking or len(learners) < 2:
        raise InputError(
            f"{log} holds {len(learners)} people, {lacking} of them without lessons or without a test; give the whole log of the "
            "experiment, whose people have both."
        )
    return learners


def _number(answer: Answer, log: str | Path) -> int:
    """The number of the picture that was answered to."""
    number = answer.image.removeprefix("image ")
    if not (number.isascii() and number.isdigit()):
        raise InputError(f"{log}: '{answer.image}' is no image number; give a log of explain_teach.")
    return int(number)


def _learner(name: str, shown: Sequence[tuple[Answer, Listed]]) -> Learner:
    lessons = tuple(listed for answer, listed in shown if answer.phase == "lesson")
    tests = [(listed, answer.response) for answer, listed in shown if answer.phase == "test"]
    return Learner(
        name, shown[0][0].group, lessons, tuple(listed for listed, _ in tests), tuple(response for _, response in tests)
    )
