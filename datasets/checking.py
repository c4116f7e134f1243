"""Checks a dataset that is in place: what its lists hold, and whether the files bear them out."""

from collections import Counter
from pathlib import Path

from datasets.images import Inspection, inspect_images
from datasets.trees import some
from utils.data.catalog import Dataset
from utils.data.lists import UNKNOWN, Example, locate, read_examples
from utils.data.outputs import name_problem

EARLIER = {"train": (), "test": ("train",), "rest": ("train", "test")}
KINDS = {"train": "training", "test": "test"}  # of images, by the list that names them
MOST_COLUMNS = 20  # classes that a table of counts can show


def check_dataset(dataset: Dataset, data_root: Path) -> tuple[str, list[str], list[str]]:
    """Reads the lists of a dataset and decodes every image in them; the rest list only where it is there.

    Args:
        dataset: an entry of the catalog.
        data_root: where its folder lies; it is only read.

    Returns:
        A table of the counts per list and class; the problems, each one line: classes without a training image, missing or broken
        files, labels that disagree with the class folder, names too long, images listed twice, images in several lists (by path, by
        content, by pixels); and remarks, what scripts would warn of: classes without a test image.

    Raises:
        InputError: a list is missing or malformed, or an index or an image stands twice with two meanings.
    """
    lists = {split: dataset.list_path(data_root, split) for split in ("train", "test")}
    # The gulls' lies in the folder of NABirds, which not everybody has.
    if dataset.rest and (path := dataset.list_path(data_root, "rest")).exists():
        lists["rest"] = path
    unlabelled = {"test", "rest"} | ({"train"} if dataset.trains_on_rest else set())
    rows = {
        split: read_examples(path, len(dataset.classes), unique=True, rest=split in unlabelled)
        for split, path in lists.items()
    }
    files = [Path(locate(row.path, data_root)) for split in rows.values() for row in split]
    inspected = inspect_images(files)
    absent = {split: _absent(rows[split], dataset.classes) for split in KINDS}
    problems = []
    if absent["train"] and not dataset.trains_on_rest:  # which are for people to label
        problems.append(
            f"{lists['train']} has no image of {some(absent['train'])}; a classifier cannot learn what it never sees: add some."
        )
    for split, path in lists.items():
        problems += _file_problems(path, rows[split], data_root, inspected)
        problems += _label_problems(path, rows[split], dataset.classes)
        problems += _repeats(path, rows[split])
    problems += _name_problems(lists["train"], rows["train"], len(dataset.classes))
    for split, path in lists.items():
        problems += _leaks(path, split, rows, data_root, inspected)
    table = count_table(dataset.classes, {path.stem: rows[split] for split, path in lists.items()})
    untested = f"{lists['test']} has no image of {some(absent['test'])}: test accuracies say nothing of what is not there; add some."
    return table, problems, [untested] if absent["test"] else []


def _absent(rows: list[Example], classes: tuple[str, ...]) -> list[str]:
    """The classes that no image of a list is of; none where images are of unknown classes, which may be these."""
    present = {row.label for row in rows}
    return [name for label, name in enumerate(classes) if label not in present] if UNKNOWN not in present else []


def count_table(classes: tuple[str, ...], lists: dict[str, list[Example]]) -> str:
    """Images per list (rows) and class (columns), as text; of many classes the smallest and the largest."""
    few = len(classes) <= MOST_COLUMNS
    unknown = any(row.label == UNKNOWN for rows in lists.values() for row in rows)
    table = [["list", *(classes if few else ("classes", "fewest", "most")), *(["unknown"] if unknown else []), "total"]]
    for stem, rows in lists.items():
        counts = Counter(row.label for row in rows)
        known = [counts[label] for label in range(len(classes))]
        shown = known if few else [sum(count > 0 for count in known), min(known), max(known)]
        table.append([stem, *map(str, shown), *([str(counts[UNKNOWN])] if unknown else []), str(len(rows))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *cells in table:
        lines.append(
            "  ".join(
                [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
            )
        )
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
        if row.label != UNKNOWN and label_of_folder(row.path, classes) not in (None, row.label):
            problems.append(f"{path}, line {line}: {row.path} is labelled {row.label} ({classes[row.label]}).")
    return problems


def _name_problems(path: Path, rows: list[Example], num_classes: int) -> list[str]:
    """Training images that cannot be explained, since the names of their explanations would be too long."""
    found = (
        (line, row, name_problem(row.path, row.label, row.index, num_classes)) for line, row in enumerate(rows, start=1)
    )
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


def _leaks(
    list_path: Path, split: str, rows: dict[str, list[Example]], data_root: Path, inspected: dict[Path, Inspection]
) -> list[str]:
    """Images of a list that an earlier one shows too: the same path, the same bytes, or the same pixels under other bytes.

    The training list comes before the test list, and both before the images that people label, which join the training list.
    """
    kinds: dict[tuple[str, str], tuple[str, str]] = {}
    for earlier in EARLIER[split]:
        for row in rows[earlier]:
            for key in _identities(row, data_root, inspected):
                kinds.setdefault(key, (earlier, row.path))
    problems = []
    for line, row in enumerate(rows[split], start=1):
        shared = next((key for key in _identities(row, data_root, inspected) if key in kinds), None)
        if shared:
            earlier, twin = kinds[shared]
            problems.append(
                f"{list_path}, line {line}: {row.path} has the same {shared[0]} as the {KINDS[earlier]} image {twin}."
            )
    return problems


def _identities(row: Example, data_root: Path, inspected: dict[Path, Inspection]) -> list[tuple[str, str]]:
    """What an image can be recognised by, the strongest first."""
    found = inspected[Path(locate(row.path, data_root))]
    return [
        (kind, value)
        for kind, value in (("path", row.path), ("content", found.content), ("pixels", found.pixels))
        if value
    ]
