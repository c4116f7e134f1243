"""Work in processes of their own: all of it, in order; and they end with the first of them, however that ends."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import spawned
from utils.base.errors import RunError
from utils.base.machine import in_processes

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize(("processes", "chunk"), [(0, 1), (1, 1), (2, 1), (3, 4)])
def test_results_come_in_order(processes, chunk):
    numbers = list(range(10))
    assert list(in_processes(math.factorial, numbers, processes, chunk)) == list(map(math.factorial, numbers))
    assert list(in_processes(math.factorial, [], processes, chunk)) == []
    assert not multiprocessing.active_children()


def test_each_has_a_process_of_its_own_where_there_are_several():
    assert set(in_processes(spawned.process, range(3), 1)) == {os.getpid()}
    assert os.getpid() not in set(in_processes(spawned.process, range(3), 2))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows holds no signals back")
def test_they_never_hear_ctrl_c():
    """Not even before their initializer: they start with what the process that starts them holds back."""
    held = list(in_processes(spawned.held_back, range(1), 2))
    assert signal.SIGINT in held[0] and signal.SIGINT not in spawned.held_back(0)


def test_an_error_stops_the_others():
    with pytest.raises(ValueError, match="zero"):
        list(in_processes(spawned.fail_or_stay, [0, 1, 2], 2))
    assert not multiprocessing.active_children()


def test_so_does_a_caller_that_needs_no_more():
    results = in_processes(spawned.stay_but_for_the_first, [0, 1, 2], 2)
    assert next(results) == 0
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_one_that_was_killed_is_a_sentence():
    with pytest.raises(RunError, match="^A process that computed for this one was killed; the memory may have been full.$"):
        list(in_processes(spawned.be_killed, [0, 1], 2))
    assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_they_end_with_the_first(tmp_path, sign):
    """However it ends. Only the first is told, as by `kill`, not all of a terminal."""
    code = (
        "from functools import partial; from pathlib import Path; from tests.helpers.spawned import stay; "
        f"from utils.base.machine import in_processes; list(in_processes(partial(stay, Path({str(tmp_path)!r})), [0, 1], 2))"
    )
    first = subprocess.Popen([sys.executable, "-c", code], cwd=TOP, stderr=subprocess.DEVNULL)
    others = _until(lambda: [int(path.name) for path in tmp_path.iterdir()], lambda found: len(found) == 2)
    first.send_signal(getattr(signal, sign))
    assert first.wait(60) != 0
    _until(lambda: [number for number in others if _runs(number)], lambda found: not found)


def _until(look, good):
    """What `look` finds, as soon as it is good."""
    end = time.monotonic() + 60
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def _runs(number: int) -> bool:
    """Whether there is a process of this number. An ended one that nobody has asked about does not count."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
    except OSError:
        os.kill(number, 0)
        return True
