"""Example lists and explanation lists: plain text, one image a line, fields separated by blanks, no header."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError
from utils.files import write_text

DATASETS_PREFIX = "./datasets/"
UNKNOWN = -1  # the label of an image whose class nobody has told; it may stand in a rest list only


@dataclass(frozen=True, slots=True)
class Example:
    """A row of an example list, `path label index`: one labelled image."""

    path: str
    label: int
    index: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A row of an explanation list, `path label counter index`: why image `index` is `label` and not `counter`."""

    path: str
    label: int
    counter: int
    index: int


def read_examples(path: str | Path, num_classes: int, rest: bool = False) -> list[Example]:
    """Reads an example list.

    Args:
        path: the list file.
        num_classes: C; labels must lie in 0 .. C-1.
        rest: whether this is a list of images for people to label, in which a label may also be `UNKNOWN`.

    Raises:
        InputError: the file is missing, empty or not text, or a line is malformed (the message names the line).
    """
    rows = _read_rows(path, ("label", "index"), num_classes, UNKNOWN if rest else 0)
    return [Example(name, *numbers) for name, numbers in rows]


def read_explanations(path: str | Path, num_classes: int) -> list[Explanation]:
    """Reads an explanation list. Arguments and errors are those of `read_examples`; labels and counters lie in 0 .. C-1."""
    rows = _read_rows(path, ("label", "counter", "index"), num_classes)
    explanations = [Explanation(name, *numbers) for name, numbers in rows]
    for line, row in enumerate(explanations, start=1):
        if row.label == row.counter:
            raise InputError(f"{path}, line {line}: counter class {row.counter} is the label itself; name a wrong class.")
    return explanations


def _read_rows(path: str | Path, fields: Sequence[str], num_classes: int, lowest: int = 0) -> list[tuple[str, list[int]]]:
    """Reads rows `name number number ...`, one number per name in `fields`, and checks each against its range, a label's being
    `lowest` .. C-1."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"The list {path} does not exist; make it first, or correct the setting that leads there.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list {path} cannot be read as text ({error}); replace it.") from error
    if not lines:
        raise InputError(f"The list {path} is empty; make it anew.")
    rows = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if len(parts) != len(fields) + 1:
            raise InputError(f"{path}, line {number}: expected 'path {' '.join(fields)}', found '{line.strip()}'; correct the line.")
        try:
            values = [int(part) for part in parts[1:]]
        except ValueError:
            raise InputError(f"{path}, line {number}: {' and '.join(fields)} must be whole numbers, found '{line.strip()}'.") from None
        for field, value in zip(fields, values, strict=True):
            if value < (lowest if field == "label" else 0) or (field != "index" and value >= num_classes):
                allowed = "0 or more" if field == "index" else f"{lowest if field == 'label' else 0} .. {num_classes - 1}"
                hint = ": only a list of images to label may leave a class unknown" if field == "label" and value == UNKNOWN else ""
                raise InputError(f"{path}, line {number}: {field} {value} is out of range ({allowed}){hint}; correct the line.")
        rows.append((parts[0], values))
    return rows


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Writes an example list, whole or not at all."""
    write_text(path, "".join(f"{row.path} {row.label} {row.index}\n" for row in examples))


def write_explanations(path: str | Path, explanations: Iterable[Explanation]) -> None:
    """Writes an explanation list, whole or not at all."""
    write_text(path, "".join(f"{row.path} {row.label} {row.counter} {row.index}\n" for row in explanations))


def listed_path(path: str | Path) -> str:
    """How a list names a file: `./...` when it lies below the working folder, the absolute path otherwise."""
    path = Path(path)
    if path.is_absolute():
        return path.as_posix()
    return f"./{path.as_posix()}"


def locate(listed: str, data_root: str | Path) -> str:
    """Where the file that a list names lies: `./datasets/` stands for the data root, all else is taken as it is."""
    if listed.startswith(DATASETS_PREFIX):
        return os.path.join(data_root, listed[len(DATASETS_PREFIX) :])
    return listed


def check_files(rows: Sequence[Example | Explanation], list_path: str | Path, data_root: str | Path) -> None:
    """Proves that every listed file is there and not empty, before any work starts.

    Raises:
        InputError: naming the first line whose file is missing or empty.
    """
    for line, row in enumerate(rows, start=1):
        file = locate(row.path, data_root)
        try:
            size = os.stat(file).st_size
        except (OSError, ValueError):  # ValueError: no file can have such a name (it holds a zero byte)
            advice = f"restore it or correct --data-root '{data_root}'"
            raise InputError(f"{list_path}, line {line}: the image {file} is missing; {advice}.") from None
        if size == 0:
            raise InputError(f"{list_path}, line {line}: the image {file} is empty; restore it.")
