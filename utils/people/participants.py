"""One answer, and the participant of a file who gave it."""

from collections import Counter
from dataclasses import dataclass, field

from utils.base.errors import InputError
from utils.people.turk import Submission

LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one person to one image.

    Attributes:
        person: who.
        phase: `lesson` (feedback followed), `test` or `label`.
        image: the path as lists name it; `image <number>` in logs that name no files.
        response: the class that was answered.
        seconds: how long it took; None where unknown.
        truth: the image's class; None where unknown.
        group: what the person was taught by, where the file tells.
    """

    person: str
    phase: str
    image: str
    response: int
    seconds: float | None
    truth: int | None
    group: str = ""


@dataclass
class Participant:
    """One participant's part of a file.

    Attributes:
        name: as the file has it.
        where: file, and participant or line, for error messages.
        trials: trial id and answer; logs without trial ids have names of their own for them.
        numbered: whether the name is a number within this export, which another export may have given to somebody else.
        submission: the row of a Mechanical Turk batch that it is.
        left_out: how many further trials do not count, by the reason.
    """

    name: str
    where: str
    trials: list[tuple[str, Answer]] = field(default_factory=list)
    numbered: bool = False
    submission: Submission | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def worker(self) -> str:
        """The worker of Mechanical Turk; "" where unknown."""
        return self.submission.worker if self.submission else ""


def checked_name(name: str, where: str, what: str = "participant") -> str:
    """A name out of a file, as reports may repeat it. People without one would become one person.

    Args:
        name: of a participant, or of a group of them.
        where: file, and participant or line.
        what: the field that holds it.

    Raises:
        InputError: it is empty or very long, or holds what no text file or terminal should be given, such as a line break.
    """
    if not name.strip():
        raise InputError(f"{where}: {what} is empty, so that nobody knows whose answers these are; correct it.")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"{where}: {what} must be at most {LONGEST_NAME} characters, all of them printable; correct it.")
    return name
