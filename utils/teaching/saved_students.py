"""The students of a course on disk: those who made each choice, and the taught one."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.weights import save_checkpoint
from utils.base import processes
from utils.base.files import remove_leftovers
from utils.data.outputs import Layout
from utils.teaching.student import Student


@dataclass(frozen=True)
class SavedStudents:
    """The students of one course.

    Attributes:
        layout: names of the files.
        selection: whose course it is.
        iterations: lessons that it is to have.
        classes: class names in label order.
        wanted: whether students are kept (`--save-students`).
    """

    layout: Layout
    selection: str
    iterations: int
    classes: Sequence[str]
    wanted: bool

    def keep(self, iteration: int, student: Student) -> None:
        """Saves the student that is about to make the choice of an iteration, if students are kept."""
        if not self.wanted:
            return
        folder = self.layout.students(self.selection)
        folder.mkdir(parents=True, exist_ok=True)
        processes.first_only(remove_leftovers)(folder)
        save_checkpoint(folder / _name(iteration), student.network().state_dict())

    def keep_taught(self, student: Student, lessons: int) -> None:
        """Saves the student that has learned all lessons, if students are kept. Those of an earlier course, who would be taken for this
        one's, are removed."""
        taught, chose = self.layout.taught_student(self.selection), self.layout.students(self.selection)
        choices = min(lessons + 1, self.iterations)  # where no pair remains, the last student found none
        kept = {chose / _name(iteration) for iteration in range(choices)} if self.wanted else set()
        for path in set(chose.glob("iter_*.pt")) - kept:
            processes.first_only(path.unlink)(missing_ok=True)
        if not self.wanted:
            processes.first_only(taught.unlink)(missing_ok=True)
            return
        network = student.network()
        content = {
            "epoch": lessons,
            "arch": network.arch,
            "state_dict_m": network.state_dict(),
            "classes": list(self.classes),
        }
        save_checkpoint(taught, content)


def _name(iteration: int) -> str:
    return f"iter_{iteration:03d}.pt"
