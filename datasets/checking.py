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

MOST_NAMES = 5  # class names in a sentence


def check_dataset(dataset: Dataset, data_root: Path) -> tuple[str, list[str], list[str]]:
    """Reads the lists of a dataset and decodes every image in them.

    Returns a table of the counts, the problems (one line each), and remarks on what is not an error.
    """
    lists = {split: dataset.list_path(data_root, split) for split in ("train", "test")}
    # The rest list of the gulls belongs to NABirds, which not everybody has.
    if dataset.rest and (path := dataset.list_path(data_root, "rest")).exists():
        lists["rest"] = path
    rows = {
        split: read_examples(path, len(dataset.classes), unique=True, rest=split != "train" or dataset.trains_on_rest)
        for split, path in lists.items()
    }
    listed = list(dict.fromkeys(row.path for split in rows.values() for row in split))
    found = dict(zip(listed, fingerprints([Path(locate(path, data_root)) for path in listed]), strict=True))

    problems, remarks = [], []
    absent = {split: first_of(absent_classes(rows[split], dataset.classes), MOST_NAMES) for split in ("train", "test")}
    if absent["train"] and not dataset.trains_on_rest:
        problems.append(f"{lists['train']} has no image of {absent['train']}. Add some to train a classifier.")
    if absent["test"]:
        remarks.append(f"{lists['test']} has no image of {absent['test']}. Test accuracies do not include them.")
    seen: dict[str, str] = {}  # images in earlier lists, by path and by pixels
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
                problems.append(f"{where} has the same {'path' if row.path in seen else 'pixels'} as {twin}.")
        for row in rows[split]:
            for key in (row.path, found[row.path][1]):
                seen.setdefault(key or row.path, f"{row.path} in {path}")
    return count_table(dataset.classes, {path.stem: rows[split] for split, path in lists.items()}), problems, remarks


def absent_classes(rows: Sequence[Example], classes: Sequence[str]) -> list[str]:
    """Returns the classes without an image, or [] if some labels are unknown, since these may be of any class."""
    present = {row.label for row in rows}
    return [name for label, name in enumerate(classes) if label not in present] if UNKNOWN not in present else []


def fingerprints(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Decodes images in threads. Returns ("", SHA-256 of size and pixels) for each file, or (problem, "")."""
    found = side_by_side(fingerprint, files, processors())
    return list(tqdm(found, total=len(files), unit="image", desc="decode"))


def fingerprint(file: Path) -> tuple[str, str]:
    try:
        image = read_picture(file)
    except Undecodable as error:
        return str(error), ""
    return "", hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def count_table(classes: Sequence[str], lists: dict[str, list[Example]]) -> str:
    """Formats the number of images per class (rows) and list (columns)."""
    counts = [Counter(row.label for row in rows) for rows in lists.values()]
    table = [["class", *lists]]
    for label, name in [*enumerate(classes), (UNKNOWN, "unknown")]:
        table.append([name, *(str(count[label]) for count in counts)])
    table.append(["total", *(str(count.total()) for count in counts)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in table)


def label_of_folder(listed: str, classes: Sequence[str]) -> int | None:
    """Returns the label of the class that the folder of a listed image is named after, or None."""
    parts = listed.split("/")
    return classes.index(parts[-2]) if len(parts) > 1 and parts[-2] in classes else None
