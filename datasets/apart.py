"""Whether images, the dataset that is made of them and what the scripts write about it stay apart, each in a folder of its own."""

import json
import re
from pathlib import Path

from datasets.names import LONGEST_DATASET
from utils.base.errors import InputError
from utils.data.catalog import AFTER_LABELING, DATASETS, REST
from utils.data.outputs import RECORD, run_records

# Folders of the repository: the scripts write into a folder of the dataset's name beside them.
CODE = {"benchmarks", "datasets", "docs", "models", "tests", "utils"}


def refuse_name(name: str) -> None:
    """Proves that a dataset, its folder and its output folder may be called `name`.

    Raises:
        InputError: it may not.
    """
    reason = ""
    if not re.fullmatch(r"\w[\w.-]*", name) or len(name.encode()) > LONGEST_DATASET:
        reason = f"must be letters, digits, _, . and -, at most {LONGEST_DATASET} bytes, the first a letter or digit"
    elif name in DATASETS or name in {dataset.folder for dataset in DATASETS.values()} or name == "NAbirdsgull":
        reason = "is the name of a dataset that the scripts know already, or of its folder"
    elif name in CODE:
        reason = "is a folder of this repository, and the scripts would write into it"
    elif name.endswith((AFTER_LABELING, REST)):
        reason = f"must not end with {AFTER_LABELING} or {REST}, which stand for parts of datasets"
    if reason:
        raise InputError(f"--name '{name}' {reason}; choose another one.")


def refuse_overlap(top: Path, target: Path) -> None:
    """Proves that neither the images lie in what is replaced, nor the dataset among the images.

    Raises:
        InputError: one lies in the other.
    """
    place = target.resolve()
    if top == place or place in top.parents or top in place.parents:
        raise InputError(f"The images in {top} and the dataset {place} would lie one in the other; choose another --data-root or --name.")


def refuse_outputs(top: Path, name: str) -> None:
    """Proves that the images lie apart from what the scripts write: they would pour it among the images, and the next dataset of that
    folder would take it for images.

    Raises:
        InputError: the scripts' folder of a dataset of this name, run from here, holds the images or lies among them; or the images'
            folder is one that scripts wrote into.
    """
    out = Path(name).resolve()
    if out == top or out in top.parents or top in out.parents:
        raise InputError(
            f"--name {name}: run from here, the scripts would write into {out}, and the images lie in {top}; give another --name, or run "
            "from elsewhere."
        )
    if written := sorted(filter(_is_record, run_records(top, "*"))):
        raise InputError(
            f"{top} is a folder that scripts wrote into ({written[0].name} is a record of a run); give the "
            "folder that holds the images alone."
        )


def _is_record(path: Path) -> bool:
    """Whether a file is a script's record, by its content as by its name; other programs call files of theirs so too."""
    try:
        content = json.loads(path.read_bytes())
        return path.stem.startswith(f"{RECORD}{content['script']}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
