"""Errors that end a script with one sentence, and warnings printed as one line."""

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

# Printed by torch for gradients of 1 x 1 convolutions in the channels_last layout; it has no effect.
IGNORED = "Grad strides do not match bucket view strides"


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one sentence that names the file and line or the setting, and says what to do. Scripts print it without a
    traceback and end with exit status 2.
    """


class RunError(Exception):
    """The run itself went wrong (a loss became NaN, the disk is full). Scripts print it and end with exit status 1."""


class Finished(Exception):
    """A run that was to be resumed has ended already. Scripts print it and end with exit status 0."""


def printable(text: str) -> str:
    """`text` with what cannot be seen, such as a no-break space, written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def first_of(names: Sequence[str], most: int) -> str:
    """Names in a row, as a sentence can carry them: the first `most`, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def plain_warnings(shown: bool = True) -> Iterator[None]:
    """Prints each warning once, as one line on stderr without source code; of several ranks, only one should pass `shown`.

    Characters that the terminal's encoding lacks are printed as escapes from here on.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's stream is not one
            stream.reconfigure(errors="backslashreplace")
    printed = set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        text = " ".join(str(message).split())
        if shown and text not in printed and not text.startswith(IGNORED):
            tqdm.write(f"warning: {text}", file=file or sys.stderr)  # does not break a progress bar
        printed.add(text)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
