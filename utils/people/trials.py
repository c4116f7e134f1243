"""One trial: the answer of one person to one image, as the page sends it and as exports give it."""

import dataclasses
import re
from dataclasses import dataclass
from typing import TypeGuard

from utils.people.built_page import BuiltPage

SECRET_ID = re.compile("[0-9a-f]{32}")
HIGHEST_INDEX = 1_000_000
LONGEST = 1e12  # milliseconds: 31 years, since a person may come back to an open page


@dataclass(frozen=True)
class Trial:
    """One answer, under the names that jsPsych gives its data. The order of the fields is that of exports.

    Attributes:
        trial_id: 32 hexadecimal digits, drawn by the page.
        trial_index: the trial's place in the person's course, from 0.
        trial_type: the same as `phase`.
        phase: `lesson`, `test` or `label`.
        time_elapsed: milliseconds since the person began in which the page was open; not those between an answer and a reload.
        rt: milliseconds from showing the image to the answer.
        stimulus: the image's id.
        response: the class that was answered.
        correct: whether it is the true one; only lessons know.
        build_id: the build of the page.
    """

    trial_id: str
    trial_index: int
    trial_type: str
    phase: str
    time_elapsed: float
    rt: float
    stimulus: str
    response: int
    correct: bool | None
    build_id: str


FIELDS = tuple(field.name for field in dataclasses.fields(Trial))


class Refused(Exception):
    """A trial that cannot be taken; the message is the reason that its sender gets. It repeats nothing that was sent."""


def read_trial(sent: dict, page: BuiltPage) -> Trial:
    """Checks every field of a trial that someone sent.

    Args:
        sent: a JSON object.
        page: the page that it must come from.

    Raises:
        Refused: naming the first field that is wrong.
    """
    lesson = sent.get("phase") == "lesson"
    expected = [name for name in FIELDS if lesson or name != "correct"]
    if set(sent) != set(expected):
        raise Refused(f"a trial of this phase has exactly the fields {', '.join(expected)}")
    stimulus, response = sent["stimulus"], sent["response"]
    known = isinstance(stimulus, str) and stimulus in page.phases and page.phases[stimulus] == sent["phase"]
    rules = (
        ("trial_id", is_secret_id(sent["trial_id"]), "must be 32 hexadecimal digits"),
        ("trial_index", _is_whole(sent["trial_index"], HIGHEST_INDEX), "must be a whole number from 0"),
        ("trial_type", sent["trial_type"] == sent["phase"], "must be the phase"),
        ("time_elapsed", is_time(sent["time_elapsed"]), "must be a number of milliseconds from 0"),
        ("rt", is_time(sent["rt"]), "must be a number of milliseconds from 0"),
        ("stimulus", known, "must be an image of this phase"),
        ("response", _is_whole(response, page.num_classes - 1), f"must be a class, 0 .. {page.num_classes - 1}"),
        ("build_id", sent["build_id"] == page.build_id, "must be that of the page; reload it"),
    )
    for name, holds, demand in rules:
        if not holds:
            raise Refused(f"{name} {demand}")
    if lesson and sent["correct"] is not (response == page.lesson_labels[stimulus]):
        raise Refused("correct must tell whether the response is right")
    return Trial(**{"correct": None, **sent})


def is_secret_id(value: object) -> TypeGuard[str]:
    """Whether a value has the form of a trial's or participant's id."""
    return isinstance(value, str) and SECRET_ID.fullmatch(value) is not None


def is_time(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number of milliseconds that a trial may hold, 0 .. `LONGEST`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def _is_whole(value: object, highest: int) -> bool:
    return type(value) is int and 0 <= value <= highest
