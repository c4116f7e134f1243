"""A course on disk: the teaching list for machines, the lessons for people, its pictures, its learning curve and its students."""

import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from utils.base import figures, processes
from utils.base.errors import InputError
from utils.base.files import remove_leftovers, write_bytes, write_json, write_table
from utils.data.catalog import Dataset
from utils.data.images import decode, whole_view
from utils.data.lists import Example, Explanation, check_files, locate, read_explanations, write_examples
from utils.data.loading import ImageSet
from utils.data.outputs import Layout, mask_size, people_list
from utils.running import checks
from utils.running.records import explained_by
from utils.teaching.choice import Choice
from utils.teaching.loop import Lesson
from utils.teaching.pool import Pool
from utils.teaching.registry import Selection, StudentKind
from utils.teaching.saved_students import SavedStudents
from utils.teaching.student import Student

REPORTED_LESSONS = (1, 2, 3, 5, 7, 10, 15, 20)
PER_ROW = 2  # lessons of a course side by side


def people_rows(ce_list: str, rows: Sequence[Explanation], num_classes: int) -> list[Explanation] | None:
    """The pictures for people that belong to an explanation list: its `_HTML.txt` sibling, row by row.

    Returns:
        The rows, or None where there is no such list (the paper's lists may come without).

    Raises:
        InputError: the sibling lists other explanations.
    """
    path = people_list(ce_list)
    if not path.exists():
        return None
    people = read_explanations(path, num_classes)
    keys = [[(row.index, row.label, row.counter, Path(row.path).name) for row in some] for some in (rows, people)]
    if keys[0] != keys[1]:
        raise InputError(f"{path} lists other explanations than {ce_list}; explain the list anew.")
    return people


def teaching_rows(pool: Pool, choice: Choice, explain: bool) -> list[Example]:
    """The rows that a lesson adds to the teaching list: x_i, x_j and, if `explain`, E(x_i; a, b), E(x_j; b, a).

    The index of an explanation is that of its source image.
    """
    pair = (choice.image, choice.partner), (choice.partner, choice.image)
    rows = [pool.images.rows[number] for number, _ in pair]
    for number, other in pair if explain else ():
        row = pool.table[number, pool.images.rows[other].label]
        if row >= 0:
            rows.append(Example(pool.rows[row].path, pool.rows[row].label, pool.rows[row].index))
    return rows


def lesson_entry(pool: Pool, people: Sequence[Explanation] | None, iteration: int, choice: Choice) -> dict:
    """One lesson of course.json.

    A wrong answer is among its `explanations` if both images of its pair have one. The others stand in `partners` with the image to
    compare with; where there is none of them, there is no such key.
    """
    labels = pool.images.labels.tolist()
    own = labels[choice.image]
    explanations, partners = {}, {}
    for wrong, partner in choice.partners.items():
        rows = int(pool.table[choice.image, wrong]), int(pool.table[partner, own])
        if min(rows) < 0:
            partners[str(wrong)] = pool.images.rows[partner].path
            continue
        image, partner_image = (pool.rows[row].path for row in rows)
        human, partner_human = (people[row].path if people else None for row in rows)
        explanations[str(wrong)] = {
            "image": image,
            "human": human,
            "partner": pool.images.rows[partner].path,
            "partner_explanation": partner_image,
            "partner_human": partner_human,
        }
    entry = {
        "iteration": iteration,
        "image": pool.images.rows[choice.image].path,
        "label": own,
        "answer": choice.counter,
        "score": choice.score,
        "partner": {"image": pool.images.rows[choice.partner].path, "label": choice.counter},
        "explanations": explanations,
    }
    return entry | ({"partners": partners} if partners else {})


def plain_partners(entry: dict) -> dict[str, str]:
    """The wrong answers of a lesson that nothing explains, each with the image to compare with, as the course names it.

    Course files from before there was `partners` know that of the lesson's own answer alone.
    """
    known = {str(entry["answer"]): entry["partner"]["image"]} | entry.get("partners", {})
    return {answer: image for answer, image in known.items() if answer not in entry["explanations"]}


@dataclass(frozen=True)
class CourseSettings:
    """Settings of a course's files.

    Attributes:
        selection, student, iterations, pretrained, seed: with which the course is made.
        ce_list: the explanation list that its pool is of.
        data_root: what `./datasets/` in lists stands for.
        image_size: side of the images in pixels.
        save_students: whether the students of every lesson, and the taught one, are kept.
    """

    selection: Selection
    student: StudentKind
    iterations: int
    pretrained: str
    seed: int
    ce_list: str
    data_root: str
    image_size: int
    save_students: bool


class CourseFiles:
    """The files of a course that is being made.

    Args:
        dataset: of which the course is.
        layout: names of the files.
        pool: what the course is made of.
        explain: whether explanations are taught.
        how: settings.

    Raises:
        InputError: a picture for people is missing, their list is of other explanations, or such a student cannot be saved.
    """

    def __init__(self, dataset: Dataset, layout: Layout, pool: Pool, explain: bool, how: CourseSettings) -> None:
        self.dataset, self.layout, self.pool, self.explain, self.how = dataset, layout, pool, explain, how
        self.students = SavedStudents(layout, how.selection, how.iterations, dataset.classes, how.save_students)
        self._people = people_rows(how.ce_list, pool.rows, len(dataset.classes))
        if self._people:
            check_files(self._people, people_list(how.ce_list), how.data_root)

    def main(self, draws: bool) -> list[Path]:
        """The course, the teaching set and the learning curve; with the draws' table if there are `draws`."""
        layout, selection = self.layout, self.how.selection
        pictures = [layout.course(selection, ".png"), layout.evolution(selection)]
        accuracies = [layout.accuracy(split, selection) for split in ("train", "test")]
        tables = [layout.evolution(selection, ".csv")] + ([layout.draws(selection)] if draws else [])
        return [layout.course(selection), layout.teaching_list(selection), *tables, *pictures, *accuracies]

    def write(self, lessons: Iterable[Lesson], student: Student, test: ImageSet) -> dict:
        """Lets the course take place, showing how far it is, and writes it.

        Args:
            lessons: the course, lesson by lesson.
            student: who takes it.
            test: the test list that it is measured on.

        Returns:
            What was measured, and what speaks against it.
        """
        taken = []
        name = f"teaching ({self.how.selection})"
        progress = tqdm(lessons, total=self.how.iterations, desc=name, unit="lesson", disable=not processes.is_first())
        for lesson in progress:
            taken.append(lesson)
            progress.set_postfix({"test": f"{lesson.test_accuracy:.1f} %"} if test.num_known else {})
        self.students.keep_taught(student, len(taken))
        self._write_course(taken)
        _write_curve(self.layout, taken, self.how.selection, checks.chance(test.labels, len(self.dataset.classes)))
        return checks.with_warnings(measured(taken), self._doubts(taken, student, test))

    def _doubts(self, lessons: Sequence[Lesson], student: Student, test: ImageSet) -> list[str | None]:
        """What speaks against the results, if anything."""
        accuracies = [lesson.test_accuracy for lesson in lessons]
        shown = {
            int(self.pool.images.labels[row])
            for lesson in lessons
            for row in (lesson.choice.image, lesson.choice.partner)
        }
        return [
            checks.untaught_classes(len(lessons), len(shown), len(self.dataset.classes)),
            checks.random_features(self.how.pretrained, student.keeps_features),
            checks.incomplete_test_list(test, self.dataset.classes),
            checks.never_above_chance(accuracies, test.labels, len(self.dataset.classes), student.remedies),
        ]

    @processes.first_only
    def _write_course(self, lessons: Sequence[Lesson]) -> None:
        """Writes the teaching list, course.json and the picture of the course."""
        layout, pool, selection = self.layout, self.pool, self.how.selection
        teaching_list = layout.teaching_list(selection)
        teaching_list.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(teaching_list.parent)
        write_examples(
            teaching_list, [row for lesson in lessons for row in teaching_rows(pool, lesson.choice, self.explain)]
        )
        entries = [lesson_entry(pool, self._people, lesson.iteration, lesson.choice) for lesson in lessons]
        course = {
            "dataset": self.dataset.name,
            "classes": list(self.dataset.classes),
            "selection": selection,
            "student": self.how.student,
            "explanation": explained_by(self.how.ce_list),
            "seed": self.how.seed,
            "mask_size": mask_size(pool.rows[0].path),
            "lessons": entries,
        }
        write_json(layout.course(selection), course)
        names = figures.drawable(self.dataset.classes)
        draw_course(layout.course(selection, ".png"), [self._panels(entry, names) for entry in entries])
        print(f"Course: {layout.course(selection)}, {layout.course(selection, '.png')}, {teaching_list}")

    def _panels(self, entry: dict, names: Sequence[str]) -> list[tuple[torch.Tensor, str]]:
        """A lesson's four pictures with titles: the image and its partner, each followed by its explanation where there is one."""

        def picture(listed: str) -> torch.Tensor:
            return whole_view(decode(locate(listed, self.how.data_root), "the course"), self.how.image_size)

        shown = entry["explanations"].get(str(entry["answer"]))
        a, b = names[entry["label"]], names[entry["answer"]]
        title = f"lesson {entry['iteration'] + 1}: {a}"
        if not shown:
            return [(picture(entry["image"]), title), (picture(entry["partner"]["image"]), b)]
        return [
            (picture(entry["image"]), title),
            (picture(shown["human"] or shown["image"]), f"why not {b}"),
            (picture(shown["partner"]), b),
            (picture(shown["partner_human"] or shown["partner_explanation"]), f"why not {a}"),
        ]


def draw_course(path: str | Path, lessons: Sequence[Sequence[tuple[torch.Tensor, str]]]) -> None:
    """A course lesson by lesson. A lesson without explanations leaves their places empty where another has some.

    Args:
        path: the PNG.
        lessons: for each lesson its pictures uint8 (3, h, w) with their titles.
    """
    starts, width = range(0, len(lessons), PER_ROW), max(map(len, lessons))
    shown = [
        [tile for picture in lesson for tile in (picture, None)] if len(lesson) < width else lesson
        for lesson in lessons
    ]
    figures.tiles(path, [[tile for lesson in shown[start : start + PER_ROW] for tile in lesson] for start in starts])


@processes.first_only
def _write_curve(layout: Layout, lessons: Sequence[Lesson], selection: str, chance: float) -> None:
    """Writes the learning curve as arrays, table and picture; `chance` is how often guessing is right, 0 .. 1."""
    accuracies = {
        "train": [lesson.train_accuracy for lesson in lessons],
        "test": [lesson.test_accuracy for lesson in lessons],
    }
    for split, values in accuracies.items():
        content = io.BytesIO()  # NumPy writing to a file itself would not notice that the disk is full
        np.save(content, np.array(values))
        write_bytes(layout.accuracy(split, selection), content.getbuffer())
    rows = [
        {
            "iteration": lesson.iteration,
            "train_accuracy": round(lesson.train_accuracy, 3),
            "test_accuracy": _rounded(lesson.test_accuracy),
        }
        for lesson in lessons
    ]
    write_table(layout.evolution(selection, ".csv"), rows)
    numbers = range(1, len(lessons) + 1)
    lines = {"teaching set": accuracies["train"], "test list": accuracies["test"]}
    if math.isnan(accuracies["test"][0]):
        del lines["test list"]
    figures.curves(layout.evolution(selection), lines, numbers, "lessons", "student's accuracy (%)", 100 * chance)
    print(f"Learning curve: {layout.evolution(selection)}")


def _rounded(accuracy: float) -> float | str:
    """An accuracy in a table: empty where it could not be measured."""
    return "" if math.isnan(accuracy) else round(accuracy, 3)


def measured(lessons: Sequence[Lesson]) -> dict:
    """The accuracies that papers report, if any could be measured."""
    test = [lesson.test_accuracy for lesson in lessons]
    if math.isnan(test[0]):
        return {"lessons": len(lessons)}
    after = {str(number): round(test[number - 1], 2) for number in REPORTED_LESSONS if number <= len(test)}
    return {"lessons": len(lessons), "test_accuracy_after": after, "test_accuracy_mean": round(float(np.mean(test)), 2)}


def read_course(path: Path, dataset: Dataset) -> dict:
    """Reads a course file and checks that it is what the teaching scripts write.

    Args:
        path: course_<selection>.json.
        dataset: the dataset that the course must be of.

    Raises:
        InputError: the file is missing or malformed, or the course is of another dataset.
    """
    try:
        course = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"The course {path} does not exist; run the teaching script first, or correct --selection or --out."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"The course {path} cannot be read as JSON ({error}); make it anew.") from error
    try:
        if course["dataset"] != dataset.name or tuple(course["classes"]) != dataset.classes:
            raise InputError(
                f"{path} is a course of {course['dataset']}, not of {dataset.name}; correct --dataset or --out."
            )
        if not course["lessons"]:
            raise InputError(f"{path} has no lessons; make the course anew.")
        for number, lesson in enumerate(course["lessons"], start=1):
            _check_lesson(lesson, len(dataset.classes), f"{path}, lesson {number}")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a course file ({type(error).__name__}: {error}); make it anew.") from error
    return course


def _check_lesson(lesson: dict, num_classes: int, where: str) -> None:
    """Checks an entry as `lesson_entry` makes it: numbers in range, a whole pair for each wrong answer that is explained, and an image for
    each that has a partner alone."""
    wrong = {str(label) for label in range(num_classes)} - {str(lesson["label"])}
    if not isinstance(lesson["image"], str) or lesson["label"] not in range(num_classes):
        raise InputError(f"{where}: image or label is wrong; make the course anew.")
    if not {str(lesson["answer"]), *lesson["explanations"]} <= wrong:
        raise InputError(
            f"{where}: the answer {lesson['answer']} or another that is explained is no wrong class; make the course anew."
        )
    for answer, pair in lesson["explanations"].items():
        texts = [pair[name] for name in ("image", "partner", "partner_explanation")]
        if not all(isinstance(text, str) for text in texts + [pair[name] or "" for name in ("human", "partner_human")]):
            raise InputError(f"{where}: the explanation against class {answer} names no files; make the course anew.")
    if not set(lesson.get("partners", {})) <= wrong - set(lesson["explanations"]):
        raise InputError(f"{where}: partners are for wrong classes that nothing explains; make the course anew.")
    for answer, image in plain_partners(lesson).items():
        if not isinstance(image, str):
            raise InputError(f"{where}: the partner of class {answer} names no file; make the course anew.")
