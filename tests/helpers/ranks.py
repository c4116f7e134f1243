"""Runs scripts as several processes that torchrun might have started: `python tests/helpers/ranks.py`, an order a line on stdin (JSON).

As tests/helpers/forker.py, whose children need not import torch again, with one more field in an order: `processes`, their number. The
answer has `status`, `out` and `err` of each process. As torchrun does it, the others are stopped when one fails.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time

import forker


def run(order):
    """Carries out an order; returns the answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files, running, statuses = [], {}, {}
    for rank in range(order["processes"]):
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        files.append((out, err))
        process = os.fork()
        if process == 0:
            where = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": order["processes"],
                "LOCAL_WORLD_SIZE": order["processes"],
            }
            os.environ |= {name: str(value) for name, value in where.items()} | {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            forker.child(order, out, err)
        running[process] = rank
    started, watch, over = time.monotonic(), forker.Watch(order), False
    while running:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            statuses[running.pop(ended)] = os.waitstatus_to_exitcode(status)
        over = over or watch.over() or time.monotonic() > started + order.get("after", 200)
        if any(statuses.values()) or over:
            for process in running:
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    texts = []
    for pair in files:
        for file in pair:
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
    return {"status": [statuses[rank] for rank in range(order["processes"])], "out": texts[::2], "err": texts[1::2]}


if __name__ == "__main__":
    for stem in sorted(path.stem for path in forker.Path(__file__).resolve().parents[2].glob("*.py")):
        forker.importlib.import_module(stem)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
