"""Writing files so that nobody ever sees half of one."""

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from utils.errors import InputError

NAME_BYTES = 255  # a file name's length on the usual file systems
TEMPORARY = re.compile(r"\..+\.(\d+)\.part(\..*)?")  # what `replacing` writes to; the number is that of the process


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
    """Removes the temporary files of killed processes from a folder; those of processes that still run stay."""
    for path in folder.glob(".*.part*"):
        found = TEMPORARY.fullmatch(path.name)
        if found and not _another_runs(int(found[1])):
            path.unlink(missing_ok=True)


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
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


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
        raise InputError(f"{setting} '{path}' holds a blank, which the lists written there cannot express; choose a name without.")
    probe = path / f".probe.{os.getpid()}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process that begins may have cleared it away
    except OSError as error:
        raise InputError(f"{setting} '{path}' cannot be written to ({error.strerror}); choose another folder.") from error
    return path
