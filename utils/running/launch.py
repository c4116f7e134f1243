"""Start and end of every script: settings in, record written, errors as one sentence.

Torch is imported only by scripts that compute, so that the others start at once.
"""

import argparse
import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from utils.base import processes
from utils.base.errors import Finished, InputError, RunError, plain_warnings
from utils.base.files import output_folder, remove_leftovers
from utils.running import settings

Main = Callable[..., dict | None]


def launch(main: Main, config: type, description: str) -> None:
    """Runs a script.

    A script with a `seed` computes: its results can be repeated, and it writes a run record at the end. A script without one, such
    as a server, writes no record. The exit status is 0, 2 (wrong input), 1 (failed run) or 130 (Ctrl-C).

    Args:
        main: takes the resolved configuration and returns measurements (JSON values). Its `warnings` are printed.
        config: the script's settings dataclass.
        description: the script's docstring.
    """
    script, fields = settings.script_name(), {field.name for field in dataclasses.fields(config)}
    computes = "seed" in fields
    again = f" Continue with: {_next_command('resume' in fields)}" if computes else ""
    try:
        with plain_warnings(processes.is_first()):
            cfg = settings.resolve(settings.parse(config, description))
            if not hasattr(cfg, "device") and not processes.is_first():
                return  # a script without a device has no work to share
            if computes:
                _compute(main, cfg)
            else:
                main(cfg)
    except Finished as finished:
        processes.say(finished)
    except InputError as error:
        _stop(script, error, 2)
    except OSError as error:
        _stop(script, f"{error}.{again}", 1)
    except RunError as error:
        _stop(script, error, 1)
    except KeyboardInterrupt:
        processes.say(f"{script}.py: stopped by Ctrl-C.{again}", file=sys.stderr)
        sys.exit(130)


def _compute(main: Main, cfg) -> None:
    """Runs `main` with fixed seeds and writes the run record.

    Raises:
        RunError: out of memory.
    """
    import torch

    from utils.base import randomness
    from utils.running import records, resuming

    processes.first_only(remove_leftovers)(output_folder(cfg.out))
    inputs = resuming.inputs(cfg)
    randomness.make_repeatable(cfg.seed)
    device = getattr(cfg, "device", None)
    started = time.perf_counter()
    try:
        with processes.joined(device) if device else nullcontext():
            measured = main(cfg) or {}
    except (MemoryError, torch.OutOfMemoryError) as error:
        names = [name for name in ("batch_size", "image_size", "workers", "ram_budget") if hasattr(cfg, name)]
        smaller = (
            "Lower " + " or ".join(f"--{name.replace('_', '-')}" for name in names) if names else "Free some memory"
        )
        raise RunError(f"Out of memory ({str(error).rstrip('.')}). {smaller}.") from error
    seconds = {"seconds": round(time.perf_counter() - started, 2)}
    if processes.is_first():
        paths = resuming.record_paths(cfg)
        records.write_run_record(paths, settings.script_name(), cfg, inputs, measured | seconds)
        resuming.forget(cfg)
        for warning in measured.get("warnings", ()):
            print(f"warning: {warning}")
        print(f"Settings and measurements: {paths[-1]}")


def _next_command(resumes: bool) -> str:
    """The command that continues this run, or repeats it in a script without --resume."""
    launcher = ["python"] if processes.count() == 1 else ["torchrun", f"--nproc-per-node={processes.on_this_node()}"]
    words = [word for word in sys.argv if word != "--resume"]
    return shlex.join([*launcher, *words, *(["--resume"] if resumes else [])])


def _stop(script: str, reason: object, status: int) -> None:
    where = f" in process {processes.rank()}" if processes.count() > 1 else ""
    print(f"{script}.py: error{where}: {reason}", file=sys.stderr)
    sys.exit(status)


def command_line(module: str, docstring: str) -> argparse.ArgumentParser:
    """The parser, still without arguments, of a tool that runs as `python -m <module>`; its docstring opens the help."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=settings.laid_out(docstring),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def command(name: str) -> Iterator[None]:
    """Ends a tool (`python -m ...`) as `launch` ends a script: errors as one sentence, which begins with `name`."""
    try:
        with plain_warnings():
            yield
    except (InputError, RunError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print(f"{name}: stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(130)
