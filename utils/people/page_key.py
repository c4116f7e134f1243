"""The key of a course page, which maps picture ids to files, and the page as the server sees it.

The key is stored next to the page, never in it.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeGuard

from utils.base.errors import InputError
from utils.base.files import write_json
from utils.data.catalog import Dataset
from utils.data.outputs import Layout

PHASES = ("lesson", "test", "label")
ID_DIGITS = 16  # of picture ids and of the build id
IMAGE_ID = re.compile(f"[0-9a-f]{{{ID_DIGITS}}}")
BUILD_ID = re.compile("[0-9a-f]+")  # safe in a file name

# A script, not JSON: a page opened by double click may load scripts, but not fetch files. It begins with the build id.
DATA, DATA_BEGINS = "data.js", 'window.COURSE = {"build_id": "'
BUILD_AGAIN = "Build the course page again (teach.py)."


@dataclass(frozen=True, slots=True)
class KeyImage:
    """What the id of a picture stands for."""

    phase: str  # the part of the course that asks about it, one of `PHASES`
    path: str  # the file, as lists name it
    label: int | None  # its class; None if unknown
    index: int  # its index in its list


@dataclass(frozen=True)
class Key:
    """The key of a course page, `course_page_key.json`."""

    path: str
    build_id: str  # answers carry the same
    dataset: str
    classes: tuple[str, ...]  # in label order
    images: dict[str, KeyImage]  # by picture id
    selection: str = ""  # the course's selection; "" in keys of earlier versions
    simclr: bool = False  # True for a course of the SimCLR variant

    def of_phase(self, phase: str) -> dict[str, KeyImage]:
        """The images of a phase by id, in the order of their lists."""
        chosen = [(image_id, image) for image_id, image in self.images.items() if image.phase == phase]
        return dict(sorted(chosen, key=lambda item: (item[1].index, item[1].path)))


def write_key(
    layout: Layout,
    dataset: Dataset,
    selection: str,
    build_id: str,
    images: Mapping[str, KeyImage],
    explanations: Mapping[str, str],
) -> None:
    """Writes the key of a page. The key of an earlier build is renamed, since answers to that build need it.

    Args:
        layout: file names; its variant is that of the course.
        dataset: the page's dataset.
        selection: the course's selection.
        build_id: the page's build.
        images: the pictures that people are asked about, by id.
        explanations: the pictures that lessons show after the answer, by id, as the course names them.
    """
    current = layout.course_page_key()
    try:
        earlier = str(json.loads(current.read_text(encoding="utf-8"))["build_id"])
    except (OSError, ValueError, KeyError, TypeError):
        earlier = ""
    if BUILD_ID.fullmatch(earlier) and earlier != build_id:
        os.replace(current, layout.course_page_key(earlier))
    content = {
        "build_id": build_id,
        "dataset": dataset.name,
        "classes": list(dataset.classes),
        "selection": selection,
        "simclr": layout.variant == "simclr",
        "images": {name: asdict(image) for name, image in images.items()},
        "explanations": dict(explanations),
    }
    write_json(current, content)


def read_key(path: str | Path, dataset: str, classes: Sequence[str]) -> Key:
    """Reads the key of a course page of `dataset`.

    Raises:
        InputError: the file is missing or damaged, or belongs to another dataset.
    """
    key = _read_key(Path(path))
    if (key.dataset, key.classes) != (dataset, tuple(classes)):
        raise InputError(f"{path} belongs to --dataset {key.dataset} and its classes, not to {dataset}. Check --key.")
    return key


def read_key_if_there(path: str | Path, dataset: str, classes: Sequence[str]) -> Key:
    """Like `read_key`, but returns an empty key if the file is missing. Logs of explain_teach need no key."""
    return read_key(path, dataset, classes) if Path(path).exists() else Key(str(path), "", dataset, tuple(classes), {})


def _read_key(path: Path) -> Key:
    """Reads and checks a key of any dataset."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        classes = tuple(content["classes"])
        images = {name: _read_image(name, entry, len(classes)) for name, entry in content["images"].items()}
        course = str(content.get("selection", "")), content.get("simclr") is True
        return Key(str(path), str(content["build_id"]), str(content["dataset"]), classes, images, *course)
    except FileNotFoundError:
        raise InputError(
            f"{path} not found. Build the course page first (teach.py), or check --out and --key."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not the key of a course page ({error!r}). {BUILD_AGAIN}") from None


def _read_image(name: str, entry: dict, num_classes: int) -> KeyImage:
    """Reads the entry of a picture; raises a ValueError or KeyError if it is wrong."""
    image = KeyImage(entry["phase"], entry["path"], entry.get("label"), entry["index"])
    labelled = is_count(image.label) and image.label < num_classes
    valid = IMAGE_ID.fullmatch(name) and isinstance(image.path, str) and is_count(image.index)
    # The page says after a lesson if the answer is right, so lessons need a label.
    if not valid or image.phase not in PHASES or not (labelled or (image.label is None and image.phase != "lesson")):
        raise ValueError(f"image {name}")
    return image


def is_count(value: object) -> TypeGuard[int]:
    """True for a nonnegative integer in JSON; `true` is not one."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True)
class BuiltPage:
    """A course page as the server sees it: its key and its folder."""

    key: Key
    folder: Path

    @property
    def still_there(self) -> bool:
        """False after the page was built again. Only data.js shows it, because picture names may be the same."""
        return _build_in(self.folder) == self.key.build_id


def read_built_page(out: str | Path) -> BuiltPage:
    """Reads the page and its key in the output folder `out`.

    Raises:
        InputError: the page or its key is missing or damaged, or they belong to different builds.
    """
    layout = Layout(Path(out))
    page = BuiltPage(_read_key(layout.course_page_key()), layout.course_page)
    if not page.still_there:
        raise InputError(f"{page.folder} is missing or is not the build of {page.key.path}. {BUILD_AGAIN}")
    return page


def _build_in(folder: Path) -> str:
    """The build id at the start of data.js; "" if the file cannot be read."""
    try:
        with (folder / DATA).open(encoding="utf-8") as data:
            return data.read(100).removeprefix(DATA_BEGINS).partition('"')[0]
    except (OSError, UnicodeDecodeError):
        return ""
