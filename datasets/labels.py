"""Labels from a table, as spreadsheets and labelling tools export it: CSV with a header, of any separator, UTF-8 or UTF-16."""

import codecs
import csv
import io
import itertools
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datasets.names import ENDING
from datasets.trees import Picture, Tree, class_name, parts_of
from utils.base.errors import InputError

SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table of labels: the line it ends on, the path as written, and the class ("" where it is not told)."""

    line: int
    path: str
    label: str


def read_labels(table: Path, path_column: str, label_column: str) -> list[Row]:
    """Reads a table of labels.

    Args:
        table: the file. The separator is the one that gives the header both columns.
        path_column: name of the column with the images' paths.
        label_column: name of the column with their classes.

    Raises:
        InputError: the file is missing or not text, lacks a column, or a row has another number of fields than the header.
    """
    lines = _text(table).splitlines(keepends=True)
    skipped = int(
        bool(lines) and re.fullmatch("sep=.?", lines[0].strip().lower()) is not None
    )  # Excel's own note; a tab is stripped off
    lines = lines[skipped:]
    for separator in SEPARATORS:
        header = next(_rows(lines, separator, table, skipped), (0, []))[1]
        if {path_column, label_column} <= {name.strip() for name in header}:
            return _labels(list(_rows(lines, separator, table, skipped)), path_column, label_column, table)
    first = lines[0].strip() if lines else ""
    missing = f"--labels {table}: there is no column '{path_column}' or no column '{label_column}' in its first line, '{first[:200]}'"
    raise InputError(f"{missing}; name the columns with --path-column and --label-column.")


def _text(table: Path) -> str:
    try:
        data = table.read_bytes()
    except OSError as error:
        raise InputError(f"--labels '{table}' cannot be read ({error.strerror}); correct the path.") from None
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    unmarked = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be" if data[:1] == b"\0" else "utf-8-sig"
    try:
        return data.decode("utf-16" if marked else unmarked)
    except UnicodeDecodeError as error:
        raise InputError(f"--labels '{table}' is neither UTF-8 nor UTF-16 ({error}); save it as 'CSV UTF-8'.") from None


def _rows(lines: list[str], separator: str, table: Path, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, with the lines that they end on."""
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num + skipped, row
    except csv.Error as error:
        raise InputError(
            f"--labels {table}, line {reader.line_num + skipped}: {error}; export the table anew."
        ) from None


def _labels(rows: list[tuple[int, list[str]]], path_column: str, label_column: str, table: Path) -> list[Row]:
    header = [name.strip() for name in rows[0][1]]
    path_at, label_at = header.index(path_column), header.index(label_column)
    found = []
    for line, row in rows[1:]:
        if len(row) < len(header) or any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"--labels {table}, line {line}: {len(row)} fields, and the header has {len(header)}; correct the line."
            )
        found.append(Row(line, row[path_at].strip(), class_name(row[label_at])))
    if not found:
        raise InputError(f"--labels {table} has a header and no rows; give a table of labels.")
    return found


def label_by_table(tree: Tree, rows: list[Row], table: Path) -> list[Picture]:
    """Gives each file of a tree the label of its row; files without a row have none. What lies in `train/` and `test/` of the tree stays in
    these parts, where both hold files with labels.

    Rows that name no file, and files with two classes, are put among what is skipped.

    Raises:
        InputError: files with labels lie in other folders beside `train/` and `test/`.
    """
    finder = Finder(tree, table)
    line_of: dict[str, tuple[int, str]] = {}
    elsewhere = []
    for row in rows:
        if (name := finder.find(row.path)) is None:
            elsewhere.append((row, finder.find_by_tail(row.path)))
        else:
            _give(name, row, line_of, tree, table)
    certain = set(line_of)  # a row that names a file itself outweighs one that names a file of another folder
    for row, name in elsewhere:
        if name is None or (name in certain and line_of[name][1] != row.label):
            tree.skipped.setdefault(
                row.path, f"is named in {table.name}, and is no file of the folder: line {row.line}"
            )
        else:
            _give(name, row, line_of, tree, table)
    own = os.path.relpath(table.resolve(), tree.top)
    tree.files = [name for name in tree.files if name not in tree.skipped and name != own]
    labels = {name: line_of[name][1] for name in tree.files if name in line_of and line_of[name][1]}
    parts = parts_of(tree.top, list(labels))
    if "test" not in parts.values():
        parts = {}
    return [
        Picture(name, labels.get(name), parts.get(name.split("/")[0], "") if name in labels else "")
        for name in tree.files
    ]


def _give(name: str, row: Row, line_of: dict[str, tuple[int, str]], tree: Tree, table: Path) -> None:
    """Notes line and label of a file's row; a file that has another label already is skipped."""
    line, label = line_of.setdefault(name, (row.line, row.label))
    if label != row.label:
        tree.skipped[name] = (
            f"has two labels in {table.name}: '{label}' in line {line}, '{row.label}' in line {row.line}"
        )


class Finder:
    """Finds the files that a table names: below the folder, by the table's own place, by an absolute path, or by a name that is unique.

    A file of this very spelling is taken before one that is spelled otherwise (umlauts of one or of two characters), and a picture that
    is named without its ending, as tables of competitions do, last.

    Args:
        tree: the files.
        table: the table, whose place relative paths may start from.
    """

    def __init__(self, tree: Tree, table: Path) -> None:
        self._top = tree.top
        self._beside = table.resolve().parent
        self._exact = set(tree.files)
        self._files: dict[str, str | None] = {}  # None: there are several
        self._ends: dict[str, str | None] = {}
        for name in tree.files:
            parts = _key(name).split("/")
            for start in range(len(parts)):
                end, found = "/".join(parts[start:]), self._ends if start else self._files
                found[end] = None if end in found else name

    def find(self, written: str) -> str | None:
        """The file that a path stands for; None if it stands for none."""
        if "\0" in written:  # which no path can hold
            return None
        tried = []
        for path in (written, written.replace("\\", "/")):
            if os.path.isabs(path):
                candidates = [os.path.relpath(path, self._top), os.path.relpath(os.path.realpath(path), self._top)]
            else:
                candidates = [path, os.path.relpath(self._beside / path, self._top)]
            for candidate in candidates:
                if (name := self._at(candidate)) is not None:
                    return name
            if "/" not in path and (name := self._ends.get(_key(path))):
                return name
            tried += candidates
        return next((name for candidate in tried if (name := self._stems.get(_key(candidate)))), None)

    @cached_property
    def _stems(self) -> dict[str, str | None]:
        """The pictures by the ends of their paths without their ending, a bare stem among them; None where there are several."""
        found: dict[str, str | None] = {}
        for end, name in itertools.chain(self._files.items(), self._ends.items()):
            stem, ending = posixpath.splitext(end)
            if ENDING.fullmatch(ending):
                found[stem] = None if stem in found else name
        return found

    def find_by_tail(self, written: str) -> str | None:
        """The file whose whole path below the folder is the longest tail of a path, as of one on another machine (`C:\\two\\a\\0.png`);
        or the one file whose path ends with the whole of it. Where folders contradict, there is none."""
        parts = [part for part in _key(written.replace("\\", "/")).split("/") if part not in ("", "..")]
        for start in range(len(parts)):
            if (name := self._at("/".join(parts[start:]))) is not None:
                return name
        return self._ends.get("/".join(parts))

    def _at(self, path: str) -> str | None:
        """The file at a path below the folder: in this spelling, else in another."""
        plain = posixpath.normpath(path)
        return plain if plain in self._exact else self._files.get(_key(plain))


def _key(path: str) -> str:
    """A path in one spelling: no `./`, composed letters."""
    return unicodedata.normalize("NFC", posixpath.normpath(path))
