"""One answer, the participant of a file who gave it, and who of the participants of several files are the same person."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.base.errors import InputError
from utils.people.turk import Submission

LONGEST_NAME = 200  # characters
EVERY_FILE = -1  # the place of a name that is the same person's in every file


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


# A file with its participants; and what stands for a participant: the number of the file, or `EVERY_FILE`, and the name.
File = tuple[str | Path, list[Participant]]
_Part = tuple[int, str]


def in_telling_order(files: Sequence[File]) -> list[File]:
    """Files in the order in which they are read: first those that tell workers, then other batches, then all others, each as given. So
    an answer of a batch counts, and not one of a download to the same image, whichever of them is named first."""

    def rank(file: File) -> int:
        return min((0 if some.worker else 1 if some.submission else 2 for some in file[1]), default=2)

    return sorted(files, key=rank)


def who_is_who(files: Sequence[File]) -> list[str]:
    """The person of every participant of several files, one after the other, told by names and by trials in common over all files.

    A name is one person's in every file, but for a number, which is one within its export. A trial in common makes one person of two
    participants of different files, but neither of two workers of Mechanical Turk, whatever they handed in, nor of two numbers of one
    export. A person is called by the first name, with the file's where somebody else is called so already.
    """
    people, parts = _People(), list[_Part]()
    first: dict[str, tuple[int, _Part]] = {}  # trial id -> the file that told it first, and whose it is there
    for number, (_, participants) in enumerate(files):
        for participant in participants:
            part = people.add(participant, number)
            parts.append(part)
            for trial, _ in participant.trials:
                file, other = first.setdefault(trial, (number, part))
                if file != number:
                    people.join(other, part)
    names = [(participant.name, path) for path, participants in files for participant in participants]
    called: dict[_Part, str] = {}
    taken: set[str] = set()
    for part, (name, path) in zip(parts, names, strict=True):
        if people.find(part) not in called:
            called[people.find(part)] = f"{name} ({path})" if name in taken else name
            taken.add(called[people.find(part)])
    return [called[people.find(part)] for part in parts]


class _People:
    """Parts of files that are joined to people: each part leads to another of the same person, or stands for the person."""

    def __init__(self) -> None:
        self._before: dict[_Part, _Part] = {}
        self._workers: dict[_Part, set[str]] = {}  # of a person, by the part that the others lead to
        self._exports: dict[_Part, set[int]] = {}  # files that number a part of the person

    def add(self, participant: Participant, file: int) -> _Part:
        """The part of a participant of the file of this number; others of the same name may have it already."""
        part = (file if participant.numbered else EVERY_FILE, participant.name)
        if part not in self._before:
            self._before[part] = part
            self._workers[part], self._exports[part] = set(), {file} if participant.numbered else set()
        if participant.worker:
            self._workers[self.find(part)].add(participant.worker)
        return part

    def find(self, part: _Part) -> _Part:
        """The part that stands for the person."""
        while self._before[part] != part:
            self._before[part] = self._before[self._before[part]]  # halves the way for the next time
            part = self._before[part]
        return part

    def join(self, one: _Part, other: _Part) -> None:
        """Makes one person of two, unless they must be two."""
        one, other = self.find(one), self.find(other)
        two_workers = len(self._workers[one] | self._workers[other]) > 1
        if one != other and not two_workers and not self._exports[one] & self._exports[other]:
            self._before[other] = one
            self._workers[one] |= self._workers[other]
            self._exports[one] |= self._exports[other]


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
        raise InputError(
            f"{where}: {what} must be at most {LONGEST_NAME} characters, all of them printable; correct it."
        )
    return name
