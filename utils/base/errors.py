"""The ways a script stops by itself: the user gave something wrong, the run went wrong, or nothing is left to do."""

from collections.abc import Sequence


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
