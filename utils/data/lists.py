"""Example lists and explanation lists: plain text, one image per line, fields separated by spaces, no header."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import absence, checksum, write_text

DATASETS_PREFIX = "./datasets/"
UNKNOWN = -1  # label of an image of unknown class; allowed in rest and test lists


@dataclass(frozen=True, slots=True)
class Example:
    """A row `path label index` of an example list."""

    path: str
    label: int
    index: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A row `path label counter index` of an explanation list: why image `index` is `label` and not `counter`."""

    path: str
    label: int
    counter: int
    index: int


def read_examples(path: str | Path, num_classes: int, unique: bool = False, rest: bool = False) -> list[Example]:
    """Reads an example list: UTF-8 with or without byte-order mark, any line endings.

    `unique` requires one image per index and one label per image (a teaching set may repeat images). `rest` also allows
    the label `UNKNOWN`. Raises InputError if the file is not a list, or names the wrong line.
    """
    rows = _read_rows(path, ("label", "index"), num_classes, UNKNOWN if rest else 0)
    examples = [Example(name, *numbers) for name, numbers in rows]
    first_of_index: dict[int, int] = {}
    label_of: dict[str, int] = {}
    for line, row in enumerate(examples if unique else [], start=1):
        if (first := first_of_index.setdefault(row.index, line)) != line:
            raise InputError(f"{path}, line {line}: line {first} also has index {row.index}. Number each image once.")
        if (label := label_of.setdefault(row.path, row.label)) != row.label:
            raise InputError(f"{path}, line {line}: {row.path} has label {row.label}, but {label} on an earlier line.")
    return examples


def read_explanations(path: str | Path, num_classes: int) -> list[Explanation]:
    """Reads an explanation list; errors as in `read_examples`."""
    rows = _read_rows(path, ("label", "counter", "index"), num_classes, 0)
    explanations = [Explanation(name, *numbers) for name, numbers in rows]
    for line, row in enumerate(explanations, start=1):
        if row.label == row.counter:
            raise InputError(f"{path}, line {line}: counter class {row.counter} is the label. Use another class.")
    return explanations


def _read_rows(path: str | Path, fields: Sequence[str], num_classes: int, lowest: int) -> list[tuple[str, list[int]]]:
    """Reads rows `path number number ...`, one number per field; labels must lie in `lowest` .. C-1."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig").rstrip()
    except FileNotFoundError:
        raise InputError(f"List file {path} not found. Create it, or check the setting that names it.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"List file {path} cannot be read ({error}). Save it as UTF-8 text.") from error
    if not text:
        raise InputError(f"List file {path} is empty. Create it again.")
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        name, *words = line.split() or [""]
        where = f"{path}, line {number}"
        try:
            values = {field: int(word) for field, word in zip(fields, words, strict=True)}
        except ValueError:
            expected = f"'path {' '.join(fields)}' separated by spaces, with integers"
            raise InputError(f"{where}: expected {expected}, found {line.strip()!r}. Correct it.") from None
        for field, value in values.items():
            least = lowest if field == "label" else 0
            if value < least or (field != "index" and value >= num_classes):
                allowed = "0 or more" if field == "index" else f"{least} .. {num_classes - 1}"
                raise InputError(f"{where}: {field} {value} is out of range ({allowed}). Correct it.")
        rows.append((name, list(values.values())))
    return rows


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    write_text(path, "".join(f"{row.path} {row.label} {row.index}\n" for row in examples))


def write_explanations(path: str | Path, explanations: Iterable[Explanation]) -> None:
    write_text(path, "".join(f"{row.path} {row.label} {row.counter} {row.index}\n" for row in explanations))


def listed_path(path: str | Path) -> str:
    """Returns a path as lists write it: `./...` in the working folder, otherwise absolute."""
    path = Path(path)
    return path.as_posix() if path.is_absolute() else f"./{path.as_posix()}"


def locate(listed: str, data_root: str | Path) -> str:
    """Returns the path of a listed file; `./datasets/` stands for the data root."""
    if listed.startswith(DATASETS_PREFIX):
        return os.path.join(data_root, listed[len(DATASETS_PREFIX) :])
    return listed


def check_files(rows: Sequence[Example | Explanation], list_path: str | Path, data_root: str | Path) -> None:
    """Checks all files of a list before any work starts. Raises InputError that names the line."""
    for line, row in enumerate(rows, start=1):
        file = locate(row.path, data_root)
        if not os.path.isfile(file) or os.path.getsize(file) == 0:
            listed = row.path.startswith(DATASETS_PREFIX)
            place = f"--data-root '{data_root}'" if listed else f"the folder {os.getcwd()}"
            problem = absence(file) if os.path.islink(file) else "is missing or empty. Restore it"
            raise InputError(f"{list_path}, line {line}: the image {file} {problem}, or check {place}.")


def check_unchanged(checksums: Mapping[str, int], data_root: str | Path, since: str) -> None:
    """Raises InputError for the first picture that has changed `since`, by the CRC-32 of listed paths."""
    # Not by modification times, which change when a dataset is copied.
    for path, known in checksums.items():
        file = locate(path, data_root)
        if not os.path.isfile(file) or checksum(file) != known:
            raise InputError(f"The picture {file} has changed since {since}, or restore it.")


def plain_name(name: str) -> str:
    """Replaces each run of characters other than letters (with their marks), digits, `_`, `.` and `-` by `_`."""
    kept = [one.isalnum() or one in "_.-" or unicodedata.category(one) in ("Mn", "Mc") for one in name]
    return re.sub(" +", "_", "".join(one if keep else " " for one, keep in zip(name, kept, strict=True)))


def safe_name(text: str, longest: int) -> str:
    """Turns a text into a file name for lists: no spaces, not hidden, 1 to `longest` bytes, composed letters (NFC)."""
    plain = plain_name(unicodedata.normalize("NFC", text))
    return shortened(re.sub(r"^[.-]+", "_", plain), longest) or "_"


def shortened(text: str, longest: int) -> str:
    """Cuts a text to `longest` bytes, between characters."""
    return text.encode()[:longest].decode(errors="ignore")
