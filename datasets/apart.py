"""Whether images, the dataset that is made of them and what the scripts write about it stay apart, each in a folder of its own."""

import json
import os
from pathlib import Path

from datasets.names import LONGEST_DATASET
from utils.base.errors import InputError
from utils.data.catalog import AFTER_LABELING, DATASETS, DESCRIPTION, REST
from utils.data.lists import safe_name
from utils.data.outputs import RECORD, run_records

# The repository, whose scripts write into a folder of the dataset's name beside them, and folders in it that are none of a dataset.
REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = {"bench", "benchmarks", "datasets", "docs", "models", "results", "tests", "utils"}


def refuse_name(name: str) -> None:
    """Proves that a dataset, its folder and its output folder may be called `name`.

    Raises:
        InputError: it may not.
    """
    reason = ""
    if safe_name(name, LONGEST_DATASET) != name:
        reason = f"must be letters, digits, _, . and -, at most {LONGEST_DATASET} bytes, the first a letter or digit"
    elif name in {"NAbirdsgull", *DATASETS} | {
        folder for dataset in DATASETS.values() for folder in (dataset.folder, dataset.out)
    }:
        reason = "is the name of a dataset that the scripts know already, or of one of its folders"
    elif name in FOLDERS or any((folder / name).is_file() for folder in (REPOSITORY, REPOSITORY / "datasets")):
        reason = "is a file or folder of this repository, and the scripts would write there"
    elif name.endswith((AFTER_LABELING, REST)):
        reason = f"must not end with {AFTER_LABELING} or {REST}, which stand for parts of datasets"
    if reason:
        raise InputError(f"--name '{name}' {reason}; choose another one.")


def refuse_foreign(target: Path) -> None:
    """Proves that a folder that would be replaced is a dataset.

    Raises:
        InputError: it is something else, which --force is not meant for.
    """
    if os.path.lexists(target) and not (target / DESCRIPTION).exists():
        raise InputError(f"{target} exists and is no dataset, for it has no {DESCRIPTION}; choose another --name.")


def refuse_overlap(top: Path, target: Path) -> None:
    """Proves that neither the images lie in what is replaced, nor the dataset among the images.

    Raises:
        InputError: one lies in the other.
    """
    place = target.resolve()
    if top == place or place in top.parents or top in place.parents:
        raise InputError(
            f"The images in {top} and the dataset {place} would lie one in the other; choose another --data-root or --name."
        )


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
