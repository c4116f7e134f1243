"""The students of a course on disk."""

from tests.helpers.noise import CLASSES, SIZE, noise_material, settings
from utils.data.outputs import Layout
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.saved_students import SavedStudents


def test_students_of_an_earlier_course_do_not_stay(tmp_path):
    """Four lessons, then two, then one of two, whose last student found no pair; then none is to be kept."""
    images, ce_list = noise_material(tmp_path / "noise")
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)
    student = OptimalStudent(pool, images, True, settings())
    for lessons, kept, left in ((4, True, 4), (2, True, 2), (1, True, 2), (2, False, 0)):
        students = SavedStudents(Layout(tmp_path), "random", max(lessons, 2), ("a", "b", "c"), kept)
        for iteration in range(left):
            students.keep(iteration, student)
        students.keep_taught(student, lessons)
        assert sorted(path.name for path in tmp_path.glob("students_random/*")) == [
            f"iter_{number:03d}.pt" for number in range(left)
        ]
        assert (tmp_path / "student_random.pth.tar").exists() == kept
