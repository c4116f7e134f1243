"""With what the parts work: settings, scripts that are run as a user would, and results that are computed once."""

import dataclasses
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from utils.base.errors import InputError, RunError
from utils.base.files import output_folder, write_json

TOP = Path(__file__).resolve().parents[2]
LAST_LINES = 4  # of a script's log, in the error
WHO = "made_by.json"  # in the work folder: the settings that it was begun with


@dataclass(frozen=True)
class Work:
    """Where and with what tables are made.

    Attributes:
        data_root: folder that holds the datasets' folders.
        pretrained: generic features, as every script takes them: imagenet, none, or the path of a state dict.
        folder: all that is made on the way; it lies below the output folder.
        seed: of everything that is drawn.
        device: where networks compute.
        workers: threads that decode and encode.
        threads: PyTorch's, of each process on a CPU: last digits depend on their number.
        quick: whether everything is to be as small as it can be, to see that it runs.
        teaching_images: the public logs' table from number to picture; auto: where the data root has it.
    """

    data_root: str
    pretrained: str
    folder: Path
    seed: int
    device: str
    workers: int
    threads: int
    quick: bool
    teaching_images: str = "auto"
    _ran: set[tuple[str, ...]] = field(default_factory=set, init=False, repr=False)

    def script(self, name: str, *flags: str) -> None:
        """Runs one of the scripts as a process of its own; where it was run before, it goes on or says that it has ended (--resume). What
        this work has run already is not run again.

        Args:
            name: of the script, without `.py`. Behind it come its settings, as on the command line; --data-root, --seed, --workers and
                --device are those of this work unless they say otherwise.

        Raises:
            RunError: it failed; with its last lines, and where its log is.
        """
        if (name, *flags) in self._ran:
            return
        words = [f"{name}.py", *map(str, flags), *self._common(name, flags)]
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"running {shlex.join([f'{name}.py', *map(str, flags)])}", flush=True)
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(words)}\n")
            file.flush()
            begin = file.tell()
            done = subprocess.run(
                [sys.executable, str(TOP / words[0]), *words[1:]],
                env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads)),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            said = re.split("[\r\n]+", log.read_bytes()[begin:].decode(errors="replace").strip())
            raise RunError(
                f"{name}.py failed (exit status {done.returncode}), see {log}; it said: {' / '.join(said[-LAST_LINES:])}"
            )
        self._ran.add((name, *flags))

    def _common(self, name: str, flags: tuple[str, ...]) -> list[str]:
        """The settings of this work that a script has and `flags` do not name."""
        has = {field.name for field in dataclasses.fields(importlib.import_module(name).Config)}
        ours = {"data_root": self.data_root, "seed": self.seed, "workers": self.workers, "device": self.device}
        words = [
            word
            for setting, value in ours.items()
            if setting in has and f"--{setting.replace('_', '-')}" not in flags
            for word in (f"--{setting.replace('_', '-')}", str(value))
        ]
        return words + (["--resume"] if "resume" in has else [])

    def kept(self, name: str, compute: Callable[[], object], of: Mapping[str, object]):
        """What `compute` gives, as JSON gives it back; computed once, and read by every later run with --resume.

        Args:
            name: of the file below `<folder>/kept/`, without `.json`; `/` makes folders.
            compute: gives JSON values.
            of: what it depends on besides the settings of this work, as JSON values: where that is another, it is computed anew.
        """
        if not self.keeps(name, of):
            path = self._path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"of": json.loads(json.dumps(of)), "value": compute()})
        return json.loads(self._path(name).read_text(encoding="utf-8"))["value"]

    def keeps(self, name: str, of: Mapping[str, object]) -> bool:
        """Whether `kept` has it already, of these settings."""
        path = self._path(name)
        return path.exists() and json.loads(path.read_text(encoding="utf-8"))["of"] == json.loads(json.dumps(of))

    def _path(self, name: str) -> Path:
        return self.folder / "kept" / f"{name}.json"


def begin(folder: Path, who: dict, resume: bool) -> None:
    """Makes the work folder: as it stands with `resume`, empty without.

    Args:
        folder: the work folder.
        who: what must be equal for the work to be the same, as JSON values.
        resume: whether to go on with what lies there.

    Raises:
        InputError: what lies there is not ours, or, with `resume`, was begun with other settings.
    """
    record = folder / WHO
    if record.exists():
        theirs = _read(record)
        other = [name for name in who if who[name] != theirs.get(name)]
        if resume and other:
            differences = ", ".join(f"{name} (was {theirs.get(name)}, is {who[name]})" for name in other)
            raise InputError(
                f"--resume: {folder} was begun with other settings: {differences}; restore them, or start without --resume."
            )
        if not resume:
            _clear(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that are not of this command; move them, or give another --out.")
    output_folder(folder)
    write_json(record, who)


def _read(record: Path) -> dict:
    """Who began a folder; nothing where the record is damaged."""
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")))
    except ValueError:
        return {}


def _clear(folder: Path) -> None:
    """Empties a work folder, its record last: until then it is known to be ours."""
    for path in folder.iterdir():
        if path.name == WHO:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
