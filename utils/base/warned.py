"""What a command says, as users read it: warnings of libraries in one line each, without places in source code; names in any script."""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

# What begins so is not said. Of several processes that train, torch compares the strides of gradients with those of parameters:
# those of 1 x 1 convolutions on images in the channels_last layout differ where a side is 1 long, so that the memory is the same.
UNSAID = ("Grad strides do not match bucket view strides",)


@contextmanager
def plain_warnings(speaks: bool = True) -> Iterator[None]:
    """For the time of a with block, warnings are printed to stderr as `warning: <text>`, each text once, but for those in UNSAID.

    Every command does all of its work within this: Python's own form shows a line of a library's source code, which says nothing to
    whoever runs the command. Warnings that Python is told to turn into errors still become errors. From here on, the command's end
    included, characters that the terminal or a file in its place cannot take are written as escapes (`\\u8776`).

    Args:
        speaks: whether this process prints them; of several, the first alone does.
    """
    _escape_what_cannot_be_written()
    said = set()

    def say(message, category, filename, lineno, file=None, line=None) -> None:
        text = " ".join(str(message).split())
        if text not in said and speaks and not text.startswith(UNSAID):
            tqdm.write(f"warning: {text}", file=file or sys.stderr)  # on a line of its own where a progress bar stands
        said.add(text)

    usual, warnings.showwarning = warnings.showwarning, say
    try:
        yield
    finally:
        warnings.showwarning = usual


def _escape_what_cannot_be_written() -> None:
    """Keeps a name that stdout's encoding lacks, or a file name that is no text, from ending a command whose work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in notebooks they are not, and None where there is no terminal
            stream.reconfigure(errors="backslashreplace")
