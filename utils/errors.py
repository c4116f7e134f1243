"""The two ways a script stops by itself: the user gave something wrong, or the run went wrong."""


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one sentence that names the file and line or the setting, and says what to do. Scripts print it without a
    traceback and end with exit status 2.
    """


class RunError(Exception):
    """The run itself went wrong (a loss became NaN, the disk is full). Scripts print it and end with exit status 1."""
