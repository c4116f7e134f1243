"""Stopping and restarting: the state of an unfinished run, and the proof that a restart continues the same run.

A run keeps the folder `<out>/.unfinished_<script>/` from its first moment to its last: who it is, and how far it has come. All
randomness derives from (seed, epoch, image), so a run that goes on from there ends with the bytes of one that was never stopped.
"""

import dataclasses
import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from models.weights import read_checkpoint, save_checkpoint
from utils.base import processes
from utils.base.errors import Finished, InputError, RunError
from utils.base.files import file_digest, remove_leftovers
from utils.data.outputs import Layout, record_of
from utils.running.settings import chosen_dataset, script_name

# Settings that change how a run is computed but not what comes out.
FREE = {"resume", "workers", "ram_budget"}
# Settings that name input files; the files' contents are compared too, since a path may hold another file by now.
FILES = ("checkpoint", "pretrained", "ce_list", "train_list", "simclr_checkpoint")
# Saving may take this share of the time: the state of a network is 100 MB, and a short epoch must not wait for it.
SAVING_SHARE = 0.1
ZIPPED = {".npz", ".tar", ".pt"}


def record_paths(cfg) -> list[Path]:
    """Where the record of the finished run stands. They are written last, and the last of them is the proof that the run has ended.

    Courses of several selections share an output folder: each has a record of its own, beside the one of the script's last run.
    """
    layout, course = Layout(Path(cfg.out)), _course(cfg)
    return [layout.run_record(script_name())] + ([layout.run_record(script_name(), course)] if course else [])


def unfinished_folder(cfg) -> Path:
    """Where a run stands while it is unfinished."""
    return Layout(Path(cfg.out)).unfinished(script_name(), _course(cfg))


def _course(cfg) -> str:
    """The selection whose course a run makes; "" for any other run: to others, a selection only says which course's files they read."""
    return cfg.selection if hasattr(cfg, "selection") and hasattr(cfg, "ce_list") else ""


def inputs(cfg) -> dict[str, str]:
    """SHA-256 of a run's input files: the dataset's lists, the files that settings name, and the record of the explanation list, which
    says how the explanations were made (their file names do not)."""
    dataset = chosen_dataset(cfg)
    files = {
        f"{split} list": dataset.list_path(cfg.data_root, split)
        for split in ("train", "test", "rest")
        if getattr(dataset, split)
    }
    files |= {name: Path(getattr(cfg, name)) for name in FILES if hasattr(cfg, name)}
    if hasattr(cfg, "ce_list"):
        files["explanation record"] = record_of(cfg.ce_list)
    digests = {}
    for name, path in files.items():
        with suppress(
            OSError, ValueError
        ):  # no such file: a setting may also say `none`, and who reads a list complains of it
            digests[name] = file_digest(path, "sha256")
    return digests


def identity(settings: dict, contents: dict[str, str], num_processes: int) -> dict:
    """What must be equal for a run to be the same run, in plain values: settings, contents of input files, number of processes."""
    same = {name: value for name, value in settings.items() if name not in FREE}
    if "device" in same:
        same["device"] = same["device"].partition(":")[
            0
        ]  # not its number: every process has a GPU of its own, and one saves for all
    same |= {f"content of {name}": digest[:16] for name, digest in contents.items()}
    same["processes"] = num_processes  # batch norm sees one process's part of a batch
    return json.loads(json.dumps(same))  # tuples become lists, as in a record that was read


class Unfinished:
    """A run that has begun and not ended, in a folder of its own: its state, and what else it gathers before it can write it.

    Args:
        folder: the folder.
        who: the run's identity.

    Attributes:
        state: what was saved by the process that stopped; None where that had saved nothing, and in a run that begins.
        advanced: whether there is anything to go on from.
    """

    def __init__(self, folder: Path, who: dict) -> None:
        self.folder = folder
        self.who = who
        self.state: dict | None = None
        self.advanced = False
        self._file = folder / "state.pt"
        self._next = 0.0  # when saving is due, on the clock of time.monotonic

    def begin(self) -> None:
        """Begins anew: nothing that an earlier run left remains."""
        self.remove()
        self.folder.mkdir(parents=True)
        self.save(None)

    def go_on(self) -> bool:
        """Takes up what an earlier process left; returns whether it left anything.

        Raises:
            InputError: it had other settings or inputs.
        """
        if not self._file.exists():
            return False
        content = read_checkpoint(self._file, "--resume")
        theirs = content["identity"]
        other = [name for name in sorted(self.who.keys() | theirs.keys()) if self.who.get(name) != theirs.get(name)]
        if other:
            differences = ", ".join(f"{name} (was {theirs.get(name)}, is {self.who.get(name)})" for name in other)
            raise InputError(
                f"--resume: the unfinished run {self.folder} had other settings: {differences}; restore them, or start without --resume."
            )
        processes.first_only(remove_leftovers)(self.folder)
        self.state, self.advanced = content["state"], True
        return True

    @processes.first_only
    def save(self, state: dict | None) -> None:
        """Replaces the state, whole or not at all.

        Args:
            state: tensors and plain values.
        """
        save_checkpoint(self._file, {"identity": self.who, "state": state})
        self.advanced = state is not None

    @processes.first_only
    def remove(self) -> None:
        """Removes the folder; the state first, without which the rest is not believed."""
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @processes.first_only
    def save_when_due(self, make_state: Callable[[], dict]) -> None:
        """Saves unless the last time is so near that saving would take more than SAVING_SHARE of the run.

        What is lost by a kill is then at most ten times as long as a save takes, or the one epoch or lesson that was going on.
        """
        started = time.monotonic()
        if started >= self._next:
            self.save(make_state())
            now = time.monotonic()
            self._next = now + (now - started) * (1 / SAVING_SHARE - 1)


@contextmanager
def resumable(cfg, outputs: Iterable[Path]) -> Iterator[Unfinished]:
    """The unfinished run that the settings describe, for the time of its work.

    With --resume it is what an earlier process left. A run that diverges, or finds wrong input before it has come anywhere, leaves nothing.

    Args:
        cfg: the resolved settings.
        outputs: the run's main files; read only where the run may be finished already.

    Raises:
        InputError: --resume, and the unfinished run had other settings or inputs.
        Finished: --resume, and the same run has ended and its files are whole.
    """
    unfinished = Unfinished(unfinished_folder(cfg), identity(dataclasses.asdict(cfg), inputs(cfg), processes.count()))
    if cfg.resume:
        _check_finished(cfg, unfinished, outputs)
    going_on = cfg.resume and unfinished.go_on()
    if cfg.resume:
        processes.say(
            f"Going on with the unfinished run in {cfg.out}."
            if going_on
            else f"Nothing to resume in {cfg.out}: starting anew."
        )
    processes.wait()  # nobody writes before all have read
    if not going_on:
        _begin(cfg, unfinished)
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
def _begin(cfg, unfinished: Unfinished) -> None:
    for path in record_paths(cfg):
        path.unlink(missing_ok=True)  # from here on the files below `out` are no longer those of an earlier run
    unfinished.begin()


@processes.first_only
def forget(cfg) -> None:
    """Removes what a run kept while it was unfinished: it has ended."""
    Unfinished(unfinished_folder(cfg), {}).remove()


def _check_finished(cfg, unfinished: Unfinished, outputs: Iterable[Path]) -> None:
    proof = record_paths(cfg)[-1]
    try:
        record = json.loads(proof.read_text(encoding="utf-8"))
        theirs = identity(record["settings"], record["inputs"], record["processes"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if theirs == unfinished.who and _all_whole(outputs):
        unfinished.remove()
        raise Finished(f"This run is finished already, see {proof}; to run it again, start without --resume.")


def _all_whole(outputs: Iterable[Path]) -> bool:
    """Whether all outputs are there whole. One that names others may turn out to be damaged (InputError) while these are looked for."""
    try:
        return all(map(whole, outputs))
    except InputError:
        return False


def whole(path: Path) -> bool:
    """Whether an output is there and, as far as its format tells, not cut short."""
    if not path.is_file():
        return False
    if path.suffix in ZIPPED:
        return zipfile.is_zipfile(path)
    content = path.read_bytes()
    if path.suffix == ".npy":
        return _readable(partial(np.load, io.BytesIO(content)))
    return content.endswith(b"\n") and (path.suffix != ".json" or _readable(partial(json.loads, content)))


def _readable(read: Callable[[], object]) -> bool:
    """Whether something can be read."""
    with suppress(ValueError, EOFError, OSError):
        read()
        return True
    return False
