"""Atomic writes of files, tables, pictures and folders; checksums."""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import socket
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from PIL import Image

from utils.base.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from torch import Tensor

NAME_BYTES = 255  # longest file name
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # starts a formula in a spreadsheet, possibly after our own apostrophes
# Run-length matching only: several times faster than zlib's search, and PNG's row filters leave little else to find.
PNG_COMPRESSION = zlib.Z_RLE
TEMPORARY = re.compile(r"\..+\.(\d+)\.part(\..*)?")  # names of unfinished files and folders, with the process id


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name in the same folder and renames it to `path` at the end; removes it after an error."""
    path = Path(path)
    # A digest, because the name may be too long to append to. The suffix stays: libraries choose the format by it.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(f".{digest}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:  # including KeyboardInterrupt
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Writes indented JSON; raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_table(path: str | Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Writes rows as CSV; `columns` is needed only if there may be no rows."""
    header = list(columns or rows[0])
    write_text(path, csv_text([header, *([row[name] for name in header] for row in rows)], "\n"))


def csv_text(rows: Iterable[Sequence], line_end: str = "\r\n") -> str:
    """Returns rows as CSV: None is empty, booleans are `true` or `false`, and formulas get an apostrophe."""

    def cell(value: object) -> object:
        if isinstance(value, bool):
            return json.dumps(value)
        return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value

    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end).writerows([map(cell, row) for row in rows])
    return text.getvalue()


class TableReader(csv.DictReader):
    """Reads CSV separated by commas, semicolons or tabs, and removes the apostrophes of `csv_text`."""

    def __init__(self, text: str) -> None:
        csv.field_size_limit(2**31 - 1)  # a batch of Mechanical Turk has all answers of a person in one field
        header = text.split("\n", 1)[0]
        super().__init__(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))

    def __next__(self) -> dict:
        row = super().__next__()
        quoted = (name for name, cell in row.items() if isinstance(cell, str) and re.match(f"'{FORMULA.pattern}", cell))
        return row | {name: row[name][1:] for name in quoted}


def absence(file: str | Path) -> str:
    """Completes a sentence about a file that does not exist."""
    if not os.path.islink(file):
        return "is missing. Restore it"
    return f"is a link to {os.path.realpath(file)}, which is missing. Restore that, or prepare the dataset with --copy"


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 (h, w, 3) or (h, w) as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_type=PNG_COMPRESSION)
    return file.getvalue()


def write_png(path: str | Path, picture: "Tensor") -> None:
    """Writes uint8 (3, h, w) in color or (h, w) in grayscale."""
    write_bytes(path, encode_png(picture.numpy() if picture.ndim == 2 else channels_last(picture)))


def channels_last(picture: "Tensor") -> np.ndarray:
    """Converts uint8 (3, h, w) to (h, w, 3), Pillow's layout."""
    # Three times as fast as copying the transpose.
    return np.stack(list(picture.numpy()), axis=-1)


def file_digest(path: str | Path, algorithm: str) -> str:
    """Returns a file's checksum in hexadecimal; `algorithm` is a name of hashlib, such as "sha256"."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def checksum(path: str | Path) -> int:
    """Returns the CRC-32 of a file, which detects changes that nobody has forged."""
    return zlib.crc32(Path(path).read_bytes())


@contextlib.contextmanager
def locked(record: Path) -> Iterator[None]:
    """Locks a run record until the end (not on Windows). Raises InputError if another process has locked it."""
    if fcntl is None:
        yield
        return
    path = record.with_suffix(".lock")
    try:
        file = _lock(path)
    except BlockingIOError:
        who = path.read_text(encoding="utf-8").strip() or "just started"
        problem = f"Another run is about to write {record} ({who})"
        raise InputError(f"{problem}. Wait for it, stop it, or choose another --out.") from None
    with file:
        try:
            file.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}", file=file, flush=True)
            yield
        finally:
            path.unlink(missing_ok=True)  # before the lock ends, because then the next process may lock the file


def _lock(path: Path) -> TextIO:
    file = open(path, "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # this disk has no locks
        pass
    # The process that has just ended may have removed the file after it was opened here.
    return file if os.fstat(file.fileno()).st_nlink else _lock(path)


def expanded(path: str) -> str:
    """Replaces `~` and `$HOME` as a shell does, also in `--out=~/x`, where the shell does not."""
    return os.path.expanduser(os.path.expandvars(path))


def output_folder(path: str | Path) -> Path:
    """Creates an output folder; raises InputError if its name contains a space or it is not writable."""
    path = Path(path)
    if any(character.isspace() for character in str(path)):
        problem = f"--out '{path}' contains a space, but list files are separated by spaces"
        raise InputError(f"{problem}. Choose another name.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise InputError(f"--out '{path}' is not writable ({error.strerror}). Choose another folder.") from error
    return path


def refuse_existing(folder: Path, force: bool) -> None:
    if os.path.lexists(folder) and not force:
        raise InputError(f"{folder} already exists. Pass --force to replace it and all its files.")


@contextlib.contextmanager
def replacing_folder(data_root: Path, name: str, force: bool) -> Iterator[Path]:
    """Yields a temporary folder in which the caller creates the folder `name`; then moves that to `data_root`.

    An existing folder is replaced only when the new one is complete, and only if `force` is True (else InputError).
    """
    target, staging = data_root / name, data_root / f".{name}.{os.getpid()}.part"
    remove_leftovers(data_root)
    refuse_existing(target, force)
    staging.mkdir(parents=True)
    try:
        yield staging
        if os.path.lexists(target):
            target.rename(staging / ".replaced")
        (staging / name).rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files and folders of killed processes."""
    for path in folder.glob(".*.part*"):
        match = TEMPORARY.fullmatch(path.name)
        if not match or _runs(int(match[1])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Returns True if another process with this id exists."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return process != os.getpid()
