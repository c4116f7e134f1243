"""Batches of Mechanical Turk: who handed in what, and whose work the requester rejected.

A rejection stands in the column AssignmentStatus, or, in a batch that was reviewed offline and is yet to be uploaded, in the column
Reject, as an x or a reason (Amazon Mechanical Turk, Requester UI Guide, "Reviewing results offline").
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from utils.base.errors import InputError
from utils.people.tables import parsed_json

NEEDED = {"AssignmentId", "Answer.trials"}  # the column WorkerId is missing where a batch was made anonymous
REJECTED_STATUS = "rejected in the column AssignmentStatus"
REJECTED_OFFLINE = "rejected in the column Reject"
NO_ANSWERS = "no answers"
CUT_SHORT = "answers cut short, as by a spreadsheet, whose cells end at 32,767 characters (download the batch anew)"


@dataclass(frozen=True)
class Submission:
    """One row of a batch.

    Attributes:
        line: where it begins in the file.
        worker: who; "" where the batch does not tell.
        assignment: which of the HIT's assignments; "" where the batch does not tell.
        trials: what was answered, as JSON has it; None where it is left out.
        reason: why it is left out; "" where it is not.
    """

    line: int
    worker: str
    assignment: str
    trials: object
    reason: str = ""

    @property
    def rejected(self) -> bool:
        """Whether the requester rejected it."""
        return self.reason in (REJECTED_STATUS, REJECTED_OFFLINE)


def submissions(rows: Iterable[tuple[int, Mapping[str, str]]], path: object) -> Iterator[Submission]:
    """The rows of a batch with what is to be done with each.

    Args:
        rows: lines and columns, without the header.
        path: the file, for messages.

    Raises:
        InputError: a row contradicts itself, or its answers are not JSON though they are whole.
    """
    for line, row in rows:
        where = f"{path}, line {line}"
        worker, assignment = (row.get(name, "").strip() for name in ("WorkerId", "AssignmentId"))
        text = row["Answer.trials"].strip()
        reason = _rejection(row, where) or _gap(text)
        trials = None if reason else parsed_json(text, f"{where}: Answer.trials")
        if trials == []:
            trials, reason = None, NO_ANSWERS
        yield Submission(line, worker, assignment, trials, reason)


def _rejection(row: Mapping[str, str], where: str) -> str:
    """Where the requester rejected a row; "" if nowhere. Of two decisions that contradict each other none is preferred."""
    status, approved, rejected = (row.get(name, "").strip() for name in ("AssignmentStatus", "Approve", "Reject"))
    by_status = status.casefold() == "rejected"
    if approved and (rejected or by_status):
        other = "Reject is filled" if rejected else "AssignmentStatus is Rejected"
        raise InputError(f"{where}: Approve is filled, and yet {other}; decide, and empty one of the columns.")
    return REJECTED_STATUS if by_status else REJECTED_OFFLINE if rejected else ""


def _gap(text: str) -> str:
    """What is missing of a row's answers; "" if nothing."""
    if not text:
        return NO_ANSWERS
    return CUT_SHORT if text.startswith("[") and not text.endswith("]") else ""
