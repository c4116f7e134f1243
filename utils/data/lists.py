"""Example lists and explanation lists: plain text, one image a line, fields separated by blanks, no header."""

import codecs
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from utils.base.errors import InputError, printable
from utils.base.files import write_text
from utils.data.absent import why_absent

DATASETS_PREFIX = "./datasets/"
UNKNOWN = -1  # the label of an image whose class nobody has told; it may stand in rest lists and in test lists
MARK = "\ufeff"  # byte-order mark
MAY_STAND = "\t\u200c\u200d"  # of the characters that cannot be seen: the tab, and the joiners, which several scripts need in words
WHOLE_NUMBER = re.compile("-?[0-9]{1,40}")  # int() takes digits of every script, signs and underscores too
HIGHEST_INDEX = 2**63 - 1


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
    """Reads an example list.

    Args:
        path: the list file: UTF-8, or UTF-16 as some Windows programs save it, with or without a byte-order mark; lines end with LF,
            CR LF or CR; fields are separated by blanks or tabs; blank lines at the end count for nothing. So a row's place in what
            is returned is its line in an editor.
        num_classes: C; labels must lie in 0 .. C-1.
        unique: whether an index must stand for one image, and an image for one label: wherever images are explained, taught
            or looked up by their indices. In a teaching set, and where a classifier learns, an image may stand in several rows.
        rest: whether a label may also be `UNKNOWN`, as in lists of images for people to label, and to test by.

    Raises:
        InputError: the file is missing, empty or not text, or a line is malformed; or, with `unique`, two rows have the same index, or
            the same path under two labels (the message names the line).
    """
    rows = _read_rows(path, ("label", "index"), num_classes, UNKNOWN if rest else 0)
    examples = [Example(name, *numbers) for name, numbers in rows]
    if unique:
        _refuse_repeats(path, examples)
    return examples


def read_explanations(path: str | Path, num_classes: int) -> list[Explanation]:
    """Reads an explanation list. Arguments and errors are those of `read_examples`; labels and counters lie in 0 .. C-1."""
    rows = _read_rows(path, ("label", "counter", "index"), num_classes)
    explanations = [Explanation(name, *numbers) for name, numbers in rows]
    for line, row in enumerate(explanations, start=1):
        if row.label == row.counter:
            raise InputError(
                f"{path}, line {line}: counter class {row.counter} is the label itself; name a wrong class."
            )
    return explanations


def _refuse_repeats(path: str | Path, rows: Sequence[Example]) -> None:
    """Proves that an index stands for one image and an image for one label: explanations are matched to images by them."""
    line_of_index: dict[int, int] = {}
    line_of_path: dict[str, int] = {}
    for line, row in enumerate(rows, start=1):
        first = line_of_index.setdefault(row.index, line)
        if first != line:
            raise InputError(
                f"{path}, line {line}: index {row.index} stands on line {first} already; number each image once."
            )
        first = line_of_path.setdefault(row.path, line)
        if rows[first - 1].label != row.label:
            other = rows[first - 1].label
            raise InputError(
                f"{path}, line {line}: {row.path} is labelled {row.label}, but {other} on line {first}; keep the right line."
            )


def _read_rows(
    path: str | Path, fields: Sequence[str], num_classes: int, lowest: int = 0
) -> list[tuple[str, list[int]]]:
    """Reads rows `name number number ...`, one number per name in `fields`, and checks each against its range, a label's being
    `lowest` .. C-1."""
    try:
        rows = [_row(line, f"{path}, line {number}", fields, num_classes, lowest) for number, line in _lines(path)]
    except FileNotFoundError:
        raise InputError(
            f"The list {path} does not exist; make it first, or correct the setting that leads there."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: UTF-16 that breaks off, or a name that no file can have
        raise InputError(f"The list {path} cannot be read as text ({error}); replace it.") from error
    if not rows:
        raise InputError(f"The list {path} is empty; make it anew.")
    return rows


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a list with their numbers, from 1, those that are blank at its end left out.

    One at a time, since the explanation list of a million images has several million lines.
    """
    blank = []
    # What is not UTF-8 becomes surrogates, by which `_refuse_characters` tells the line.
    with open(path, encoding=_encoding(path), errors="surrogateescape", newline=None) as file:
        for number, line in enumerate(file, start=1):
            line = line.removesuffix("\n").lstrip(MARK)  # one in the midst: lists that were joined
            if not line.strip():
                blank.append((number, line))
                continue
            yield from blank  # between rows: a row that was lost
            blank.clear()
            yield number, line


def _encoding(path: str | Path) -> str:
    """UTF-16 where a list begins as that does, with a byte-order mark or with every second byte zero; else UTF-8."""
    with open(path, "rb") as file:
        head = file.read(2)
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if len(head) == 2 and 0 in head:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8"


def _row(line: str, where: str, fields: Sequence[str], num_classes: int, lowest: int) -> tuple[str, list[int]]:
    """Name and numbers of a line; `where` says which line that is, `lowest` the smallest label."""
    _refuse_characters(line, where)
    parts = line.split()
    hint = (
        "separate the fields by blanks or tabs, not by commas or semicolons"
        if re.search("[,;]", line)
        else "correct the line"
    )
    if len(parts) != len(fields) + 1:
        raise InputError(f"{where}: expected 'path {' '.join(fields)}', found '{printable(line.strip())}'; {hint}.")
    if not all(WHOLE_NUMBER.fullmatch(part) for part in parts[1:]):
        written = f"{' and '.join(fields)} must be whole numbers in the digits 0 to 9"
        raise InputError(f"{where}: {written}, found '{printable(line.strip())}'; {hint}.")
    values = [int(part) for part in parts[1:]]
    for field, value in zip(fields, values, strict=True):
        least = lowest if field == "label" else 0
        if value < least or value > (HIGHEST_INDEX if field == "index" else num_classes - 1):
            classes = f"{least} .. {num_classes - 1}"
            allowed = f"0 .. {HIGHEST_INDEX}" if value > HIGHEST_INDEX else "0 or more" if field == "index" else classes
            unknown = (
                ": only lists to test by or to label may leave a class unknown"
                if field == "label" and value == UNKNOWN
                else ""
            )
            raise InputError(f"{where}: {field} {value} is out of range ({allowed}){unknown}; correct the line.")
    return _with_slashes(parts[0]), values


def _refuse_characters(line: str, where: str) -> None:
    """Proves that a line holds text, blanks and nothing that cannot be seen.

    Raises:
        InputError: naming the first character that is none of these.
    """
    if line.replace(
        "\t", " "
    ).isprintable():  # most lines; the blanks of other scripts are not "printable", but may stand
        return
    for character in line:
        code, kind = f"U+{ord(character):04X}", unicodedata.category(character)
        if kind == "Cs":
            raise InputError(
                f"{where}: '{printable(line.strip())}' cannot be read as text, it is not UTF-8; save the list as UTF-8."
            )
        if character == "\0":
            raise InputError(
                f"{where}: the image '{printable(line.strip())}' is missing, no file name can hold {code}; correct the line."
            )
        if kind in ("Cc", "Cf") and character not in MAY_STAND:
            raise InputError(f"{where}: '{printable(line.strip())}' holds {code}, which cannot be seen; take it out.")


def _with_slashes(name: str) -> str:
    """A path as lists write it: Windows programs put backslashes. Beside slashes a backslash is part of a name."""
    return name if "/" in name else name.replace("\\", "/")


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
    """Proves that every listed file is there and not empty, before any work starts; a progress bar shows where the disk is slow.

    Raises:
        InputError: naming the first line whose file is missing, cannot be asked for or is empty.
    """
    for line, row in enumerate(tqdm(rows, desc="find files", unit="file", delay=2, leave=False), start=1):
        file = locate(row.path, data_root)
        try:
            size = os.stat(file).st_size
        except (OSError, ValueError) as error:  # ValueError: no file can have such a name (it holds a zero byte)
            raise InputError(
                f"{list_path}, line {line}: the image {told_absent(row.path, data_root, error)}."
            ) from None
        if size == 0:
            raise InputError(f"{list_path}, line {line}: the image {file} is empty; restore it.")


def told_absent(listed: str, data_root: str | Path, error: OSError | ValueError) -> str:
    """Where the file that a list names would lie, why it is not there, and what to do: the rest of a sentence, without its full stop.

    Args:
        listed: how the list names it.
        data_root: what `./datasets/` stands for.
        error: what asking for the file raised.
    """
    file = locate(listed, data_root)
    problem, remedy = why_absent(file, error)
    return f"{printable(file)} {problem}; {remedy or _restored(listed, data_root)}"


def _restored(listed: str, data_root: str | Path) -> str:
    """What to do about a file that is plainly missing; where its path starts from depends on how the list names it."""
    slashes = ", or write / in place of \\" if "\\" in listed else ""
    if listed.startswith(DATASETS_PREFIX):
        return f"restore it or correct --data-root '{data_root}'{slashes}"
    starts = f": its path starts from the working folder, {os.getcwd()}, and only ./datasets/ from --data-root"
    return f"restore it or correct the line{slashes}{'' if os.path.isabs(listed) else starts}"
