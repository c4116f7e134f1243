"""Work for processes of their own, which find it by its name."""

import os
import signal
import time
from pathlib import Path


def stay(folder: Path, number: int) -> None:
    """Leaves a file of the process's number there, and stays longer than any test waits."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def process(number: int) -> int:
    """The number of the process."""
    return os.getpid()


def held_back(number: int) -> set:
    """The signals that the process holds back."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def leave_a_file(folder: Path, number: int) -> int:
    """Leaves a file of the group's number."""
    (folder / str(number)).touch()
    return number


def stay_but_for_the_first(number: int) -> int:
    """0 returns at once."""
    if number:
        time.sleep(600)
    return number


def fail_or_stay(number: int) -> None:
    """0 fails, others stay."""
    if number == 0:
        raise ValueError("zero")
    time.sleep(600)


def be_killed(number: int) -> None:
    """As by a system whose memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)
