"""The course page as it was built: the files that may be served, and what the key beside them tells the server."""

from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.data.outputs import Layout
from utils.people.page_key import IMAGE_ID, read_built_key, read_object

STATIC_FILES = {"index.html": "text/html", "course.js": "text/javascript", "style.css": "text/css"}  # the same for every course
# The course itself. A script, not JSON: a page that was opened by double click may load scripts, but not fetch files.
DATA, DATA_BEGINS = "data.js", "window.COURSE ="
PAGE_FILES = STATIC_FILES | {DATA: "text/javascript"}


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
    layout = Layout(Path(out))
    folder, key = layout.course_page, read_built_key(layout.course_page_key())
    files = _files(folder)
    course = read_object(folder / DATA, DATA_BEGINS)
    if "build_id" not in course:
        raise InputError(f"{folder / DATA} is damaged (around 'build_id'); build the course page anew.")
    build_id = str(course["build_id"])
    if build_id != key.build_id:
        raise InputError(f"{folder} is build {build_id}, but {key.path} belongs to build {key.build_id}; build the course page anew.")
    phases = {name: image.phase for name, image in key.images.items()}
    # All of them: a key with a lesson image of no class has been refused.
    lesson_labels = {name: image.label for name, image in key.images.items() if image.phase == "lesson" and image.label is not None}
    return BuiltPage(key.build_id, key.dataset, len(key.classes), phases, lesson_labels, files)


def _files(folder: Path) -> dict[str, Path]:
    """The files of a built page by their names relative to it; nothing else in the folder, and no link out of it."""
    names = [*PAGE_FILES, *(f"images/{path.name}" for path in folder.glob("images/*.png") if IMAGE_ID.fullmatch(path.stem))]
    files = {name: folder / name for name in names if (folder / name).is_file() and not (folder / name).is_symlink()}
    missing = [name for name in PAGE_FILES if name not in files]
    if missing:
        raise InputError(f"{folder / missing[0]} does not exist; build the course page first (teach_butterflies.py), or correct --out.")
    return files
