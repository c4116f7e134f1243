"""Errors that end a script with one sentence, and warnings printed as one line."""

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

# DistributedDataParallel warns of 1 x 1 convolutions in the channels_last layout; results are correct.
IGNORED = "Grad strides do not match bucket view strides"


class InputError(Exception):
    """Wrong input. The message names the file and line, or the setting, and says what to do; the exit status is 2."""


class RunError(Exception):
    """A failed run, for example because the loss became NaN; the exit status is 1."""


class Finished(Exception):
    """A run to resume that has already finished; the exit status is 0."""


def printable(text: str) -> str:
    """Escapes invisible characters, such as a no-break space."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def first_of(names: Sequence[str], most: int) -> str:
    """Joins up to `most` names and appends "and N more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def plain_warnings(shown: bool = True) -> Iterator[None]:
    """Prints each warning once, as one line on stderr; the terminal's missing characters are escaped from now on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a notebook
            stream.reconfigure(errors="backslashreplace")
    printed = set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        text = " ".join(str(message).split())
        if shown and text not in printed and not text.startswith(IGNORED):
            tqdm.write(f"warning: {text}", file=file or sys.stderr)  # keeps progress bars intact
        printed.add(text)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
