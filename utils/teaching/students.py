"""Which students can be taught; one more is one file and one line here."""

from collections.abc import Callable
from typing import Literal

from utils.teaching.optimal import OptimalStudent
from utils.teaching.sgd import SGDStudent
from utils.teaching.student import Student

StudentKind = Literal["optimal", "sgd"]

STUDENTS: dict[str, Callable[..., Student]] = {
    "optimal": OptimalStudent,
    "sgd": SGDStudent,
}
