"""The course page as it was built: the files that may be served, and the key that stays beside them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError

PHASES = ("lesson", "test", "label")
PAGE_FILES = {"index.html": "text/html", "course.js": "text/javascript", "style.css": "text/css", "data.js": "text/javascript"}
IMAGE_ID = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class BuiltPage:
    """What `teach_<dataset>.py` left in an output folder.

    Attributes:
        build_id: names this build; the page sends it with every trial.
        dataset: the dataset's name.
        num_classes: C; responses lie in 0 .. C-1.
        phases: the phase in which each image is shown, by the image's id.
        lesson_labels: the true class of each lesson image. Labels of the other images are not kept: nothing here needs them.
        files: the files that may be served, by the name under which the page asks for them.
    """

    build_id: str
    dataset: str
    num_classes: int
    phases: dict[str, str]
    lesson_labels: dict[str, int]
    files: dict[str, Path]


def read_built_page(out: str | Path) -> BuiltPage:
    """Reads the page and its key below the output folder `out`.

    Raises:
        InputError: the page or its key is missing or damaged, or they are of different builds.
    """
    folder, key_path = Path(out) / "course_page", Path(out) / "course_page_key.json"
    key = _json_of(key_path, "")
    files = _files(folder)
    try:
        phases = {name: image["phase"] for name, image in key["images"].items()}
        lesson_labels = {name: image["label"] for name, image in key["images"].items() if image["phase"] == "lesson"}
        page = BuiltPage(str(key["build_id"]), str(key["dataset"]), len(key["classes"]), phases, lesson_labels, files)
        build_id = str(_json_of(folder / "data.js", "window.COURSE =")["build_id"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{key_path} or {folder}/data.js is damaged (around {error}); build the course page anew.") from None
    if build_id != page.build_id:
        raise InputError(f"{folder} is build {build_id}, but {key_path} belongs to build {page.build_id}; build the course page anew.")
    wrong = [name for name, phase in phases.items() if not IMAGE_ID.fullmatch(name) or phase not in PHASES]
    if wrong:
        raise InputError(f"{key_path}: the image '{wrong[0]}' has no proper id or phase; build the course page anew.")
    return page


def _json_of(path: Path, before: str) -> dict:
    """The JSON object in a file that begins with `before` and may end with a semicolon."""
    try:
        text = path.read_text(encoding="utf-8").strip().removeprefix(before).removesuffix(";")
        value = json.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; build the course page first (teach_butterflies.py), or correct --out.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); build the course page anew.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; build the course page anew.")
    return value


def _files(folder: Path) -> dict[str, Path]:
    """The files of a built page by their names relative to it; nothing else in the folder, and no link out of it."""
    names = [*PAGE_FILES, *(f"images/{path.name}" for path in folder.glob("images/*.png") if IMAGE_ID.fullmatch(path.stem))]
    files = {name: folder / name for name in names if (folder / name).is_file() and not (folder / name).is_symlink()}
    missing = [name for name in PAGE_FILES if name not in files]
    if missing:
        raise InputError(f"{folder / missing[0]} does not exist; build the course page first (teach_butterflies.py), or correct --out.")
    return files
