"""Stops and resumes runs: the state of an unfinished run, and the proof that a run with --resume is the same run.

A run keeps the folder `<out>/.unfinished_<script>/` until it ends. All randomness derives from (seed, epoch, image), so
a resumed run writes the same bytes as an undisturbed one.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.weights import read_checkpoint, save_checkpoint
from utils.base import processes
from utils.base.errors import Finished, InputError, RunError
from utils.base.files import file_digest, remove_leftovers
from utils.data.outputs import Layout, faithfulness_of, record_of
from utils.running.records import differing
from utils.running.settings import chosen_dataset, script_name

FREE = {"resume", "workers", "ram_budget"}  # settings that never change a result
FILES = ("checkpoint", "pretrained", "ce_list", "train_list", "simclr_checkpoint")  # settings that name input files
SAVING_SHARE = 0.1  # of the run's time; a network's state is 100 MB, and short epochs must not wait for it


def _course(cfg) -> str:
    """The selection of a script that makes a course; "" for other scripts."""
    return cfg.selection if hasattr(cfg, "selection") and hasattr(cfg, "ce_list") else ""


def record_paths(cfg) -> list[Path]:
    """Records of a finished run; courses have one more. The last one proves that the run has ended."""
    selections = dict.fromkeys(["", _course(cfg)])
    return [Layout(Path(cfg.out)).run_record(script_name(), selection) for selection in selections]


def inputs(cfg) -> dict[str, str]:
    """SHA-256 of a run's input files: the dataset's lists, files that settings name, and those next to a CE list."""
    dataset = chosen_dataset(cfg)
    splits = [split for split in ("train", "test", "rest") if getattr(dataset, split)]
    files = {f"{split} list": dataset.list_path(cfg.data_root, split) for split in splits}
    files |= {name: Path(getattr(cfg, name)) for name in FILES if hasattr(cfg, name)}
    if hasattr(cfg, "ce_list"):
        files |= {"explanation record": record_of(cfg.ce_list), "faithfulness": faithfulness_of(cfg.ce_list)}
    return {name: file_digest(path, "sha256") for name, path in files.items() if path.is_file()}


def identity(settings: dict, contents: dict[str, str], num_processes: int) -> dict:
    """What two runs must share to be the same: settings, contents of input files, number of processes."""
    same = {name: value for name, value in settings.items() if name not in FREE}
    if "device" in same:
        same["device"] = same["device"].partition(":")[0]  # each rank has its own GPU number
    same |= {f"content of {name}": digest[:16] for name, digest in contents.items()}
    same["processes"] = num_processes  # each rank's batch norm sees only its part of a batch
    return json.loads(json.dumps(same))  # tuples become lists, as in a record


class Unfinished:
    """The state of a run that has not ended, in a folder of its own; `who` is the run's identity."""

    def __init__(self, folder: Path, who: dict) -> None:
        self.folder, self.who = folder, who
        self.state: dict | None = None  # what the stopped process saved last; None in a new run
        self.advanced = False  # whether there is anything to resume
        self._file = folder / "state.pt"
        self._next_save = 0.0  # seconds of the monotonic clock

    def go_on(self) -> None:
        """Reads the state of a stopped process, if there is one."""
        if not self._file.exists():
            return
        content = read_checkpoint(self._file, "--resume")
        if changed := differing({"was": content["identity"], "is": self.who}):
            raise InputError(f"Unfinished run {self.folder}: {changed}. Restore them, or start without --resume.")
        processes.first_only(remove_leftovers)(self.folder)
        self.state, self.advanced = content["state"], True

    @processes.first_only
    def save(self, state: dict | None) -> None:
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
    """Yields the unfinished run; with --resume it has the state of a stopped process.

    Its folder is removed if the run diverges, or finds wrong input before it saved anything. With --resume, raises
    InputError if settings or input files changed, and Finished if the run has ended and its `outputs` exist.
    """
    who = identity(dataclasses.asdict(cfg), inputs(cfg), processes.count())
    unfinished = Unfinished(Layout(Path(cfg.out)).unfinished(script_name(), _course(cfg)), who)
    if cfg.resume:
        proof = record_paths(cfg)[-1]
        if recorded(proof) == who and all(path.is_file() for path in outputs):
            unfinished.remove()
            raise Finished(f"This run has finished, see {proof}. To run it again, start without --resume.")
        unfinished.go_on()
        start = "Resuming the unfinished run" if unfinished.advanced else "Starting from scratch: no unfinished run"
        processes.say(f"{start} in {cfg.out}.")
    processes.wait()  # barrier: every rank reads the state before rank 0 overwrites it
    if not unfinished.advanced and processes.is_first():
        for path in record_paths(cfg):
            path.unlink(missing_ok=True)  # they describe an earlier run
        unfinished.remove()
        unfinished.folder.mkdir(parents=True)
        unfinished.save(None)
    try:
        yield unfinished
    except (InputError, RunError) as error:
        if isinstance(error, RunError) or not unfinished.advanced:
            unfinished.remove()
        raise


def forget(cfg) -> None:
    Unfinished(Layout(Path(cfg.out)).unfinished(script_name(), _course(cfg)), {}).remove()


def recorded(path: Path) -> dict:
    """Returns the identity of the run of a record; {} if the record is missing or damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return identity(record["settings"], record["inputs"], record["processes"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
