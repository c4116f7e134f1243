"""Example lists and explanation lists: plain text, one image per line, fields separated by spaces, no header."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from utils.base.errors import InputError
from utils.base.files import NAME_BYTES, write_text

DATASETS_PREFIX = "./datasets/"
UNKNOWN = -1  # label of an image of unknown class, allowed in rest and test lists


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


def read_examples(path: str | Path, num_classes: int, unique: bool = False, rest: bool = False) -> list[Example]:
    """Reads an example list: UTF-8 with or without byte-order mark, any line ends.

    Args:
        path: the list file.
        num_classes: C; labels must lie in 0 .. C-1.
        unique: require one image per index and one label per image, as explanations and courses need it. A teaching set may
            repeat its images.
        rest: also allow the label `UNKNOWN`, as in lists for people to label and in test lists.

    Raises:
        InputError: the file is missing, empty or not text, or a line is malformed or, with `unique`, contradicts an earlier one.
    """
    rows = _read_rows(path, ("label", "index"), num_classes, UNKNOWN if rest else 0)
    examples = [Example(name, *numbers) for name, numbers in rows]
    if unique:
        _refuse_repeats(path, examples)
    return examples


def read_explanations(path: str | Path, num_classes: int) -> list[Explanation]:
    """Reads an explanation list; arguments and errors as in `read_examples`."""
    rows = _read_rows(path, ("label", "counter", "index"), num_classes)
    explanations = [Explanation(name, *numbers) for name, numbers in rows]
    for line, row in enumerate(explanations, start=1):
        if row.label == row.counter:
            raise InputError(
                f"{path}, line {line}: the counter class {row.counter} is the label itself. Use another class."
            )
    return explanations


def _refuse_repeats(path: str | Path, rows: Sequence[Example]) -> None:
    line_of_index: dict[int, int] = {}
    line_of_path: dict[str, int] = {}
    for line, row in enumerate(rows, start=1):
        first = line_of_index.setdefault(row.index, line)
        if first != line:
            raise InputError(
                f"{path}, line {line}: line {first} has the index {row.index} too. Number each image once."
            )
        first = line_of_path.setdefault(row.path, line)
        if rows[first - 1].label != row.label:
            raise InputError(
                f"{path}, line {line}: {row.path} has label {row.label}, but {rows[first - 1].label} on line {first}. "
                "Remove the wrong line."
            )


def _read_rows(
    path: str | Path, fields: Sequence[str], num_classes: int, lowest: int = 0
) -> list[tuple[str, list[int]]]:
    """Reads rows `path number number ...`, one number per field; labels lie in `lowest` .. C-1."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig").rstrip()
    except FileNotFoundError:
        raise InputError(f"List file {path} not found. Create it, or check the setting that names it.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"List file {path} cannot be read ({error}). Save it as UTF-8 text.") from error
    if not text:
        raise InputError(f"List file {path} is empty. Create it again.")
    return [
        _row(line, f"{path}, line {number}", fields, num_classes, lowest)
        for number, line in enumerate(text.split("\n"), start=1)
    ]


def _row(line: str, where: str, fields: Sequence[str], num_classes: int, lowest: int) -> tuple[str, list[int]]:
    name, *numbers = line.split() or [""]
    try:
        values = [int(number) for number in numbers]
    except ValueError:
        values = []
    if len(values) != len(fields):
        raise InputError(
            f"{where}: expected 'path {' '.join(fields)}' separated by spaces, with integers, found {line.strip()!r}. Correct the line."
        )
    for field, value in zip(fields, values, strict=True):
        least = lowest if field == "label" else 0
        if value < least or (field != "index" and value >= num_classes):
            allowed = "0 or more" if field == "index" else f"{least} .. {num_classes - 1}"
            raise InputError(f"{where}: {field} {value} is out of range ({allowed}). Correct the line.")
    return name, values


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    write_text(path, "".join(f"{row.path} {row.label} {row.index}\n" for row in examples))


def write_explanations(path: str | Path, explanations: Iterable[Explanation]) -> None:
    write_text(path, "".join(f"{row.path} {row.label} {row.counter} {row.index}\n" for row in explanations))


# ---------------------------------------------------------------- listed files


def listed_path(path: str | Path) -> str:
    """How a list names a file: `./...` below the working folder, otherwise the absolute path."""
    path = Path(path)
    return path.as_posix() if path.is_absolute() else f"./{path.as_posix()}"


def locate(listed: str, data_root: str | Path) -> str:
    """The path of a listed file; `./datasets/` stands for the data root."""
    if listed.startswith(DATASETS_PREFIX):
        return os.path.join(data_root, listed[len(DATASETS_PREFIX) :])
    return listed


def check_file(listed: str, data_root: str | Path, where: str) -> None:
    """Checks that a listed file exists and is not empty.

    Raises:
        InputError: it does not; the message begins with `where`.
    """
    file = locate(listed, data_root)
    try:
        if os.stat(file).st_size > 0:
            return
        problem = "is empty"
    except (FileNotFoundError, ValueError):  # ValueError: the name contains a zero byte
        problem = "is missing"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    if listed.startswith(DATASETS_PREFIX):
        advice = f"Restore it, or check --data-root '{data_root}'."
    else:
        advice = f"Restore it, or correct the path (relative paths start in {os.getcwd()})."
    raise InputError(f"{where}: the image {file} {problem}. {advice}")


def check_files(rows: Sequence[Example | Explanation], list_path: str | Path, data_root: str | Path) -> None:
    """Checks all files of a list before any work starts; shows a progress bar if the disk is slow.

    Raises:
        InputError: a file is missing or empty; names its line.
    """
    for line, row in enumerate(tqdm(rows, desc="find files", unit="file", delay=2, leave=False), start=1):
        check_file(row.path, data_root, f"{list_path}, line {line}")


# ---------------------------------------------------------------- names without spaces


def name_fault(name: str) -> str:
    """Why a list cannot contain `name` as the name of a folder or file: the end of a sentence, "" for a usable name."""
    if name in ("", ".", ".."):
        return "is not a folder name"
    if re.search(r"[\s/\\]", name):
        return "contains a space or a path separator"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "contains a control character"
    return f"is longer than {NAME_BYTES} bytes" if len(name.encode()) > NAME_BYTES else ""


def plain_name(name: str) -> str:
    """Replaces each run of characters other than letters (with their marks), digits, `_`, `.` and `-` by `_`."""

    def kept(character: str) -> bool:
        return character.isalnum() or character in "_.-" or unicodedata.category(character) in ("Mn", "Mc")

    return "".join("".join(run) if keep else "_" for keep, run in groupby(name, kept))


def safe_name(text: str, longest: int) -> str:
    """`text` as a usable name (see `name_fault`), not hidden, of 1 to `longest` bytes, in composed letters (NFC)."""
    plain = plain_name(unicodedata.normalize("NFC", text))
    return shortened(re.sub(r"^[.-]+", "_", plain), longest) or "_"


def shortened(text: str, longest: int) -> str:
    """The first characters of `text` that fit into `longest` bytes."""
    return text.encode()[:longest].decode(errors="ignore")
