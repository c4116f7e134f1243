"""Runs scripts in forked children, which need not import torch again: `python tests/helpers/forker.py`, an order a line on stdin (JSON).

An order has `script`, `arguments` and `cwd`, and may have

- `after`: the child gets a signal so many seconds after its start; or `watched` and `versions`: as soon as that file was seen in so
  many versions. `signal` says which; without it, it is SIGKILL.
- `file_limit`: the largest file that the child may write, in bytes. To the child, the disk is full.

The answer, a line on stdout, has `status` (negative: the signal that ended the child), `out`, `err` and `seconds`.

The networks are an eighth as wide as ResNet-18, so that their state has 2 MB, not 100, contact sheets have two rows, and networks are
measured on four test images at a time, so that several processes share them: whether a run goes on well depends on none of these.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import narrow  # noqa: E402, F401
import torch  # noqa: E402

from utils.explanations import sheet  # noqa: E402
from utils.running import launch, resuming
from utils.training import classifier

torch.set_num_threads(1)  # a process with threads cannot be forked


def child(order, out, err):
    """Runs a script and ends the process."""
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(order["cwd"])
        if "file_limit" in order:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], resource.RLIM_INFINITY))
        sheet.SHEET_ROWS, classifier.EVAL_BATCH = 2, 4
        resuming.SAVING_SHARE = 1.0  # save after every epoch and lesson, however short
        sys.argv = [f"{order['script']}.py", *order["arguments"]]
        module = importlib.import_module(order["script"])
        launch.launch(module.main, module.Config, module.__doc__)
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class Watch:
    """Whether the file that an order says to be `watched` was seen in so many `versions`; never, where it names none."""

    def __init__(self, order):
        self.order, self.seen = order, set()

    def over(self):
        with contextlib.suppress(FileNotFoundError, KeyError):
            about = os.stat(os.path.join(self.order["cwd"], self.order["watched"]))
            self.seen.add((about.st_ino, about.st_mtime_ns))
        return len(self.seen) >= self.order.get("versions", 1)


def run(order):
    """Carries out an order; returns the answer."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = os.fork()
        if process == 0:
            child(order, out, err)
        ended, status, watch = 0, 0, Watch(order)
        while not ended and time.monotonic() < started + order.get("after", 300) and not watch.over():
            time.sleep(0.002)
            ended, status = os.waitpid(process, os.WNOHANG)
        if not ended:
            os.kill(process, order.get("signal", signal.SIGKILL))
            _, status = os.waitpid(process, 0)
        seconds = time.monotonic() - started
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return {"status": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1], "seconds": seconds}


if __name__ == "__main__":
    for stem in sorted(path.stem for path in Path(__file__).resolve().parents[2].glob("*.py")):
        importlib.import_module(stem)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
