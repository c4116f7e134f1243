"""Which students can be taught; one more is one file and one line here."""

from collections.abc import Callable
from typing import Literal

from utils.teaching.sgd import SGDStudent
from utils.teaching.student import Student

StudentKind = Literal["sgd"]

STUDENTS: dict[str, Callable[..., Student]] = {
    "sgd": SGDStudent,
}
