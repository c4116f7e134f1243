"""Checks a dataset that is in place: what its lists hold, and whether the files bear them out."""

from collections import Counter
from pathlib import Path

from datasets.images import Inspection, inspect_images
from utils.data.catalog import Dataset
from utils.data.lists import Example, locate, read_examples
from utils.data.outputs import name_problem


def check_dataset(dataset: Dataset, data_root: Path) -> tuple[str, list[str]]:
    """Reads both lists of a dataset and decodes every image in them.

    Args:
        dataset: an entry of the catalog.
        data_root: where its folder lies; it is only read.

    Returns:
        A table of the counts per list and class, and the problems, each one line: missing or broken files, labels that
        disagree with the class folder, names too long, images listed twice, images in both lists (by path, by content, by pixels).

    Raises:
        InputError: a list is missing or malformed, or an index or an image stands twice with two meanings.
    """
    lists = {split: dataset.list_path(data_root, split) for split in ("train", "test")}
    rows = {split: read_examples(path, len(dataset.classes), unique=True) for split, path in lists.items()}
    files = [Path(locate(row.path, data_root)) for split in rows.values() for row in split]
    inspected = inspect_images(files)
    problems = []
    for split, path in lists.items():
        problems += _file_problems(path, rows[split], data_root, inspected)
        problems += _label_problems(path, rows[split], dataset.classes)
        problems += _repeats(path, rows[split])
    problems += _name_problems(lists["train"], rows["train"], len(dataset.classes))
    problems += _leaks(lists["test"], rows, data_root, inspected)
    table = count_table(dataset.classes, {path.stem: rows[split] for split, path in lists.items()})
    return table, problems


def count_table(classes: tuple[str, ...], lists: dict[str, list[Example]]) -> str:
    """Images per list (rows) and class (columns), as text."""
    table = [["list", *classes, "total"]]
    for stem, rows in lists.items():
        counts = Counter(row.label for row in rows)
        table.append([stem, *(str(counts[label]) for label in range(len(classes))), str(len(rows))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *cells in table:
        lines.append("  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]))
    return "\n".join(lines)


def label_of_folder(listed: str, classes: tuple[str, ...]) -> int | None:
    """The label that the folder of a listed image stands for, or None where folders are not named like the classes."""
    parts = listed.split("/")
    return classes.index(parts[-2]) if len(parts) > 1 and parts[-2] in classes else None


def _file_problems(path: Path, rows: list[Example], data_root: Path, inspected: dict[Path, Inspection]) -> list[str]:
    problems = []
    for line, row in enumerate(rows, start=1):
        found = inspected[Path(locate(row.path, data_root))]
        if found.problem:
            problems.append(f"{path}, line {line}: {row.path} {found.problem}{found.remedy and '; ' + found.remedy}.")
    return problems


def _label_problems(path: Path, rows: list[Example], classes: tuple[str, ...]) -> list[str]:
    problems = []
    for line, row in enumerate(rows, start=1):
        if label_of_folder(row.path, classes) not in (None, row.label):
            problems.append(f"{path}, line {line}: {row.path} is labelled {row.label} ({classes[row.label]}).")
    return problems


def _name_problems(path: Path, rows: list[Example], num_classes: int) -> list[str]:
    """Training images that cannot be explained, since the names of their explanations would be too long."""
    found = ((line, row, name_problem(row.path, row.label, row.index, num_classes)) for line, row in enumerate(rows, start=1))
    return [f"{path}, line {line}: {row.path} {problem}." for line, row, problem in found if problem]


def _repeats(path: Path, rows: list[Example]) -> list[str]:
    """Images that one list names more than once."""
    seen: dict[str, int] = {}
    problems = []
    for line, row in enumerate(rows, start=1):
        first = seen.setdefault(row.path, line)
        if first != line:
            problems.append(f"{path}, line {line}: {row.path} is listed in line {first} already.")
    return problems


def _leaks(test_list: Path, rows: dict[str, list[Example]], data_root: Path, inspected: dict[Path, Inspection]) -> list[str]:
    """Test images that are also training images: the same path, the same bytes, or the same pixels under other bytes."""
    kinds: dict[tuple[str, str], str] = {}
    for row in rows["train"]:
        for key in _identities(row, data_root, inspected):
            kinds.setdefault(key, row.path)
    problems = []
    for line, row in enumerate(rows["test"], start=1):
        key = next((key for key in _identities(row, data_root, inspected) if key in kinds), None)
        if key:
            problems.append(f"{test_list}, line {line}: {row.path} has the same {key[0]} as the training image {kinds[key]}.")
    return problems


def _identities(row: Example, data_root: Path, inspected: dict[Path, Inspection]) -> list[tuple[str, str]]:
    """What an image can be recognised by, the strongest first."""
    found = inspected[Path(locate(row.path, data_root))]
    return [(kind, value) for kind, value in (("path", row.path), ("content", found.content), ("pixels", found.pixels)) if value]
