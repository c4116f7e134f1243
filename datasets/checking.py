"""Checks a dataset: counts its images and compares its lists with its files."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from utils.base.errors import first_of
from utils.base.machine import processors, side_by_side
from utils.data.catalog import Dataset
from utils.data.images import Undecodable, read_picture
from utils.data.lists import UNKNOWN, Example, locate, read_examples
from utils.data.outputs import name_problem

KINDS = {"train": "training", "test": "test"}  # lists whose images must not be in later ones
MOST_COLUMNS = 20  # classes in a table of counts
MOST_NAMES = 5  # names in a sentence
MOST_THREADS = 8  # more would wait for the disk


def check_dataset(dataset: Dataset, data_root: Path) -> tuple[str, list[str], list[str]]:
    """Reads the lists of a dataset and decodes every image in them.

    Returns:
        A table of the counts per list and class, the problems (one line each), and remarks on what is not an error.
    """
    lists = {split: dataset.list_path(data_root, split) for split in ("train", "test")}
    # The rest list of the gulls belongs to NABirds, which not everybody has.
    if dataset.rest and (path := dataset.list_path(data_root, "rest")).exists():
        lists["rest"] = path
    unlabeled = {"test", "rest"} | ({"train"} if dataset.trains_on_rest else set())
    rows = {
        split: read_examples(path, len(dataset.classes), unique=True, rest=split in unlabeled)
        for split, path in lists.items()
    }
    listed = list(dict.fromkeys(row.path for split in rows.values() for row in split))
    found = dict(zip(listed, fingerprints([Path(locate(path, data_root)) for path in listed]), strict=True))

    problems, remarks = [], []
    absent = {split: _absent(rows[split], dataset.classes) for split in KINDS}
    if absent["train"] and not dataset.trains_on_rest:
        problems.append(f"{lists['train']} has no image of {some(absent['train'])}. Add some to train a classifier.")
    if absent["test"]:
        remarks.append(f"{lists['test']} has no image of {some(absent['test'])}. Test accuracies do not include them.")
    seen: dict[str, str] = {}  # kinds of the images in earlier lists, by path and by pixels
    for split, path in lists.items():
        lines: dict[str, int] = {}
        for line, row in enumerate(rows[split], start=1):
            where, (problem, pixels) = f"{path}, line {line}: {row.path}", found[row.path]
            if problem:
                problems.append(f"{where} {problem}.")
            if row.label != UNKNOWN and label_of_folder(row.path, dataset.classes) not in (None, row.label):
                problems.append(f"{where} is labeled {row.label} ({dataset.classes[row.label]}).")
            if lines.setdefault(row.path, line) != line:
                problems.append(f"{where} is already listed on line {lines[row.path]}.")
            if split == "train" and (too_long := name_problem(row.path, row.label, row.index, len(dataset.classes))):
                problems.append(f"{where} {too_long}.")
            if twin := seen.get(row.path) or seen.get(pixels):
                problems.append(f"{where} has the same {'path' if row.path in seen else 'pixels'} as the {twin}.")
        if split in KINDS:
            for row in rows[split]:
                for key in (row.path, found[row.path][1]):
                    seen.setdefault(key or row.path, f"{KINDS[split]} image {row.path}")
    return count_table(dataset.classes, {path.stem: rows[split] for split, path in lists.items()}), problems, remarks


def fingerprints(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Decodes images in threads, with a progress bar.

    Returns:
        For each file `("", SHA-256 of size and pixels)`, or `(problem, "")` if it cannot be used.
    """
    found = side_by_side(fingerprint, files, min(MOST_THREADS, processors()))
    return list(tqdm(found, total=len(files), unit="image", desc="decode"))


def fingerprint(file: Path) -> tuple[str, str]:
    try:
        image = read_picture(file)
    except Undecodable as error:
        return str(error), ""
    digest = hashlib.sha256(f"{image.size}".encode())
    digest.update(image.tobytes())
    return "", digest.hexdigest()


def count_table(classes: Sequence[str], lists: dict[str, list[Example]]) -> str:
    """Formats the number of images per list (rows) and class (columns); with many classes, only the extremes."""
    few = len(classes) <= MOST_COLUMNS
    unknown = any(row.label == UNKNOWN for rows in lists.values() for row in rows)
    table = [["list", *(classes if few else ("classes", "fewest", "most")), *(["unknown"] if unknown else []), "total"]]
    for stem, rows in lists.items():
        counts = Counter(row.label for row in rows)
        known = [counts[label] for label in range(len(classes))]
        cells = known if few else [sum(count > 0 for count in known), min(known), max(known)]
        table.append([stem, *map(str, cells), *([str(counts[UNKNOWN])] if unknown else []), str(len(rows))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(padded))
    return "\n".join(lines)


def label_of_folder(listed: str, classes: Sequence[str]) -> int | None:
    """Returns the label that the folder of a listed image stands for, or None if it is not named after a class."""
    parts = listed.split("/")
    return classes.index(parts[-2]) if len(parts) > 1 and parts[-2] in classes else None


def some(names: Sequence[str]) -> str:
    """Joins up to five names and appends "and N more"."""
    return first_of(names, MOST_NAMES)


def _absent(rows: list[Example], classes: Sequence[str]) -> list[str]:
    """Returns the classes without an image; none if some labels are unknown, since these may be of any class."""
    present = {row.label for row in rows}
    return [name for label, name in enumerate(classes) if label not in present] if UNKNOWN not in present else []
