"""A folder of the data root appears whole or not at all."""

import contextlib
import os
import shutil
from pathlib import Path

from utils.errors import InputError


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

    Args:
        data_root: made if need be; the temporary one lies in it, so that moving is a rename.
        name: the folder.
        force: whether an existing folder may be replaced. It stays until the new one is complete.

    Raises:
        InputError: the folder exists and `force` is not given, or the data root cannot be made.
    """
    target, staging = data_root / name, data_root / f".{name}.{os.getpid()}.part"
    replaced = staging / "replaced"
    refuse_existing(target, force)
    make_folder(data_root)
    try:
        staging.mkdir()
        yield staging
        if os.path.lexists(target):
            target.rename(replaced)
        (staging / name).rename(target)
    finally:
        if os.path.lexists(replaced) and not os.path.lexists(target):
            replaced.rename(target)
        # With what was replaced, if anything. A link is removed, not what it leads to.
        shutil.rmtree(staging, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Makes `folder` and its parents.

    Raises:
        InputError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--data-root '{folder}' cannot be made ({error.strerror}); choose another folder.") from None
