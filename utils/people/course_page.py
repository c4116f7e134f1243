"""The page on which people take a course: static files that open by double click, their pictures under opaque names."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from tqdm import tqdm

from utils.base.errors import InputError
from utils.base.files import replacing_folder, write_text
from utils.base.machine import side_by_side
from utils.data.catalog import Dataset
from utils.data.lists import UNKNOWN, read_examples
from utils.data.outputs import Layout
from utils.people.course_pictures import Encoded, ExplainedPicture, ListedPictures
from utils.people.page_key import DATA, DATA_BEGINS, ID_DIGITS, KeyImage
from utils.teaching.course import plain_partners, read_course
from utils.teaching.registry import Selection

STATIC = Path(__file__).parent / "page"
STATIC_FILES = ("index.html", "course.js", "style.css")  # the same for every course


@dataclass(frozen=True)
class PageSettings:
    """Settings of a course page."""

    data_root: str  # what `./datasets/` in lists stands for
    image_size: int  # longer side of the pictures in pixels, at most
    test_images: int  # pictures of the test
    label_images: int  # pictures to label; 0 takes all
    seed: int  # draws and names the pictures


def find_course(dataset: Dataset, out: str, selection: str, simclr: bool) -> tuple[Layout, str]:
    """Finds the course to teach: its variant's file names and its selection. "auto" takes the only course in `out`.

    Raises:
        InputError: with "auto", there is no course, or there are several.
    """
    if selection != "auto":
        return Layout(Path(out), dataset.list_stem, "simclr" if simclr else ""), selection
    variants = ["simclr"] if simclr else ["", "simclr"]
    found = [
        (layout, name)
        for layout in (Layout(Path(out), dataset.list_stem, variant) for variant in variants)
        for name in get_args(Selection)
        if layout.course(name).exists()
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"No course found in {out}. Make one with train_butterflies_CMaxGrad.py, or check --out.")
    choices = ", ".join(f"--selection {name}" + " --simclr" * (layout.variant == "simclr") for layout, name in found)
    raise InputError(f"{out} contains {len(found)} courses. Choose one: {choices}.")


class CoursePage:
    """A course page: its pictures under opaque names, and the values that the page's script reads.

    Lessons include their labels, which feedback needs. The test and the images to label do not.

    Args:
        dataset: the course's dataset.
        source: the course file; its content and the seed are the secret key of the picture names.
        how: settings.

    Attributes:
        images: the pictures that people are asked about, by id.
        explanations: the pictures that lessons show after the answer, as the course names them, by id.
        endings: the endings of the picture files, by id, once they are written.
        data: the values for the script.

    Raises:
        InputError: a list or a picture is missing or wrong, or an image would be in two parts of the page.
    """

    def __init__(self, dataset: Dataset, source: Path, how: PageSettings) -> None:
        self.dataset, self.how, self._source = dataset, how, source
        lessons = read_course(source, dataset)["lessons"]
        self._secret = hashlib.sha256(f"{how.seed}\n".encode() + source.read_bytes()).digest()
        self._views: dict[str, Callable[[], Encoded]] = {}
        self.images: dict[str, KeyImage] = {}
        self.explanations: dict[str, str] = {}
        self.endings: dict[str, str] = {}
        if how.label_images and not dataset.rest:
            raise InputError(
                f"--label-images {how.label_images}: --dataset {dataset.name} has no rest list to label. Leave it out."
            )
        shown, borders = self._add_lessons(lessons)
        test = self._open("test")
        self._add_asked("test", test, draw_test(test, len(dataset.classes), how.test_images, how.seed))
        if dataset.rest:
            rest = self._open("rest")
            self._add_asked("label", rest, draw_some(len(rest.rows), how.label_images, how.seed))
        self._refuse_overlap(lessons)
        self.data = {
            "dataset": dataset.name,
            "things": dataset.things,
            "classes": dataset.display_names,
            "borders": borders,
            "lessons": shown,
            "test": self._ids_of("test"),
            "label": self._ids_of("label"),
        }

    def _open(self, split: str) -> ListedPictures:
        path = self.dataset.list_path(self.how.data_root, split)
        rows = read_examples(path, len(self.dataset.classes), rest=split != "train")
        return ListedPictures(rows, path, self.how.data_root, self.how.image_size)

    def _ids_of(self, phase: str) -> list[str]:
        """Returns the ids of a phase, sorted, so that their order reveals nothing."""
        return sorted(name for name, image in self.images.items() if image.phase == phase)

    def _add(self, place: str, view: Callable[[], Encoded]) -> str:
        """Adds a picture and returns its id, a keyed hash of `place`, which is unique to the picture."""
        name = hmac.new(self._secret, place.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]
        self._views[name] = view
        return name

    def _add_question(self, phase: str, place: str, pictures: ListedPictures, number: int) -> str:
        """Adds a picture that people are asked about in `phase`."""
        row = pictures.rows[number]
        name = self._add(f"{phase} {place}", partial(pictures.__getitem__, number))
        self.images[name] = KeyImage(phase, row.path, None if row.label == UNKNOWN else row.label, row.index)
        return name

    def _add_asked(self, phase: str, pictures: ListedPictures, numbers: Sequence[int]) -> None:
        """Adds rows of the test list or the rest list."""
        line_of: dict[str, int] = {}
        for number in numbers:
            path = pictures.rows[number].path
            if path in line_of:
                raise InputError(
                    f"{pictures.source}, line {number + 1} repeats line {line_of[path]}. List each image once."
                )
            line_of[path] = number + 1
            self._add_question(phase, path, pictures, number)

    def _add_explained(self, place: str, image: str, listed: str, human: str | None, where: str) -> tuple[str, bool]:
        """Adds a picture with its explanation. Returns its id, and True if it has a red border."""
        picture = ExplainedPicture.find(image, listed, human, self.how.data_root, where)
        name = self._add(f"explanation {place}", partial(picture.encoded, self.how.image_size))
        self.explanations[name] = listed
        return name, picture.bordered

    def _add_plain(self, path: str, view: Callable[[], Encoded]) -> str:
        """Adds a picture without an explanation; all answers that show it share one file."""
        name = self._add(f"plain {path}", view)
        self.explanations[name] = path
        return name

    def _add_lessons(self, entries: Sequence[dict]) -> tuple[list[dict], bool]:
        """Adds the pictures of the lessons.

        Returns:
            The lessons for the page, and True if every pair has red borders. A lesson's `partners` are the plain
            pictures shown after wrong answers without an explanation; without such answers there is no such key.
        """
        train = self._open("train")
        number_of = {row.path: number for number, row in enumerate(train.rows)}
        lessons, bordered = [], [True]
        for place, entry in enumerate(entries):
            where = f"{self._source}, lesson {place + 1}"
            for path in (entry["image"], *_compared(entry)):
                if path not in number_of:
                    raise InputError(f"{where}: {train.source} does not list {path}. Check --data-root.")
            pairs = {}
            for wrong, pair in sorted(entry["explanations"].items()):
                sides = {
                    "image": (entry["image"], pair["image"], pair["human"]),
                    "partner": (pair["partner"], pair["partner_explanation"], pair["partner_human"]),
                }
                added = {side: self._add_explained(f"{place} {wrong} {side}", *sides[side], where) for side in sides}
                pairs[wrong] = {side: name for side, (name, _) in added.items()}
                bordered += [border for _, border in added.values()]
            partners = {
                wrong: self._add_plain(path, partial(train.__getitem__, number_of[path]))
                for wrong, path in sorted(plain_partners(entry).items())
            }
            image = self._add_question("lesson", str(place), train, number_of[entry["image"]])
            lesson = {"image": image, "label": entry["label"], "answer": entry["answer"], "pairs": pairs}
            lessons.append(lesson | ({"partners": partners} if partners else {}))
        return lessons, all(bordered)

    def _refuse_overlap(self, entries: Sequence[dict]) -> None:
        """Checks that no image of one part of the page is in another."""
        part_of = {path: "lesson" for entry in entries for path in _compared(entry)}
        for image in self.images.values():
            other = part_of.setdefault(image.path, image.phase)
            if other != image.phase:
                raise InputError(
                    f"{image.path} would be in two parts of the page, {other} and {image.phase}. "
                    "Remove it from one of the lists."
                )

    def write(self, layout: Layout, workers: int) -> str:
        """Writes the page and swaps its folder in once it is complete; returns the build id, a digest of the page."""
        with replacing_folder(layout.out, layout.course_page.name, force=True) as staging:
            return self._write_files(staging / layout.course_page.name, workers)

    def _write_files(self, folder: Path, workers: int) -> str:
        (folder / "images").mkdir(parents=True)
        digest = hashlib.sha256()
        for static in STATIC_FILES:
            content = (STATIC / static).read_bytes()
            (folder / static).write_bytes(content)
            digest.update(hashlib.sha256(content).digest())

        def write_picture(name: str) -> tuple[str, bytes]:
            picture = self._views[name]()
            (folder / "images" / f"{name}.{picture.ending}").write_bytes(picture.content)
            return picture.ending, hashlib.sha256(picture.content).digest()

        names = sorted(self._views)  # modification times then do not reveal the order of a list
        progress = tqdm(side_by_side(write_picture, names, workers), total=len(names), desc="pictures", unit="picture")
        for name, (ending, content) in zip(names, progress, strict=True):
            self.endings[name] = ending
            digest.update(content)
        self.data["endings"] = _endings(self.endings)
        digest.update(json.dumps(self.data).encode())
        build_id = digest.hexdigest()[:ID_DIGITS]
        rest = json.dumps(self.data).removeprefix("{")
        write_text(folder / DATA, f'{DATA_BEGINS}{build_id}", {rest};\n')
        return build_id

    def report(self, layout: Layout, build_id: str) -> dict:
        """Prints where the page and its key are; returns the numbers of pictures."""
        print(
            f"Course page: {layout.course_page / 'index.html'} (open it in a browser); key: {layout.course_page_key()}"
        )
        if not self.data["label"]:
            print("There is no list to label: the page ends with the test.")
        if revealed := revealing_formats(self.images, self.endings, self.data["classes"]):
            print(revealed)
        parts = {"lessons": "lessons", "test_images": "test", "label_images": "label"}
        counts = {name: len(self.data[part]) for name, part in parts.items()}
        return {"build_id": build_id, **counts, "pictures": len(self.endings)}


def draw_test(pictures: ListedPictures, num_classes: int, wanted: int, seed: int) -> list[int]:
    """Draws rows of a test list, balanced over classes; the remainder goes to random classes, one each.

    If the class of any row is unknown, rows are drawn from the whole list.

    Raises:
        InputError: the list, or a class, has too few images.
    """
    rng = np.random.default_rng([seed, 0])
    total = len(pictures.rows)
    if any(row.label == UNKNOWN for row in pictures.rows):
        if wanted > total:
            raise InputError(f"--test-images {wanted}: {pictures.source} has only {total} images. Ask for fewer.")
        return rng.permutation(total)[:wanted].tolist()
    favored = rng.permutation(num_classes)[: wanted % num_classes]
    members_of: list[list[int]] = [[] for _ in range(num_classes)]
    for number, row in enumerate(pictures.rows):
        members_of[row.label].append(number)
    chosen: list[int] = []
    for label, members in enumerate(members_of):
        share = wanted // num_classes + int(label in favored)
        if share > len(members):
            raise InputError(
                f"--test-images {wanted}: {pictures.source} has {len(members)} images of class {label}, not {share}. "
                "Ask for fewer."
            )
        chosen += rng.choice(members, share, replace=False).tolist() if share else []
    return chosen


def draw_some(total: int, wanted: int, seed: int) -> list[int]:
    """Draws `wanted` of `total` rows to label; 0 takes all.

    Raises:
        InputError: there are fewer.
    """
    if wanted > total:
        raise InputError(f"--label-images {wanted}: there are only {total} images to label. Ask for fewer, or 0 (all).")
    return np.random.default_rng([seed, 1]).permutation(total)[: wanted or total].tolist()


def _compared(entry: dict) -> list[str]:
    """Returns the images that a lesson compares with its own, as the course names them."""
    return [*(pair["partner"] for pair in entry["explanations"].values()), *plain_partners(entry).values()]


def _endings(ending_of: dict[str, str]) -> dict:
    """Returns the more frequent file ending, the other one, and the ids of the pictures with the other one."""
    counts = Counter(ending_of.values())
    usual, other = sorted(("png", "jpg"), key=lambda ending: -counts[ending])
    return {"usual": usual, "other": other, "others": [name for name, ending in ending_of.items() if ending == other]}


def revealing_formats(images: dict[str, KeyImage], ending_of: dict[str, str], classes: Sequence[str]) -> str:
    """Returns a warning if the file formats reveal classes of the test or of the images to label, else ""."""
    endings_of: dict[int, set[str]] = {}
    for name, image in images.items():
        if image.phase != "lesson" and image.label is not None:
            endings_of.setdefault(image.label, set()).add(ending_of[name])
    only = {
        ending: [classes[label] for label, found in sorted(endings_of.items()) if found == {ending}]
        for ending in ("png", "jpg")
    }
    if not (only["png"] and only["jpg"]):
        return ""
    return (
        f"All pictures of {only['png'][0]} are PNG files and all of {only['jpg'][0]} JPEG files, which reveals "
        "classes. Save the images of all classes in one format and build the page again."
    )
