"""Writing files, tables and folders so that nobody ever sees half of one; and what a file holds, however large, as a checksum."""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from utils.base.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Run-length matching only: several times faster than zlib's search, and PNG's row filters leave little else to find.
PNG_COMPRESSION = zlib.Z_RLE

BLOCK = 1 << 18  # bytes of a file that are read at once
NAME_BYTES = 255  # a file name's length on the usual file systems
TEMPORARY = re.compile(
    r"\.(.+)\.(\d+)\.part(\..*)?"
)  # what `replacing` and `replacing_folder` write to, with the process's number
# In a temporary folder, under names that no folder has: what stood in the place of the new one, and the lock.
REPLACED, IN_USE = ".replaced", ".in_use"


@contextlib.contextmanager
def replacing(path: str | Path):
    """Yields a temporary name beside `path` to write to; renames it to `path` at the end, or removes it on an error.

    The temporary name keeps the suffix of `path`, because several libraries choose the format by it. A rename within one
    folder is atomic, so a reader finds the old file or the new one, whole.
    """
    path = Path(path)
    # A digest in place of the name, which may be as long as names can be; threads write several files of a folder at a time.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(f".{digest}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:  # KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files and folders of killed processes from a folder; those of processes that still run stay.

    A folder that was being replaced when its process was killed is put back first.
    """
    for path in folder.glob(".*.part*"):
        found = TEMPORARY.fullmatch(path.name)
        if found and not _another_runs(int(found[2])):
            if path.is_dir() and not path.is_symlink():
                _remove_temporary_folder(path, folder / found[1])
            else:
                path.unlink(missing_ok=True)


def _remove_temporary_folder(path: Path, target: Path) -> None:
    """Removes what a killed process was to make `target` of, if it is what `replacing_folder` makes, and nobody has it locked.

    The process's number alone would not do: on a disk that several computers or containers share, it tells of this one only.
    """
    with contextlib.suppress(OSError):  # it may be somebody else's
        if {entry.name for entry in path.iterdir()} <= {target.name, REPLACED, IN_USE}:
            with _locked(path) as locked:
                if locked:
                    _put_back(path, target)
                    _remove_tree(path)


def _remove_tree(folder: Path) -> None:
    """Removes a folder with all that is in it; what cannot be removed stays. A disk may need minutes for a hundred thousand files."""
    with tqdm(desc="clear away", unit="file", delay=2, leave=False) as bar:
        for here, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(here, name))
                bar.update()
    shutil.rmtree(folder, ignore_errors=True)


def _put_back(staging: Path, target: Path) -> None:
    """Gives what was to be replaced its place again, if that is empty."""
    replaced = staging / REPLACED
    if os.path.lexists(replaced) and not os.path.lexists(target):
        replaced.rename(target)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Locks a temporary folder; the system gives the lock back when the process ends, however it does.

    Yields:
        Whether it is locked now: not where another process, or another place of this one, has it, nor where there are no locks.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl  # not on Windows

    with open(folder / IN_USE, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except OSError:  # another has it, or, on some network disks, there are no locks
            locked = False
        yield locked


def _another_runs(process: int) -> bool:
    """Whether there is a process of this number, and it is not this one, which has just begun."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Writes `value` to `path` as indented JSON, whole or not at all. NaN and infinity are refused (ValueError)."""
    pieces = json.JSONEncoder(indent=1, allow_nan=False).iterencode(
        value
    )  # the text of a long list is never in memory as a whole
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(pieces)
        file.write("\n")


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 (h, w, 3) or (h, w) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_type=PNG_COMPRESSION)
    return file.getvalue()


def write_png(path: str | Path, picture: "Tensor") -> None:
    """Writes uint8 (3, h, w) as RGB or (h, w) as grayscale, atomically."""
    write_bytes(path, encode_png(picture.numpy() if picture.ndim == 2 else channels_last(picture)))


def channels_last(picture: "Tensor") -> np.ndarray:
    """Converts uint8 (3, h, w) to (h, w, 3), the layout of Pillow."""
    # Three times as fast as copying the transpose.
    return np.stack(list(picture.numpy()), axis=-1)


def file_digest(path: str | Path, algorithm: str) -> str:
    """The checksum of a file, as hexadecimal digits; no more than a block of the file is held at once.

    Args:
        path: the file.
        algorithm: as `hashlib` calls it: "md5", "sha256".
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def name_limit(folder: str | Path) -> int:
    """How many bytes the name of a file in `folder` may have."""
    try:
        limit = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no such function, some file systems do not tell
        return NAME_BYTES
    return limit if limit > 0 else NAME_BYTES


def expanded(path: str) -> str:
    """A path as a shell would have made it: `~` and `$HOME` stand for what they name (a shell leaves the `~` of `--out=~/x`)."""
    return os.path.expanduser(os.path.expandvars(path))


def output_folder(path: str | Path, setting: str = "--out") -> Path:
    """Makes the folder `path` (and its parents) and proves that it can be written to.

    Args:
        path: the folder; its name must hold no blanks, since lists separate their fields by blanks.
        setting: the setting that the error names.

    Raises:
        InputError: the name holds blanks, or the folder cannot be made or written to.
    """
    path = Path(path)
    if any(character.isspace() for character in str(path)):
        raise InputError(
            f"{setting} '{path}' holds a blank, which the lists written there cannot express; choose a name without."
        )
    probe = path / f".probe.{os.getpid()}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process that begins may have cleared it away
    except OSError as error:
        raise InputError(
            f"{setting} '{path}' cannot be written to ({error.strerror}); choose another folder."
        ) from error
    return path


def write_table(path: str | Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Writes rows as CSV, the columns being the keys of the first row; where there may be none, `columns` tells them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns or rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def refuse_existing(folder: Path, force: bool) -> None:
    """Keeps what is there.

    Raises:
        InputError: `folder` exists and `force` is not given.
    """
    if os.path.lexists(folder) and not force:
        raise InputError(f"{folder} exists already; give --force to replace it, with all that is in it.")


@contextlib.contextmanager
def replacing_folder(data_root: Path, name: str, force: bool):
    """Yields a temporary data root to make the folder `name` in; moves that to `data_root` at the end, or removes it all.

    What killed processes have left there is removed first.

    Args:
        data_root: made if need be; the temporary one lies in it, so that moving is a rename.
        name: the folder.
        force: whether an existing folder may be replaced. It stays until the new one is complete.

    Raises:
        InputError: the folder exists and `force` is not given, or the data root cannot be made.
    """
    target, staging = data_root / name, data_root / f".{name}.{os.getpid()}.part"
    remove_leftovers(data_root)
    refuse_existing(target, force)
    make_folder(data_root)
    staging.mkdir()
    try:
        with _locked(staging):
            yield staging
            if os.path.lexists(target):
                target.rename(staging / REPLACED)
            (staging / name).rename(target)
    finally:
        _put_back(staging, target)
        # With what was replaced, if anything. A link is removed, not what it leads to.
        _remove_tree(staging)


def make_folder(folder: Path) -> None:
    """Makes `folder` and its parents.

    Raises:
        InputError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--data-root '{folder}' cannot be made ({error.strerror}); choose another folder.") from None
