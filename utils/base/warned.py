"""What libraries warn of, as users read it: one line each, without places in source code."""

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

    Every command does its work within this: Python's own form shows a line of a library's source code, which says nothing to
    whoever runs the command. Warnings that Python is told to turn into errors still become errors.

    Args:
        speaks: whether this process prints them; of several, the first alone does.
    """
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
