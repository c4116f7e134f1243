"""Work in processes of their own: all of it, in order; and they end with the first of them, however that ends."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.helpers import spawned
from utils.base.errors import RunError
from utils.base.machine import in_processes

TOP = Path(__file__).parents[2]


def of(begun):
    """All results."""
    with begun as results:
        return list(results)


@pytest.mark.parametrize(("processes", "chunk"), [(0, 1), (1, 1), (2, 1), (3, 4)])
def test_results_come_in_order(processes, chunk):
    numbers = list(range(10))
    assert of(in_processes(math.factorial, numbers, processes, chunk)) == list(map(math.factorial, numbers))
    assert of(in_processes(math.factorial, [], processes, chunk)) == []
    none_is_left()


def test_each_has_a_process_of_its_own_where_there_are_several():
    assert set(of(in_processes(spawned.process, range(3), 1))) == {os.getpid()}
    assert os.getpid() not in set(of(in_processes(spawned.process, range(3), 2)))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows holds no signals back")
def test_they_never_hear_ctrl_c():
    """Not even before their initializer: they start with what the process that starts them holds back."""
    held = of(in_processes(spawned.held_back, range(1), 2))
    assert signal.SIGINT in held[0] and signal.SIGINT not in spawned.held_back(0)


def test_an_error_stops_the_others():
    with pytest.raises(ValueError, match="zero"):
        of(in_processes(spawned.fail_or_stay, [0, 1, 2], 2))
    none_is_left()


def test_so_does_a_body_that_ends_early():
    with in_processes(spawned.stay_but_for_the_first, [0, 1, 2], 2) as results:
        assert next(results) == 0
    none_is_left()
    with pytest.raises(KeyError, match="else"), in_processes(spawned.stay_but_for_the_first, [0, 1, 2], 2):
        raise KeyError("something else")
    none_is_left()


def test_whose_work_is_done_ends_by_itself():
    with in_processes(spawned.process, range(4), 2) as results:
        started = multiprocessing.active_children()
        assert len(list(results)) == 4
    assert len(started) == 2 and [process.exitcode for process in started] == [0, 0]


def test_they_work_while_the_body_does_something_else(tmp_path):
    with in_processes(partial(spawned.leave_a_file, tmp_path), [0, 1], 2) as results:
        _until(lambda: {path.name for path in tmp_path.iterdir()}, lambda found: found == {"0", "1"})
        assert list(results) == [0, 1]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_one_that_was_killed_is_a_sentence():
    with pytest.raises(RunError, match="^A process that computed for this one was killed .* or could not start"):
        of(in_processes(spawned.be_killed, [0, 1], 2))
    none_is_left()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_they_end_with_the_first(tmp_path, sign):
    """However it ends. Only the first is told, as by `kill`, not all of a terminal. It hears Ctrl-C though these tests may not, as where
    they run in the background."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from functools import partial; from pathlib import Path; from tests.helpers.spawned import stay; "
        f"from tests.base.test_in_processes import of; from utils.base.machine import in_processes; "
        f"of(in_processes(partial(stay, Path({str(tmp_path)!r})), [0, 1], 2))"
    )
    first = subprocess.Popen([sys.executable, "-c", code], cwd=TOP, stderr=subprocess.DEVNULL)
    others = _until(lambda: [int(path.name) for path in tmp_path.iterdir()], lambda found: len(found) == 2)
    first.send_signal(getattr(signal, sign))
    assert first.wait(60) != 0
    _until(lambda: [number for number in others if _runs(number)], lambda found: not found)


def none_is_left():
    """At once but for the bookkeeping of multiprocessing, which another thread may be at."""
    _until(multiprocessing.active_children, lambda found: not found)


def _until(look, good):
    """What `look` finds, as soon as it is good."""
    end = time.monotonic() + 60
    while not good(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def _runs(number: int) -> bool:
    """Whether there is a process of this number. An ended one that nobody has asked about does not count where the system tells."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return True
