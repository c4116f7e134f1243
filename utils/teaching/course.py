"""The files of a course: teaching list, lessons for people, picture, learning curve and students."""

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.weights import save_checkpoint
from utils.base import figures, processes
from utils.base.errors import InputError
from utils.base.files import checksum, remove_leftovers, write_bytes, write_json, write_table
from utils.data.catalog import Dataset
from utils.data.images import decode, whole_view
from utils.data.lists import Example, Explanation, check_files, locate, read_explanations, write_examples
from utils.data.loading import ImageSet
from utils.data.outputs import Layout, mask_size, people_list
from utils.running import checks
from utils.running.records import read_explanation_record
from utils.teaching.loop import Lesson
from utils.teaching.pool import Pool
from utils.teaching.selector import Choice
from utils.teaching.student import Student

REPORTED_LESSONS = (1, 2, 3, 5, 7, 10, 15, 20)
NETWORK = ("arch", "pretrained", "normalize", "image_size")  # settings of the student's network
PER_ROW = 2  # lessons side by side in the picture of a course


class CourseFiles:
    """The files of a course. `explain` is true if explanations are taught; `cfg` is the `Config` of the script.

    Raises InputError if a picture for people is missing, or their list contains other explanations.
    """

    def __init__(self, dataset: Dataset, layout: Layout, pool: Pool, explain: bool, cfg) -> None:
        self.dataset, self.layout, self.pool, self.explain, self.cfg = dataset, layout, pool, explain, cfg
        self.people = people_rows(cfg.ce_list, pool.rows, len(dataset.classes))
        if self.people:
            check_files(self.people, people_list(cfg.ce_list), cfg.data_root)

    def outputs(self) -> list[Path]:
        layout, selection = self.layout, self.cfg.selection
        files = [layout.course(selection), layout.course(selection, ".png"), layout.teaching_list(selection)]
        files += [layout.evolution(selection), layout.evolution(selection, ".csv")]
        files += [layout.accuracy(split, selection) for split in ("train", "test")]
        return files + ([layout.draws(selection)] if self.cfg.draws else [])

    def save_student(self, iteration: int, student: Student) -> None:
        """Saves the student before its choice of an iteration, with --save-students."""
        if self.cfg.save_students:
            folder = self.layout.students(self.cfg.selection)
            folder.mkdir(parents=True, exist_ok=True)
            processes.first_only(remove_leftovers)(folder)
            save_checkpoint(folder / f"iter_{iteration:03d}.pt", student.classifier().state_dict())

    def write(self, lessons: Sequence[Lesson], student: Student, test: ImageSet) -> dict:
        """Writes the course and its learning curve. Returns the test accuracies and warnings."""
        classes, curve = self.dataset.display_names, [lesson.test_accuracy for lesson in lessons]
        self.save_taught_student(student, len(lessons))
        self._write_course(lessons)
        self._write_curve(lessons, checks.chance(test.labels, len(classes)))
        warnings = [
            checks.incomplete_test_list(test, classes),
            checks.never_above_chance(curve, test.labels, len(classes), student.remedies),
        ]
        return checks.with_warnings(measured(lessons), warnings)

    def save_taught_student(self, student: Student, lessons: int) -> None:
        """Saves the student after the last lesson, with --save-students. Removes students of an earlier course."""
        folder, path = self.layout.students(self.cfg.selection), self.layout.taught_student(self.cfg.selection)
        # If the course ended early, the last saved student found no pair.
        count = min(lessons + 1, self.cfg.iterations) if self.cfg.save_students else 0
        for earlier in folder.glob("iter_*.pt"):
            if int(earlier.stem.removeprefix("iter_")) >= count:
                processes.first_only(earlier.unlink)(missing_ok=True)
        if self.cfg.save_students:
            network = student.classifier()
            content = {"epoch": lessons, "arch": network.arch, "state_dict_m": network.state_dict()}
            save_checkpoint(path, content | {"classes": list(self.dataset.classes)})
        else:
            processes.first_only(path.unlink)(missing_ok=True)

    @processes.first_only
    def _write_course(self, lessons: Sequence[Lesson]) -> None:
        pool, cfg, classes = self.pool, self.cfg, self.dataset.classes
        path, png = (self.layout.course(cfg.selection, suffix) for suffix in (".json", ".png"))
        teaching_list = self.layout.teaching_list(cfg.selection)
        teaching_list.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(teaching_list.parent)
        taught = [row for lesson in lessons for row in teaching_rows(pool, lesson.choice, self.explain)]
        write_examples(teaching_list, taught)
        record = read_explanation_record(cfg.ce_list)
        entries = [lesson_entry(pool, self.people, lesson.iteration, lesson.choice) for lesson in lessons]
        course = {
            "dataset": self.dataset.name,
            "classes": list(classes),
            "selection": cfg.selection,
            "student": cfg.student,
            "explanation": record.get("explanation"),
            "ce_list": cfg.ce_list,
            "network": {name: getattr(cfg, name) for name in NETWORK},
            "seed": cfg.seed,
            "mask_size": record.get("mask_size", mask_size(pool.rows[0].path)),
            "lessons": entries,
            "pictures": {one: checksum(locate(one, cfg.data_root)) for one in _pictures(entries)},
        }
        write_json(path, course)
        names = figures.drawable(self.dataset.display_names)
        panels = [self._panels(lesson, names) for lesson in lessons]
        figures.tiles(png, [sum(panels[start : start + PER_ROW], []) for start in range(0, len(panels), PER_ROW)])
        print(f"{pool.threshold}\nCourse: {path}, {png}, {teaching_list}")

    def _panels(self, lesson: Lesson, names: Sequence[str]) -> list[figures.Tile]:
        """Four titled pictures of a lesson: image and partner, each followed by its explanation or an empty place."""
        pool, pair = self.pool, (lesson.choice.image, lesson.choice.partner)
        own = [int(pool.images.labels[number]) for number in pair]
        rows = [int(pool.table[number, counter]) for number, counter in zip(pair, reversed(own), strict=True)]
        outlined = [min(rows) >= 0 and bool(pool.outlined[row]) for row in rows]
        tiles: list[figures.Tile] = []
        for place, title in enumerate((f"lesson {lesson.iteration + 1}: {names[own[0]]}", names[own[1]])):
            image = pool.images[pair[place]]
            tiles += [(image, title), (image, "look for what the other picture has") if any(outlined) else None]
            if outlined[place]:
                file = locate((self.people or pool.rows)[rows[place]].path, self.cfg.data_root)
                explained = whole_view(decode(file, "the course"), self.cfg.image_size)
                tiles[-1] = explained, f"why not {names[own[1 - place]]}"
        return tiles

    @processes.first_only
    def _write_curve(self, lessons: Sequence[Lesson], chance: float) -> None:
        """Writes the learning curve as arrays, table and picture; `chance` is the chance level, 0 .. 1."""
        layout, selection = self.layout, self.cfg.selection
        train, test = ([getattr(lesson, f"{split}_accuracy") for lesson in lessons] for split in ("train", "test"))
        for split, values in (("train", train), ("test", test)):
            content = io.BytesIO()  # np.save to a file would not notice a full disk
            np.save(content, np.array(values))
            write_bytes(layout.accuracy(split, selection), content.getbuffer())
        known = not math.isnan(test[0])
        rows = [
            {"iteration": n, "train_accuracy": round(a, 3), "test_accuracy": round(b, 3) if known else ""}
            for n, (a, b) in enumerate(zip(train, test, strict=True))
        ]
        write_table(layout.evolution(selection, ".csv"), rows)
        lines = {"teaching set": train} | ({"test list": test} if known else {})
        numbers, path = range(1, len(lessons) + 1), layout.evolution(selection)
        figures.curves(path, lines, numbers, "lessons", "accuracy of the student (%)", 100 * chance)
        print(f"Learning curve: {path}")


def people_rows(ce_list: str, rows: Sequence[Explanation], num_classes: int) -> list[Explanation] | None:
    """Reads the `_HTML.txt` list of pictures for people, in the same order as the explanation list.

    Returns None if it is missing, as with some of the paper's lists.
    """
    path = people_list(ce_list)
    if not path.exists():
        return None
    people = read_explanations(path, num_classes)
    listed, shown = ([replace(row, path=Path(row.path).name) for row in some] for some in (rows, people))
    if listed != shown:
        raise InputError(f"{path} and {ce_list} list different explanations. Explain the list again.")
    return people


def teaching_rows(pool: Pool, choice: Choice, explain: bool) -> list[Example]:
    """Rows that a lesson adds to the teaching list. An explanation has the index of its image."""
    items = choice.items(pool.images.labels, pool.table, explain)
    images = [pool.images.rows[number] for number, row in items if row is None]
    explained = [pool.rows[row] for _, row in items if row is not None]
    return images + [Example(row.path, row.label, row.index) for row in explained]


def lesson_entry(pool: Pool, people: Sequence[Explanation] | None, iteration: int, choice: Choice) -> dict:
    """One lesson of course.json.

    `explanations` has the wrong answers for which both images are explained. `partners` has the other wrong answers,
    with the image to compare with; it is missing if there are no others.
    """
    images, own = pool.images.rows, int(pool.images.labels[choice.image])
    explanations, partners = {}, {}
    for wrong, partner in choice.partners.items():
        row, partner_row = int(pool.table[choice.image, wrong]), int(pool.table[partner, own])
        if min(row, partner_row) < 0:
            partners[str(wrong)] = images[partner].path
            continue
        explanations[str(wrong)] = {
            "image": pool.rows[row].path,
            "human": people[row].path if people else None,
            "partner": images[partner].path,
            "partner_explanation": pool.rows[partner_row].path,
            "partner_human": people[partner_row].path if people else None,
        }
    entry = {
        "iteration": iteration,
        "image": images[choice.image].path,
        "label": own,
        "answer": choice.counter,
        "score": choice.score,
        "partner": {"image": images[choice.partner].path, "label": choice.counter},
        "explanations": explanations,
    }
    return entry | ({"partners": partners} if partners else {})


def _pictures(entries: Sequence[dict]) -> Iterator[str]:
    """Yields the pictures and explanations of lessons."""
    for entry in entries:
        yield from (entry["image"], entry["partner"]["image"], *entry.get("partners", {}).values())
        yield from (path for pair in entry["explanations"].values() for path in pair.values() if path)


def measured(lessons: Sequence[Lesson]) -> dict:
    """Accuracies that papers report, if the classes of the test list are known."""
    test = [lesson.test_accuracy for lesson in lessons]
    if math.isnan(test[0]):
        return {"lessons": len(lessons)}
    after = {str(number): round(test[number - 1], 2) for number in REPORTED_LESSONS if number <= len(test)}
    return {"lessons": len(lessons), "test_accuracy_after": after, "test_accuracy_mean": round(float(np.mean(test)), 2)}


def read_course(path: Path, dataset: Dataset) -> dict:
    """Reads course_<selection>.json. Raises InputError if it is missing, damaged, or of another dataset."""
    try:
        course = json.loads(path.read_text(encoding="utf-8"))
        owner, classes = course["dataset"], tuple(course["classes"])
        if not course["lessons"]:
            raise ValueError("it has no lessons")
    except FileNotFoundError:
        raise InputError(f"Course {path} not found. Run the teaching script, or check --selection and --out.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{path} is not a course file ({type(error).__name__}: {error})"
        raise InputError(f"{problem}. Make the course again.") from error
    if (owner, classes) != (dataset.name, dataset.classes):
        raise InputError(f"{path} is a course of {owner}, not of {dataset.name}. Check --dataset or --out.")
    return course
