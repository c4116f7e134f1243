"""Stopping and resuming: the state of an unfinished run, and the proof that a run with --resume is the same run.

A run keeps the folder `<out>/.unfinished_<script>/` from its start to its end. All randomness derives from (seed, epoch, image), so
a resumed run writes the same bytes as an undisturbed one.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.weights import read_checkpoint, save_checkpoint
from utils.base import processes
from utils.base.errors import Finished, InputError, RunError
from utils.base.files import file_digest, remove_leftovers
from utils.data.outputs import Layout, record_of
from utils.running.settings import chosen_dataset, script_name

FREE = {"resume", "workers", "ram_budget"}  # settings that never change a result
FILES = ("checkpoint", "pretrained", "ce_list", "train_list", "simclr_checkpoint")  # settings that name input files
SAVING_SHARE = 0.1  # of the run's time; a network's state is 100 MB, and short epochs must not wait for it


def _course(cfg) -> str:
    """The selection of a script that makes a course; "" for others, which read courses only."""
    return cfg.selection if hasattr(cfg, "selection") and hasattr(cfg, "ce_list") else ""


def record_paths(cfg) -> list[Path]:
    """The records of a finished run. The last one proves that the run has ended; courses have one per selection."""
    layout, course = Layout(Path(cfg.out)), _course(cfg)
    return [layout.run_record(script_name())] + ([layout.run_record(script_name(), course)] if course else [])


def unfinished_folder(cfg) -> Path:
    return Layout(Path(cfg.out)).unfinished(script_name(), _course(cfg))


def inputs(cfg) -> dict[str, str]:
    """SHA-256 of a run's input files: the dataset's lists, the files that settings name, and the record of the explanation list, which
    says how the explanations were made (their file names do not)."""
    dataset = chosen_dataset(cfg)
    splits = [split for split in ("train", "test", "rest") if getattr(dataset, split)]
    files = {f"{split} list": dataset.list_path(cfg.data_root, split) for split in splits}
    files |= {name: Path(getattr(cfg, name)) for name in FILES if hasattr(cfg, name)}
    if hasattr(cfg, "ce_list"):
        files["explanation record"] = record_of(cfg.ce_list)
    digests = {}
    for name, path in files.items():
        with suppress(
            OSError, ValueError
        ):  # no such file; settings also say `none`, and missing lists are reported later
            digests[name] = file_digest(path, "sha256")
    return digests


def identity(settings: dict, contents: dict[str, str], num_processes: int) -> dict:
    """What must be equal for two runs to be the same: settings, contents of input files, number of processes."""
    same = {name: value for name, value in settings.items() if name not in FREE}
    if "device" in same:
        same["device"] = same["device"].partition(":")[0]  # each rank has its own GPU number
    same |= {f"content of {name}": digest[:16] for name, digest in contents.items()}
    same["processes"] = num_processes  # batch norm sees the part of a batch that one rank has
    return json.loads(json.dumps(same))  # tuples become lists, as in a record


class Unfinished:
    """A run that has not ended, in a folder of its own.

    Args:
        folder: the folder.
        who: the run's identity.

    Attributes:
        state: what the stopped process saved last; None if nothing, and in a new run.
        advanced: whether there is anything to resume.
    """

    def __init__(self, folder: Path, who: dict) -> None:
        self.folder, self.who = folder, who
        self.state: dict | None = None
        self.advanced = False
        self._file = folder / "state.pt"
        self._next_save = 0.0  # seconds of the monotonic clock

    def begin(self) -> None:
        """Starts from scratch."""
        self.remove()
        self.folder.mkdir(parents=True)
        self.save(None)

    def go_on(self) -> bool:
        """Reads the state of a stopped process; returns whether there is one.

        Raises:
            InputError: it had other settings or input files.
        """
        if not self._file.exists():
            return False
        content = read_checkpoint(self._file, "--resume")
        theirs = content["identity"]
        changed = [
            f"{name} (was {theirs.get(name)}, is {self.who.get(name)})"
            for name in sorted(self.who.keys() | theirs.keys())
            if self.who.get(name) != theirs.get(name)
        ]
        if changed:
            raise InputError(
                f"--resume: the unfinished run {self.folder} had other settings: {', '.join(changed)}. "
                "Restore them, or start without --resume."
            )
        processes.first_only(remove_leftovers)(self.folder)
        self.state, self.advanced = content["state"], True
        return True

    @processes.first_only
    def save(self, state: dict | None) -> None:
        """Replaces the saved state (tensors and plain values) atomically."""
        save_checkpoint(self._file, {"identity": self.who, "state": state})
        self.advanced = state is not None

    @processes.first_only
    def remove(self) -> None:
        self._file.unlink(missing_ok=True)  # first, since nothing in the folder counts without it
        shutil.rmtree(self.folder, ignore_errors=True)

    @processes.first_only
    def save_when_due(self, make_state: Callable[[], dict]) -> None:
        """Saves, unless that would take more than SAVING_SHARE of the time since the last save."""
        started = time.monotonic()
        if started >= self._next_save:
            self.save(make_state())
            now = time.monotonic()
            self._next_save = now + (now - started) * (1 / SAVING_SHARE - 1)


@contextmanager
def resumable(cfg, outputs: Iterable[Path]) -> Iterator[Unfinished]:
    """Gives a run its unfinished folder; with --resume it contains the state of an earlier process.

    A run that diverges, or finds wrong input before it saved anything, leaves nothing.

    Args:
        cfg: the resolved settings.
        outputs: the run's main files.

    Raises:
        InputError: --resume, and the unfinished run had other settings or input files.
        Finished: --resume, and the same run has ended: its record matches and its outputs exist.
    """
    unfinished = Unfinished(unfinished_folder(cfg), identity(dataclasses.asdict(cfg), inputs(cfg), processes.count()))
    resumed = False
    if cfg.resume:
        _check_finished(cfg, unfinished, outputs)
        resumed = unfinished.go_on()
        found = (
            f"Resuming the unfinished run in {cfg.out}."
            if resumed
            else f"No unfinished run in {cfg.out}; starting from scratch."
        )
        processes.say(found)
    processes.wait()  # barrier: every rank reads the state before rank 0 overwrites it
    if not resumed and processes.is_first():
        for path in record_paths(cfg):
            path.unlink(missing_ok=True)  # they describe an earlier run
        unfinished.begin()
    try:
        yield unfinished
    except InputError:
        if not unfinished.advanced:
            unfinished.remove()
        raise
    except RunError:  # it diverged, and would again
        unfinished.remove()
        raise


@processes.first_only
def forget(cfg) -> None:
    """Removes the unfinished folder of a run that has ended."""
    Unfinished(unfinished_folder(cfg), {}).remove()


def _check_finished(cfg, unfinished: Unfinished, outputs: Iterable[Path]) -> None:
    proof = record_paths(cfg)[-1]
    try:
        record = json.loads(proof.read_text(encoding="utf-8"))
        theirs = identity(record["settings"], record["inputs"], record["processes"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if theirs == unfinished.who and all(path.is_file() for path in outputs):
        unfinished.remove()
        raise Finished(f"This run has finished, see {proof}. To run it again, start without --resume.")
