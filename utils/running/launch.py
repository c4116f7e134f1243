"""Starts and ends every script: settings in, run record out, errors as one sentence.

Torch is imported only by scripts that compute, so the others start at once.
"""

import argparse
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from utils.base import machine, processes
from utils.base.errors import Finished, InputError, RunError, plain_warnings
from utils.base.files import locked, output_folder, remove_leftovers
from utils.running import settings


def launch(main: Callable[..., dict | None], config: type, description: str) -> None:
    """Runs a script: `main` takes the resolved `config` and returns measurements, `description` is its docstring.

    A script with a `seed` computes: it is repeatable and writes a run record. Others, such as a server, do not.
    Exit status: 0, 2 (wrong input), 1 (failed run) or 130 (Ctrl-C).
    """
    fields = {field.name for field in dataclasses.fields(config)}
    again = f" Continue with: {_next_command('resume' in fields)}" if "seed" in fields else ""
    if "seed" not in fields:
        for name in processes.LAUNCHER:
            os.environ.pop(name, None)  # a server is one process
    with command(f"{settings.script_name()}.py", again):
        cfg = settings.resolve(settings.parse(config, description))
        if not hasattr(cfg, "device") and not processes.is_first():
            return  # a script without a device has no work to share
        if "seed" in fields:
            _compute(main, cfg)
        else:
            main(cfg)


@contextmanager
def command(name: str, again: str = "") -> Iterator[None]:
    """Ends a failed command with one sentence; `again` says how to continue after Ctrl-C or a failed write."""
    where = f" in process {processes.rank()}" if processes.count() > 1 else ""
    os.environ["MPLBACKEND"] = "agg"  # that of a notebook may be missing here
    machine.keep_freed_memory()
    try:
        with plain_warnings(processes.is_first()):
            yield
    except Finished as finished:
        processes.say(finished)
    except (InputError, RunError, OSError) as error:
        advice = f".{again}" if isinstance(error, OSError) else ""
        print(f"{name}: error{where}: {error}{advice}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        processes.say(f"{name}: stopped by Ctrl-C.{again}", file=sys.stderr)
        sys.exit(130)


def _compute(main: Callable[..., dict | None], cfg) -> None:
    """Runs `main` with fixed seeds and writes the run record. Raises RunError if memory runs out."""
    import torch

    from utils.base import randomness
    from utils.running import records, resuming

    folder, paths, device = output_folder(cfg.out), resuming.record_paths(cfg), getattr(cfg, "device", None)
    only_run = locked(paths[-1]) if processes.is_first() else nullcontext()
    started = time.perf_counter()
    try:
        with processes.joined(device) if device else nullcontext(), only_run:
            processes.first_only(remove_leftovers)(folder)
            inputs = resuming.inputs(cfg)
            randomness.make_repeatable(cfg.seed)
            measured = main(cfg) or {}
            seconds = {"seconds": round(time.perf_counter() - started, 2)}
            if processes.is_first():
                records.write_run_record(paths, settings.script_name(), cfg, inputs, measured | seconds)
                resuming.forget(cfg)
    except (MemoryError, torch.OutOfMemoryError) as error:
        advice = "Lower --batch-size, --image-size, --workers or --ram-budget"
        raise RunError(f"Out of memory ({str(error).rstrip('.')}). {advice}.") from error
    if processes.is_first():
        for warning in measured.get("warnings", ()):
            print(f"warning: {warning}")
        print(f"Settings and measurements: {paths[-1]}")


def _next_command(resumes: bool) -> str:
    """Returns the command that continues this run, or repeats it if the script has no --resume."""
    launcher = ["python"] if processes.count() == 1 else ["torchrun", f"--nproc-per-node={processes.on_this_node()}"]
    words = [word for word in sys.argv if word != "--resume"]
    return shlex.join([*launcher, *words, *(["--resume"] if resumes else [])])


def command_line(module: str, docstring: str) -> argparse.ArgumentParser:
    """Returns a parser without arguments for a tool that runs as `python -m <module>`; its docstring opens the help."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
