"""The key of a course page: which file each picture of the page is. It lies beside the page, never in it."""

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
BUILD_ID = re.compile("[0-9a-f]+")  # what may stand in a file's name


@dataclass(frozen=True, slots=True)
class KeyImage:
    """What an opaque image id of the course page stands for.

    Attributes:
        phase: the part of the course that asks about it, one of `PHASES`.
        path: the file, as lists name it.
        label: its class; None where unknown.
        index: its index in its list.
    """

    phase: str
    path: str
    label: int | None
    index: int


@dataclass(frozen=True)
class Key:
    """The key of a course page, `course_page_key.json`.

    Attributes:
        path: the file.
        build_id: the page's build; answers carry the same.
        dataset: the dataset's name.
        classes: its classes in label order.
        images: image ids and what they stand for.
        selection: how the lessons of the page's course were picked; "" where the key does not tell, as earlier versions wrote it.
        simclr: whether that course is the SimCLR variant's.
    """

    path: str
    build_id: str
    dataset: str
    classes: tuple[str, ...]
    images: dict[str, KeyImage]
    selection: str = ""
    simclr: bool = False

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
    """Writes the key of a page. That of an earlier build stays under its build id: answers that were given to it need it.

    Args:
        layout: names of the files; its variant is that of the page's course.
        dataset: what the page is of.
        selection: how the lessons of its course were picked.
        build_id: the page's build.
        images: what people are asked about, by id.
        explanations: what lessons show after the answer: explanations, and images where nothing is explained, as the course names them,
            by id. Nothing reads them back.
    """
    current = layout.course_page_key()
    try:
        earlier = str(json.loads(current.read_text(encoding="utf-8"))["build_id"])
    except (OSError, ValueError, KeyError, TypeError):
        earlier = ""
    if BUILD_ID.fullmatch(earlier) and earlier != build_id:
        os.replace(current, layout.course_page_key(earlier))
    entries = {"images": {name: asdict(image) for name, image in images.items()}, "explanations": dict(explanations)}
    course = {"selection": selection, "simclr": layout.variant == "simclr"}
    write_json(
        current, {"build_id": build_id, "dataset": dataset.name, "classes": list(dataset.classes)} | course | entries
    )


def read_key(path: str | Path, dataset: str, classes: Sequence[str]) -> Key:
    """Reads the key of a course page, to tell what its answers are about.

    Args:
        path: the file.
        dataset: name of the dataset that the page must be of.
        classes: its classes.

    Raises:
        InputError: the file is missing, malformed, or belongs to another dataset.
    """
    content = read_object(Path(path))
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("images"), dict)
        or not isinstance(content.get("build_id"), str)
    ):
        raise InputError(
            f"{path} is not the key of a course page (an object with build_id and images); build the page anew."
        )
    if content.get("dataset") != dataset or content.get("classes") != list(classes):
        raise InputError(
            f"{path} belongs to --dataset {content.get('dataset')} and its classes, not to {dataset}; give the right --key."
        )
    for image_id, entry in content["images"].items():
        if not _is_image(entry, len(classes)):
            raise InputError(
                f"{path}: the entry of image {image_id} needs phase, path, label and index; build the page anew."
            )
    return _key_of(path, content)


def read_key_if_there(path: str | Path, dataset: str, classes: Sequence[str]) -> Key:
    """As `read_key`; where there is no such file, a key of nothing. Logs of explain_teach need none; what needs one names the place."""
    return read_key(path, dataset, classes) if Path(path).exists() else Key(str(path), "", dataset, tuple(classes), {})


def read_built_key(path: Path) -> Key:
    """Reads the key of a page that is to be served, whatever its dataset is.

    Raises:
        InputError: the page was not built, or its key is damaged.
    """
    content = read_object(path)
    try:
        key = _key_of(path, content)
        if any(image.phase == "lesson" and image.label is None for image in key.images.values()):
            raise KeyError("label")  # without it nobody can be told whether an answer is right
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged (around {error}); build the course page anew.") from None
    wrong = [name for name, image in key.images.items() if not IMAGE_ID.fullmatch(name) or image.phase not in PHASES]
    if wrong:
        raise InputError(f"{path}: the image '{wrong[0]}' has no proper id or phase; build the course page anew.")
    return key


def read_object(path: Path, before: str = "") -> dict:
    """The JSON object in a file of a built page that begins with `before` and may end with a semicolon.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8").strip().removeprefix(before).removesuffix(";")
        value = json.loads(text)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; build the course page first (teach_butterflies.py), or correct --out."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); build the course page anew.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; build the course page anew.")
    return value


def _key_of(path: str | Path, content: dict) -> Key:
    """The key that JSON holds; a KeyError, TypeError or AttributeError tells what it lacks."""
    images = {
        name: KeyImage(entry["phase"], entry["path"], entry.get("label"), entry["index"])
        for name, entry in content["images"].items()
    }
    course = str(content.get("selection", "")), content.get("simclr") is True
    return Key(str(path), str(content["build_id"]), str(content["dataset"]), tuple(content["classes"]), images, *course)


def _is_image(entry: object, num_classes: int) -> bool:
    """Whether a JSON value is an image's entry."""
    if not isinstance(entry, dict):
        return False
    label = entry.get("label")
    whole = isinstance(entry.get("path"), str) and is_count(entry.get("index")) and entry.get("phase") in PHASES
    return whole and (label is None or (is_count(label) and label < num_classes))


def is_count(value: object) -> TypeGuard[int]:
    """Whether a JSON value is a whole number of 0 or more; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
