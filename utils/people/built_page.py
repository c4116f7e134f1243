"""The course page as it was built: the files that may be served, and what the key beside them tells the server."""

import os
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.data.outputs import Layout
from utils.people.page_key import IMAGE_ID, read_built_key, read_object

STATIC_FILES = {
    "index.html": "text/html",
    "course.js": "text/javascript",
    "style.css": "text/css",
}  # the same for every course
# The course itself. A script, not JSON: a page that was opened by double click may load scripts, but not fetch files.
DATA, DATA_BEGINS = "data.js", "window.COURSE ="
PAGE_FILES = STATIC_FILES | {DATA: "text/javascript"}
ENDINGS = {"png": "image/png", "jpg": "image/jpeg"}  # of the pictures' names, which are their ids
HEAD = 100  # bytes of data.js, which begins with its build


@dataclass(frozen=True)
class BuiltPage:
    """What `teach_<dataset>.py` left in an output folder.

    Attributes:
        build_id: names this build; the page sends it with every trial.
        dataset: the dataset's name.
        num_classes: C; responses lie in 0 .. C-1.
        phases: the phase in which each image is shown, by the image's id.
        lesson_labels: the true class of each lesson image. Labels of the other images are not kept: nothing here needs them.
        folder: the page's folder.
        files: names, relative to it, of the files that may be served, with their media types.
        head: how data.js begins.
    """

    build_id: str
    dataset: str
    num_classes: int
    phases: dict[str, str]
    lesson_labels: dict[str, int]
    folder: Path
    files: dict[str, str]
    head: bytes

    @property
    def still_there(self) -> bool:
        """Whether the folder holds this build still. Pictures keep their names in some builds, so that only data.js tells."""
        return _head(self.folder) == self.head


def read_built_page(out: str | Path) -> BuiltPage:
    """Reads the page and its key below the output folder `out`.

    Raises:
        InputError: the page or its key is missing or damaged, or they are of different builds.
    """
    layout = Layout(Path(out))
    folder, key = layout.course_page, read_built_key(layout.course_page_key())
    files = _files(folder)
    head = _head(folder)  # read first: where the page is built anew just now, the server notices it afterwards
    course = read_object(folder / DATA, DATA_BEGINS)
    if "build_id" not in course:
        raise InputError(f"{folder / DATA} is damaged (around 'build_id'); build the course page anew.")
    build_id = str(course["build_id"])
    if build_id != key.build_id:
        raise InputError(
            f"{folder} is build {build_id}, but {key.path} belongs to build {key.build_id}; build the course page anew."
        )
    phases = {name: image.phase for name, image in key.images.items()}
    # All of them: a key with a lesson image of no class has been refused.
    lesson_labels = {
        name: image.label for name, image in key.images.items() if image.phase == "lesson" and image.label is not None
    }
    return BuiltPage(key.build_id, key.dataset, len(key.classes), phases, lesson_labels, folder, files, head)


def _head(folder: Path) -> bytes:
    """How data.js begins; nothing where it cannot be read."""
    try:
        with (folder / DATA).open("rb") as data:
            return data.read(HEAD)
    except OSError:
        return b""


def _files(folder: Path) -> dict[str, str]:
    """The files of a built page, relative to it, with their media types; nothing else in the folder, and no link out of it."""
    files = {
        name: kind
        for name, kind in PAGE_FILES.items()
        if (folder / name).is_file() and not (folder / name).is_symlink()
    }
    missing = [name for name in PAGE_FILES if name not in files]
    if missing:
        raise InputError(
            f"{folder / missing[0]} does not exist; build the course page first (teach_butterflies.py), or correct --out."
        )
    if (folder / "images").is_dir():
        with os.scandir(folder / "images") as entries:  # does not ask the disk about each of them, as a Path would
            for entry in entries:
                name, _, ending = entry.name.partition(".")
                if ending in ENDINGS and IMAGE_ID.fullmatch(name) and entry.is_file(follow_symlinks=False):
                    files[f"images/{entry.name}"] = ENDINGS[ending]
    return files
