"""Which students can be taught; one more is one file and one line here."""

from typing import Literal, Protocol

from utils.data.loading import ImageSet
from utils.teaching.exemplar import ExemplarStudent
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.sgd import SGDStudent
from utils.teaching.student import Student, StudentSettings

StudentKind = Literal["optimal", "sgd", "exemplar"]


class MakesStudents(Protocol):
    """A kind of student.

    Attributes:
        has_network: whether `network` gives such a student as a classifier.
    """

    has_network: bool

    def __call__(self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings) -> Student:
        """A student who knows nothing yet."""
        ...


STUDENTS: dict[str, MakesStudents] = {
    "optimal": OptimalStudent,
    "sgd": SGDStudent,
    "exemplar": ExemplarStudent,
}
