"""The page on which people take a course, as it is built: static files that open by double click, their pictures under opaque names."""

import hashlib
import hmac
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from utils.base.errors import InputError
from utils.base.files import replacing_folder, write_text
from utils.base.machine import side_by_side
from utils.base.png import write_png
from utils.data.catalog import Dataset
from utils.data.lists import UNKNOWN, Example, read_examples
from utils.data.loading import ImageSet
from utils.data.outputs import Layout
from utils.people.built_page import DATA, DATA_BEGINS, STATIC_FILES
from utils.people.course_pictures import Explained, explained_view, fitted_view
from utils.people.page_key import ID_DIGITS, KeyImage

STATIC = Path(__file__).parent / "page"  # what is the same for every course


@dataclass(frozen=True)
class PageSettings:
    """Settings of a course page.

    Attributes:
        data_root: what `./datasets/` in lists stands for.
        image_size: longer side of the pictures in pixels, at most.
        test_images: pictures of the test part.
        label_images: pictures of the labelling part; 0 takes all.
        seed: draws these pictures.
    """

    data_root: str
    image_size: int
    test_images: int
    label_images: int
    seed: int


class OpaquePictures:
    """The pictures of a page under names that tell nothing to those who do not have the course.

    Args:
        seed: the seed of the build.
        course: the content of the course file; with the seed, it is the secret behind the names.

    Attributes:
        views: what makes each picture, by its id.
        images: what people are asked about, by id.
        explanations: what lessons show after the answer, as the course names it, by id.
    """

    def __init__(self, seed: int, course: bytes) -> None:
        self._secret = hashlib.sha256(f"{seed}\n".encode() + course).digest()
        self.views: dict[str, Callable[[], Tensor]] = {}
        self.images: dict[str, KeyImage] = {}
        self.explanations: dict[str, str] = {}

    def add(self, place: str, view: Callable[[], Tensor]) -> str:
        """Names the picture at `place`, some words that no other picture has; returns its id."""
        name = hmac.new(self._secret, place.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]
        self.views[name] = view
        return name

    def add_asked(self, phase: str, place: str, row: Example, view: Callable[[], Tensor]) -> str:
        """Adds a picture that people are asked about in `phase`."""
        name = self.add(f"{phase} {place}", view)
        label = None if row.label == UNKNOWN else row.label
        self.images[name] = KeyImage(phase, row.path, label, row.index)
        return name

    def add_explained(self, place: str, files: Explained, longest: int) -> str:
        """Adds a picture that a lesson shows after the answer, its longer side being at most `longest`."""
        name = self.add(f"explanation {place}", partial(explained_view, files, longest))
        self.explanations[name] = files.listed
        return name

    def of(self, phase: str) -> list[str]:
        """The ids of a phase, sorted, so that their order tells nothing either."""
        return sorted(name for name, image in self.images.items() if image.phase == phase)


def compose_page(dataset: Dataset, source: Path, lessons: Sequence[dict], pictures: OpaquePictures, how: PageSettings) -> dict:
    """What the page holds: every picture under a name that tells nothing; lessons keep their labels, since feedback needs them; test
    and labelling keep none.

    Args:
        dataset: of which the course is.
        source: the course file, for error messages.
        lessons: the lessons of the course, as `read_course` reads them.
        pictures: takes in the pictures.
        how: settings.

    Returns:
        The values that the page's script reads.

    Raises:
        InputError: a list or a picture is missing or does not fit, or an image would be in two parts of the page.
    """
    train = _open(dataset, "train", how)
    shown, borders = _add_lessons(pictures, lessons, train, source, how)
    test = _open(dataset, "test", how)
    _add_asked(pictures, "test", test, draw_test(test, len(dataset.classes), how.test_images, how.seed))
    if dataset.rest:
        rest = _open(dataset, "rest", how)
        _add_asked(pictures, "label", rest, draw_some(len(rest), how.label_images, how.seed))
    _refuse_overlap(pictures, lessons)
    return {
        "dataset": dataset.name,
        "things": dataset.things,
        "classes": dataset.display_names,
        "borders": borders,
        "lessons": shown,
        "test": pictures.of("test"),
        "label": pictures.of("label"),
    }


def _open(dataset: Dataset, split: str, how: PageSettings) -> ImageSet:
    """The images of a list as the page shows them, none of them held in memory."""
    path = dataset.list_path(how.data_root, split)
    rows = read_examples(path, len(dataset.classes), rest=split != "train")
    return ImageSet(rows, path, how.data_root, partial(fitted_view, longest=how.image_size), budget=0)


def draw_balanced(images: ImageSet, num_classes: int, wanted: int, seed: int) -> list[int]:
    """Draws rows of a list, the same number of each class; what does not divide evenly goes to random classes, one each.

    Raises:
        InputError: a class has too few images.
    """
    rng = np.random.default_rng([seed, 0])
    favoured = rng.permutation(num_classes)[: wanted % num_classes]
    chosen: list[int] = []
    for label in range(num_classes):
        members = [number for number, row in enumerate(images.rows) if row.label == label]
        share = wanted // num_classes + int(label in favoured)
        if share > len(members):
            raise InputError(
                f"--test-images {wanted}: {images.source} has {len(members)} images of class {label}, not {share}; ask for fewer."
            )
        chosen += rng.choice(members, share, replace=False).tolist() if share else []
    return chosen


def draw_test(images: ImageSet, num_classes: int, wanted: int, seed: int) -> list[int]:
    """Draws rows of a test list as `draw_balanced` does; where a class is unknown, whatever the classes are.

    Raises:
        InputError: there are too few images.
    """
    if images.num_known == len(images):
        return draw_balanced(images, num_classes, wanted, seed)
    if wanted > len(images):
        raise InputError(f"--test-images {wanted}: {images.source} has {len(images)} images; ask for fewer.")
    return np.random.default_rng([seed, 0]).permutation(len(images))[:wanted].tolist()


def draw_some(total: int, wanted: int, seed: int) -> list[int]:
    """Draws `wanted` of `total` rows; all of them where `wanted` is 0.

    Raises:
        InputError: there are fewer.
    """
    if wanted > total:
        raise InputError(f"--label-images {wanted}: there are {total} images to label; ask for fewer, or for 0, which takes all.")
    return np.random.default_rng([seed, 1]).permutation(total)[: wanted or total].tolist()


def _add_asked(pictures: OpaquePictures, phase: str, images: ImageSet, numbers: Sequence[int]) -> None:
    """Adds rows of the test list or of the rest list."""
    line_of: dict[str, int] = {}
    for number in numbers:
        row = images.rows[number]
        if row.path in line_of:
            raise InputError(f"{images.source}, line {number + 1}: repeats line {line_of[row.path] + 1}; list each image once.")
        line_of[row.path] = number
        pictures.add_asked(phase, row.path, row, partial(images.__getitem__, number))


def _add_lessons(
    pictures: OpaquePictures, entries: Sequence[dict], train: ImageSet, source: Path, how: PageSettings
) -> tuple[list[dict], bool]:
    """Adds what the lessons show.

    Returns:
        The lessons for the page, and whether every pair carries red borders.
    """
    number_of = {row.path: number for number, row in enumerate(train.rows)}
    lessons, borders = [], True
    for place, entry in enumerate(entries):
        where = f"{source}, lesson {place + 1}"
        for path in (entry["image"], *(pair["partner"] for pair in entry["explanations"].values())):
            if path not in number_of:
                raise InputError(f"{where}: {train.source} does not list {path}; make the course anew, or correct --data-root.")
        pairs = {}
        for wrong, pair in sorted(entry["explanations"].items()):
            own = Explained.find(entry["image"], pair["image"], pair["human"], how.data_root, where)
            partner = Explained.find(pair["partner"], pair["partner_explanation"], pair["partner_human"], how.data_root, where)
            borders = borders and own.bordered and partner.bordered
            pairs[wrong] = {
                "image": pictures.add_explained(f"{place} {wrong} image", own, how.image_size),
                "partner": pictures.add_explained(f"{place} {wrong} partner", partner, how.image_size),
            }
        asked = number_of[entry["image"]]
        image = pictures.add_asked("lesson", str(place), train.rows[asked], partial(train.__getitem__, asked))
        lessons.append({"image": image, "label": entry["label"], "answer": entry["answer"], "pairs": pairs})
    return lessons, borders


def _refuse_overlap(pictures: OpaquePictures, entries: Sequence[dict]) -> None:
    """Proves that no image is asked about that another part shows.

    Raises:
        InputError: naming the image.
    """
    part_of = {pair["partner"]: "lesson" for entry in entries for pair in entry["explanations"].values()}
    for image in pictures.images.values():
        other = part_of.setdefault(image.path, image.phase)
        if other != image.phase:
            raise InputError(f"{image.path} would be in two parts of the page, {other} and {image.phase}; take it off one of the lists.")


def write_page(layout: Layout, page: dict, pictures: OpaquePictures, workers: int) -> str:
    """Writes the page; its folder is swapped in once it is complete.

    Args:
        layout: names of the files.
        page: what the page holds, as `compose_page` gives it.
        pictures: its pictures.
        workers: threads that encode.

    Returns:
        The build id, a digest of all that the page is.
    """
    with replacing_folder(layout.out, layout.course_page.name, force=True) as staging:
        return _write_files(staging / layout.course_page.name, page, pictures, workers)


def report_page(layout: Layout, page: dict, pictures: OpaquePictures, build_id: str) -> dict:
    """Says where the page and its key are; returns what was built, in numbers."""
    print(f"Course page: {layout.course_page / 'index.html'} (open it in a browser); its key: {layout.course_page_key()}")
    parts = {"lessons": len(page["lessons"]), "test_images": len(page["test"]), "label_images": len(page["label"])}
    return {"build_id": build_id, **parts, "pictures": len(pictures.views)}


def _write_files(folder: Path, page: dict, pictures: OpaquePictures, workers: int) -> str:
    images = folder / "images"
    images.mkdir(parents=True)
    names = sorted(pictures.views)  # written in this order: the times of the files shall not tell the order of a list either
    written = side_by_side(lambda name: write_png(images / f"{name}.png", pictures.views[name]()), names, workers)
    for _ in tqdm(written, total=len(names), desc="pictures", unit="picture"):
        pass
    for name in STATIC_FILES:
        shutil.copyfile(STATIC / name, folder / name)
    digest = hashlib.sha256(json.dumps(page).encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    build_id = digest.hexdigest()[:ID_DIGITS]
    write_text(folder / DATA, f"{DATA_BEGINS} {json.dumps({'build_id': build_id, **page})};\n")
    return build_id
