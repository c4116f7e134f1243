"""A course from start to finish, for all teaching scripts: pool, student, lessons, and the files that remain."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.resnet import ResNet18
from utils import checkpoints, figures, processes
from utils.catalog import Dataset
from utils.course import lesson_entry, people_list, people_rows, teaching_rows
from utils.files import remove_leftovers, write_bytes, write_json
from utils.images import decode, eval_view, whole_view
from utils.layout import Layout
from utils.lists import Explanation, check_files, locate, write_examples
from utils.loading import open_list
from utils.pool import Pool, mask_size
from utils.records import write_table
from utils.resuming import resumable
from utils.settings import chosen_dataset, pick
from utils.student import make_student
from utils.teaching import Lesson, TeachingSettings, teach

REPORTED_LESSONS = (1, 3, 5, 10, 20)


def run_course(cfg, simclr: bool) -> dict:
    """Teaches a student a course and writes all that formats.md names.

    The story: the labelled images and their explanations are the pool; a student with generic features and an empty head is
    taught lesson by lesson; the lessons, its accuracy and the pictures of the course are written down.

    Args:
        cfg: the resolved settings of a teaching script.
        simclr: whether the explanations are those of the SimCLR variant.

    Returns:
        What was measured.
    """
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem, simclr)
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=cfg.image_size))
    test = open_list(dataset, "test", cfg.data_root, partial(eval_view, size=cfg.image_size))
    pool = Pool(images, cfg.ce_list, len(dataset.classes), cfg.explanation_view, cfg.image_size)
    people = people_rows(cfg.ce_list, pool.rows, len(dataset.classes))
    if people:
        check_files(people, people_list(cfg.ce_list), cfg.data_root)
    student = make_student(len(dataset.classes), cfg.pretrained, cfg.seed, cfg.device, cfg.freeze_features)
    how = pick(TeachingSettings, cfg)
    keep = _student_keeper(layout.students(cfg.selection) if cfg.save_students else None)
    with resumable(cfg, _main_files(layout, how)) as unfinished:
        course = teach(student, pool, test, how, keep, unfinished)
        lessons = []
        name = f"teaching ({cfg.selection})"
        progress = tqdm(course, total=cfg.iterations, desc=name, unit="lesson", disable=not processes.is_first())
        for lesson in progress:
            lessons.append(lesson)
            progress.set_postfix(test=f"{lesson.test_accuracy:.1f} %")
        if cfg.save_students:
            content = {"epoch": len(lessons), "arch": student.arch, "state_dict_m": student.state_dict(), "classes": list(dataset.classes)}
            checkpoints.save(layout.taught_student(cfg.selection), content)
        _write_course(layout, dataset, pool, people, lessons, cfg, how)
        return _write_curve(layout, lessons, cfg.selection, len(dataset.classes))


def _main_files(layout: Layout, how: TeachingSettings) -> list[Path]:
    """The course, the teaching set and the learning curve."""
    selection = how.selection
    pictures = [layout.course(selection, ".png"), layout.evolution(selection)]
    accuracies = [layout.accuracy(split, selection) for split in ("train", "test")]
    return [layout.course(selection), layout.teaching_list(selection), layout.evolution(selection, ".csv"), *pictures, *accuracies]


def _student_keeper(folder: Path | None):
    """What to do with the student that is about to make the choice of an iteration: save it below `folder`, or nothing."""

    if folder is not None and folder.exists():
        processes.first_only(remove_leftovers)(folder)

    def keep(iteration: int, student: ResNet18) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoints.save(folder / f"iter_{iteration:03d}.pt", student.state_dict())

    return keep


@processes.first_only
def _write_course(
    layout: Layout,
    dataset: Dataset,
    pool: Pool,
    people: Sequence[Explanation] | None,
    lessons: list[Lesson],
    cfg,
    how: TeachingSettings,
) -> None:
    """Writes the teaching list, course.json and the picture of the course."""
    teaching_list = layout.teaching_list(how.selection)
    teaching_list.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(teaching_list.parent)
    write_examples(teaching_list, [row for lesson in lessons for row in teaching_rows(pool, lesson.choice, how.explain)])
    course = {
        "dataset": dataset.name,
        "classes": list(dataset.classes),
        "selection": how.selection,
        "seed": how.seed,
        "mask_size": mask_size(pool.rows),
        "lessons": [lesson_entry(pool, people, lesson.iteration, lesson.choice) for lesson in lessons],
    }
    write_json(layout.course(how.selection), course)
    figures.course(layout.course(how.selection, ".png"), [_panels(entry, course["classes"], cfg) for entry in course["lessons"]])
    print(f"Course: {layout.course(how.selection)}, {layout.course(how.selection, '.png')}, {teaching_list}")


def _panels(entry: dict, classes: list[str], cfg) -> list[tuple[torch.Tensor, str]]:
    """A lesson's four pictures with titles: the image and its partner, each followed by its explanation."""

    def picture(listed: str) -> torch.Tensor:
        return whole_view(decode(locate(listed, cfg.data_root), "the course"), cfg.image_size)

    shown = entry["explanations"][str(entry["answer"])]
    a, b = classes[entry["label"]], classes[entry["answer"]]
    return [
        (picture(entry["image"]), f"lesson {entry['iteration'] + 1}: {a}"),
        (picture(shown["human"] or shown["image"]), f"why not {b}"),
        (picture(shown["partner"]), b),
        (picture(shown["partner_human"] or shown["partner_explanation"]), f"why not {a}"),
    ]


@processes.first_only
def _write_curve(layout: Layout, lessons: list[Lesson], selection: str, num_classes: int) -> dict:
    """Writes the learning curve as arrays, table and picture; returns the accuracies that papers report."""
    accuracies = {
        "train": [lesson.train_accuracy for lesson in lessons],
        "test": [lesson.test_accuracy for lesson in lessons],
    }
    for split, values in accuracies.items():
        content = io.BytesIO()  # NumPy writing to a file itself would not notice that the disk is full
        np.save(content, np.array(values))
        write_bytes(layout.accuracy(split, selection), content.getbuffer())
    rows = [
        {"iteration": lesson.iteration, "train_accuracy": round(lesson.train_accuracy, 3), "test_accuracy": round(lesson.test_accuracy, 3)}
        for lesson in lessons
    ]
    write_table(layout.evolution(selection, ".csv"), rows)
    numbers = range(1, len(lessons) + 1)
    lines = {"teaching set": accuracies["train"], "test list": accuracies["test"]}
    figures.curves(layout.evolution(selection), lines, numbers, "lessons", "student's accuracy (%)", 100 / num_classes)
    print(f"Learning curve: {layout.evolution(selection)}")
    test = accuracies["test"]
    after = {str(number): round(test[number - 1], 2) for number in REPORTED_LESSONS if number <= len(test)}
    return {"lessons": len(lessons), "test_accuracy_after": after, "test_accuracy_mean": round(float(np.mean(test)), 2)}
