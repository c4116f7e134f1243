"""Why a file that a list names cannot be opened, and what to do; asked once that has failed, since it looks into folders."""

import os
import unicodedata
from pathlib import Path
from typing import NamedTuple

from utils.base.errors import printable


class Absence(NamedTuple):
    """What is wrong with a file that is not there, or cannot be read.

    Attributes:
        problem: the end of a sentence that begins with the file's name: "is missing", "cannot be read (Permission denied)".
        remedy: what to do, as an order; "" where the file is plainly missing: whoever knows where its path starts from knows more.
    """

    problem: str
    remedy: str = ""


def why_absent(file: str | Path, error: OSError | ValueError) -> Absence:
    """Why a file could not be opened, or asked for its size.

    Args:
        file: its path.
        error: what that raised; a ValueError where no file can have such a name (it holds a zero byte).
    """
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return Absence(f"cannot be read ({error.strerror})", "mend that")
    path, missing = Path(file), None
    while not os.path.lexists(path) and path != path.parent:
        path, missing = path.parent, path.name
    try:
        if path.is_symlink() and not path.exists():
            return _broken_link(path, is_folder=missing is not None)
        near = _spelled_otherwise(missing, path) if missing else None
    except OSError:  # a folder that may be passed through and not read, or a link that is gone again
        near = None
    return near or Absence("is missing")


def _broken_link(link: Path, is_folder: bool) -> Absence:
    """What is said of a file that is a link to what is not there, or that lies in a folder that is one."""
    what, target = f"is missing: the folder {link} is a link" if is_folder else "is a link", link
    while target.is_symlink():
        target = target.parent / os.readlink(target)
    problem = f"{what} to {target}, which is missing (moved, or not mounted here)"
    return Absence(printable(problem), "restore that, or make the link anew")


def _spelled_otherwise(name: str, folder: Path) -> Absence | None:
    """What is said where a folder has `name` in other capitals, or with letters that Unicode composes otherwise; None where it has not.

    Some systems take these for the same name, others do not: lists that are right on one find nothing on another.
    """
    near = next(
        (one for one in sorted(os.listdir(folder)) if _composed(one).casefold() == _composed(name).casefold()), None
    )
    if near is None:
        return None
    how = (
        "its letters composed otherwise (NFC and NFD of Unicode)"
        if _composed(near) == _composed(name)
        else "in other capitals"
    )
    return Absence(
        printable(f"is missing, but {folder / near} is there, {how}"), "write it so in the list, or rename it"
    )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
