"""Runs scripts in forked children, which need not import torch again. Reads one JSON order per line from stdin.

An order has `script`, `arguments` and `cwd`, and possibly

- `processes`: number of ranks, as under torchrun; if one fails, the others are killed.
- `after`: seconds until the children get a signal.
- `watched` and `versions`: instead, they get it when this file has been seen in so many versions.
- `signal`: SIGKILL by default.
- `file_limit`: size of the largest file in bytes; writing more fails, as on a full disk.

Each answer is one line of JSON with `status` (negative: the signal that ended the child), `out`, `err` and `seconds`.
With `processes`, the first three are lists. The state of a run is saved after every epoch and lesson.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import narrow  # noqa: E402, F401
import torch  # noqa: E402

from utils.explanations import explain_list  # noqa: E402
from utils.running import launch, resuming
from utils.training import classifier

torch.set_num_threads(1)  # a process with threads cannot be forked


def child(order, environment, out, err):
    """Runs a script and ends the process."""
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(order["cwd"])
        os.environ |= environment
        if "file_limit" in order:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], resource.RLIM_INFINITY))
        # Several ranks share even few images, and states are saved however short an epoch is.
        explain_list.SHEET_ROWS, classifier.EVAL_BATCH, resuming.SAVING_SHARE = 2, 4, 1.0
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


def start(order):
    """Starts all ranks with torchrun's variables; returns their process ids, in order, and their output files."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": probe.getsockname()[1]}
    count, children, files = order.get("processes"), [], []
    for rank in range(count or 1):
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count} | address
        files.append((tempfile.TemporaryFile(), tempfile.TemporaryFile()))
        process = os.fork()
        if process == 0:
            child(order, {name: str(value) for name, value in numbers.items() if count}, *files[-1])
        children.append(process)
    return children, files


def run(order):
    started, versions, signaled = time.monotonic(), set(), False
    children, files = start(order)
    running, statuses = set(children), {}
    while running:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            running.remove(ended)
            statuses[ended] = os.waitstatus_to_exitcode(status)
            continue
        with contextlib.suppress(FileNotFoundError, KeyError):
            about = os.stat(os.path.join(order["cwd"], order["watched"]))
            versions.add((about.st_ino, about.st_mtime_ns))
        due = time.monotonic() > started + order.get("after", 300) or len(versions) >= order.get("versions", 1)
        if not signaled and (due or any(statuses.values())):
            signaled = True
            for process in running:
                os.kill(process, order.get("signal", signal.SIGKILL))
        time.sleep(0.002)
    texts = []
    for file in (file for pair in files for file in pair):
        file.seek(0)
        texts.append(file.read().decode())
        file.close()
    answer = {"status": [statuses[process] for process in children], "out": texts[::2], "err": texts[1::2]}
    if "processes" not in order:
        answer = {name: values[0] for name, values in answer.items()}
    return answer | {"seconds": time.monotonic() - started}


if __name__ == "__main__":
    for stem in sorted(path.stem for path in Path(__file__).resolve().parents[2].glob("*.py")):
        importlib.import_module(stem)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
