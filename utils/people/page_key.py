"""The key of a course page: which file each picture is. It is stored next to the page, never in it."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import write_json
from utils.data.outputs import Layout

PHASES = ("lesson", "test", "label")
KEY_PHASES = (*PHASES, "gold")  # gold: images of known class that the page shows among those to label
ID_DIGITS = 16  # of picture ids and of the build id

# A script, not JSON: a page opened by double click may load scripts, but not fetch files. It begins with the build id.
DATA, DATA_BEGINS = "data.js", 'window.COURSE = {"build_id": "'


@dataclass(frozen=True, slots=True)
class KeyImage:
    phase: str  # the part of the course that asks about it, one of `KEY_PHASES`
    path: str  # the file, as lists name it
    label: int | None  # its class; None if unknown
    index: int  # its index in its list

    @property
    def part(self) -> str:
        """The phase that the page sees: one of `PHASES`."""
        return "label" if self.phase == "gold" else self.phase


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
    condition: str = ""  # of a page that `join_keys` joined with others: its output folder
    joined: tuple["Key", ...] = ()  # keys that `join_keys` joined

    @property
    def pages(self) -> tuple["Key", ...]:
        """The keys of the study's pages, one for each condition."""
        return self.joined or (self,)

    def asked(self) -> dict[tuple[str, str], str]:
        """The ids of the images that pages of a study share, by phase and path."""
        return {(image.phase, image.path): name for name, image in self.images.items() if image.part == "label"}

    def of_phase(self, phase: str) -> dict[str, KeyImage]:
        """The images of a phase by id, in the order of their lists."""
        chosen = [(image_id, image) for image_id, image in self.images.items() if image.phase == phase]
        return dict(sorted(chosen, key=lambda item: (item[1].index, item[1].path)))


def write_key(layout: Layout, key: dict) -> None:
    """Writes the key of a page. The key of an earlier build is renamed, since answers to that build need it."""
    current = layout.course_page_key()
    with contextlib.suppress(InputError):
        earlier = _read_key(current).build_id
        if earlier != key["build_id"]:
            os.replace(current, layout.course_page_key(earlier))
    write_json(current, key)


def read_key(path: str | Path, dataset: str, classes: Sequence[str]) -> Key:
    """Reads the key of a course page. Raises InputError if it is missing, damaged or of another dataset."""
    key = _read_key(Path(path))
    if (key.dataset, key.classes) != (dataset, tuple(classes)):
        raise InputError(f"{path} belongs to --dataset {key.dataset} and its classes, not to {dataset}. Check --key.")
    return key


def read_keys(paths: Sequence[str], dataset: str, classes: Sequence[str]) -> Key:
    """Reads the keys of a study's pages as one. A single file may be missing, as logs of explain_teach need no key."""
    if len(paths) == 1 and not Path(paths[0]).exists():
        return Key(paths[0], "", dataset, tuple(classes), {})
    return join_keys([read_key(path, dataset, classes) for path in paths])


def join_keys(keys: Sequence[Key]) -> Key:
    """Returns the key of a study with several pages, whose people label the same images.

    These have their names on the page with the lowest build id; selection and variant are those of the first key.
    """
    if len(keys) == 1:
        return keys[0]
    pages = [replace(key, condition=Path(key.path).parent.as_posix()) for key in keys]
    lowest, *others = sorted(pages, key=lambda page: page.build_id)
    alike = {(key.dataset, key.classes, frozenset(key.asked())) for key in keys}
    if len(alike) > 1 or len({key.build_id for key in keys}) < len(keys):
        problem = f"{', '.join(key.path for key in keys)} must be different pages with the same images to label"
        raise InputError(f"{problem}. Build them with the same lists, numbers of images and --seed (teach.py).")
    further = {name: image for page in others for name, image in page.images.items() if image.part != "label"}
    return replace(keys[0], images=lowest.images | further, joined=tuple(pages))


def read_page_key(layout: Layout) -> Key:
    """Reads the key of the course page in an output folder.

    Raises InputError if the page or its key is missing or damaged, or they belong to different builds.
    """
    key = _read_key(layout.course_page_key())
    data = layout.course_page / DATA
    if not data.exists() or not data.read_text(encoding="utf-8").startswith(f'{DATA_BEGINS}{key.build_id}"'):
        page = layout.course_page
        raise InputError(f"{page} is missing or is not the build of {key.path}. Build the page again (teach.py).")
    return key


def _read_key(path: Path) -> Key:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {name: KeyImage(**entry) for name, entry in content["images"].items()}
        course = content.get("selection", ""), content.get("simclr", False)
        return Key(str(path), content["build_id"], content["dataset"], tuple(content["classes"]), images, *course)
    except FileNotFoundError:
        raise InputError(f"{path} not found. Build the course page (teach.py), or check --out and --key.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not the key of a course page ({error!r}). Build it again (teach.py).") from None
