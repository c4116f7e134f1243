"""How every script starts and ends: settings in, story told, record written; errors as one sentence.

Torch is imported where a script computes, not here: one that computes nothing is launched too, and starts at once.
"""

import argparse
import dataclasses
import errno
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from utils.base import processes
from utils.base.errors import Finished, InputError, RunError, plain_warnings
from utils.base.files import output_folder, remove_leftovers
from utils.running import settings

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# How torch, beside the error that it has for it, tells that a GPU's memory is full (CUDA, cuDNN, cuBLAS).
GPU_FULL = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED")
MACHINE = "this machine"


def launch(main: Callable[..., dict | None], config: type, description: str) -> None:
    """Runs a script.

    A script with a `seed` computes: what it does can be repeated, and leaves a record. One without, such as a server, leaves none.

    Args:
        main: tells the script's story; takes the resolved configuration, returns what it measured (JSON values). The sentences under
            `warnings`, if there are any, say why it may be worth nothing (utils/running/checks.py); they are printed.
        config: the script's settings dataclass.
        description: the script's docstring.

    The process ends with status 0, 2 (wrong input), 1 (the run went wrong) or 130 (Ctrl-C), and without a traceback unless
    the fault is ours. The record is written last, so that a run without one is known to be unfinished.
    """
    script, computes = settings.script_name(), "seed" in {field.name for field in dataclasses.fields(config)}
    try:
        with plain_warnings(processes.is_first()):  # around all that may ask libraries for something, the settings too
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
        full = computes and error.errno in NO_ROOM
        _stop(
            script,
            f"The disk is full ({error}); make room, then go on with: {_next_command(config)}" if full else error,
            1,
        )
    except RunError as error:
        _stop(script, error, 1)
    except KeyboardInterrupt:
        if not computes:
            _stop(script, "stopped by Ctrl-C.", 130)
        processes.say(f"{script}.py: stopped by Ctrl-C; go on with: {_next_command(config)}", file=sys.stderr)
        sys.exit(130)


def _compute(main: Callable[..., dict | None], cfg) -> None:
    """Tells the story of a script that computes, repeatably, and writes its record.

    Raises:
        RunError: the memory is full.
    """
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
    except (MemoryError, RuntimeError) as error:
        full = _full_memory(error, device)
        if full:
            raise RunError(f"The memory of {full} is full; {_less_memory(cfg, full)}.") from error
        raise
    seconds = {"seconds": round(time.perf_counter() - started, 2)}
    if processes.is_first():
        paths = resuming.record_paths(cfg)
        records.write_run_record(paths, settings.script_name(), cfg, inputs, measured | seconds)
        resuming.forget(cfg)
        for sentence in measured.get("warnings", ()):
            print(f"warning: {sentence}")
        print(f"Settings and measurements: {paths[-1]}")


def _full_memory(error: Exception, device: str | None) -> str:
    """Whose memory an error says to be full, a GPU's or this machine's; "" where it says something else."""
    import torch

    if isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in GPU_FULL):
        return device or "the GPU"
    return MACHINE if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error) else ""


def _less_memory(cfg, full: str) -> str:
    """What a user can do about memory that is full, to end that sentence. A run goes on with the settings that it began with, but for
    its number of workers, which hold pictures in the machine's memory."""
    workers = ["--workers"] if hasattr(cfg, "workers") and full == MACHINE else []
    smaller = [f"--{name.replace('_', '-')}" for name in ("batch_size", "image_size") if hasattr(cfg, name)]
    if not hasattr(cfg, "resume"):
        return " or lower ".join(["end what else fills it", *workers, *smaller]) + ", then begin anew"
    going_on = " or lower ".join(["end what else fills it", *workers]) + ", then go on with --resume"
    return f"{going_on}, or begin anew with a lower {' or '.join(smaller)}"


def command_line(module: str, docstring: str) -> argparse.ArgumentParser:
    """Returns the parser, still without arguments, of a tool that runs as `python -m <module>`; its docstring opens the help."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=settings.laid_out(docstring), formatter_class=raw
    )


@contextmanager
def command(name: str) -> Iterator[None]:
    """For the time of a command that is no script (`python -m ...`): what goes wrong ends the process as `launch` does, with a sentence.

    Args:
        name: how the sentence calls the command.
    """
    try:
        with plain_warnings():
            yield
    except (InputError, RunError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print(f"{name}: stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(130)


def _next_command(config: type) -> str:
    """The command that goes on where this process stopped, or, in a script that takes no --resume, begins anew."""
    resume = ["--resume"] if "resume" in {field.name for field in dataclasses.fields(config)} else []
    launcher = ["python"] if processes.count() == 1 else ["torchrun", f"--nproc-per-node={processes.on_this_node()}"]
    words = [word for word in sys.argv if word != "--resume"]
    return shlex.join([*launcher, *words, *resume])


def _stop(script: str, reason: object, status: int) -> None:
    who = f" in process {processes.rank()}" if processes.count() > 1 else ""
    print(f"{script}.py: error{who}: {reason}", file=sys.stderr)
    sys.exit(status)
