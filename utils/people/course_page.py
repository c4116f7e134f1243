"""The page on which people take a course, as it is built: static files that open by double click, their pictures under opaque names."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.base.errors import InputError
from utils.base.files import replacing_folder, write_text
from utils.base.machine import side_by_side
from utils.data.catalog import Dataset
from utils.data.lists import UNKNOWN, Example, read_examples
from utils.data.outputs import Layout
from utils.people.built_page import DATA, DATA_BEGINS, ENDINGS, STATIC_FILES
from utils.people.course_pictures import Encoded, Explained, ListedPictures, explained_picture
from utils.people.page_key import ID_DIGITS, KeyImage
from utils.teaching.course import plain_partners

STATIC = Path(__file__).parent / "page"  # what is the same for every course


@dataclass(frozen=True)
class PageSettings:
    """Settings of a course page.

    Attributes:
        data_root: what `./datasets/` in lists stands for.
        image_size: longer side of the pictures in pixels, at most.
        test_images: pictures of the test part.
        label_images: pictures of the labelling part; 0 takes all, or none where the dataset has no rest list.
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
        endings: of the pictures' files, by id, once they are written.
        images: what people are asked about, by id.
        explanations: what lessons show after the answer, as the course names it, by id: explanations, and plain pictures where nothing
            is explained.
    """

    def __init__(self, seed: int, course: bytes) -> None:
        self._secret = hashlib.sha256(f"{seed}\n".encode() + course).digest()
        self.views: dict[str, Callable[[], Encoded]] = {}
        self.endings: dict[str, str] = {}
        self.images: dict[str, KeyImage] = {}
        self.explanations: dict[str, str] = {}

    def add(self, place: str, view: Callable[[], Encoded]) -> str:
        """Names the picture at `place`, some words that no other picture has; returns its id."""
        name = hmac.new(self._secret, place.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]
        self.views[name] = view
        return name

    def add_asked(self, phase: str, place: str, row: Example, view: Callable[[], Encoded]) -> str:
        """Adds a picture that people are asked about in `phase`."""
        name = self.add(f"{phase} {place}", view)
        label = None if row.label == UNKNOWN else row.label
        self.images[name] = KeyImage(phase, row.path, label, row.index)
        return name

    def add_explained(self, place: str, files: Explained, longest: int) -> str:
        """Adds a picture that a lesson shows after the answer, its longer side being at most `longest`."""
        name = self.add(f"explanation {place}", partial(explained_picture, files, longest))
        self.explanations[name] = files.listed
        return name

    def add_plain(self, listed: str, view: Callable[[], Encoded]) -> str:
        """Adds a picture that lessons show after the answer without an explanation: one, however many answers show it."""
        name = self.add(f"plain {listed}", view)
        self.explanations[name] = listed
        return name

    def of(self, phase: str) -> list[str]:
        """The ids of a phase, sorted, so that their order tells nothing either."""
        return sorted(name for name, image in self.images.items() if image.phase == phase)


def compose_page(
    dataset: Dataset, source: Path, lessons: Sequence[dict], pictures: OpaquePictures, how: PageSettings
) -> dict:
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
        InputError: a list or a picture is missing or does not fit, there is no list to label and yet pictures of it are asked for, or an
            image would be in two parts of the page.
    """
    if how.label_images and not dataset.rest:
        told = f"--label-images {how.label_images}: --dataset {dataset.name} has no rest list, so that there is nothing to label"
        raise InputError(f"{told}; leave the setting out, or choose a dataset that has one.")
    train = _open(dataset, "train", how)
    shown, borders = _add_lessons(pictures, lessons, train, source, how)
    test = _open(dataset, "test", how)
    _add_asked(pictures, "test", test, draw_test(test, len(dataset.classes), how.test_images, how.seed))
    if dataset.rest:
        rest = _open(dataset, "rest", how)
        _add_asked(pictures, "label", rest, draw_some(len(rest.rows), how.label_images, how.seed))
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


def _open(dataset: Dataset, split: str, how: PageSettings) -> ListedPictures:
    """The images of a list as the page shows them, none of them held in memory."""
    path = dataset.list_path(how.data_root, split)
    rows = read_examples(path, len(dataset.classes), rest=split != "train")
    return ListedPictures(rows, path, how.data_root, how.image_size)


def draw_balanced(images: ListedPictures, num_classes: int, wanted: int, seed: int) -> list[int]:
    """Draws rows of a list, the same number of each class; what does not divide evenly goes to random classes, one each.

    Raises:
        InputError: a class has too few images.
    """
    rng = np.random.default_rng([seed, 0])
    favoured = rng.permutation(num_classes)[: wanted % num_classes]
    chosen: list[int] = []
    members_of: list[list[int]] = [[] for _ in range(num_classes)]
    for number, row in enumerate(images.rows):
        members_of[row.label].append(number)
    for label, members in enumerate(members_of):
        share = wanted // num_classes + int(label in favoured)
        if share > len(members):
            raise InputError(
                f"--test-images {wanted}: {images.source} has {len(members)} images of class {label}, not {share}; ask for fewer."
            )
        chosen += rng.choice(members, share, replace=False).tolist() if share else []
    return chosen


def draw_test(images: ListedPictures, num_classes: int, wanted: int, seed: int) -> list[int]:
    """Draws rows of a test list as `draw_balanced` does; where a class is unknown, whatever the classes are.

    Raises:
        InputError: there are too few images.
    """
    if all(row.label != UNKNOWN for row in images.rows):
        return draw_balanced(images, num_classes, wanted, seed)
    total = len(images.rows)
    if wanted > total:
        raise InputError(f"--test-images {wanted}: {images.source} has {total} images; ask for fewer.")
    return np.random.default_rng([seed, 0]).permutation(total)[:wanted].tolist()


def draw_some(total: int, wanted: int, seed: int) -> list[int]:
    """Draws `wanted` of `total` rows; all of them where `wanted` is 0.

    Raises:
        InputError: there are fewer.
    """
    if wanted > total:
        raise InputError(
            f"--label-images {wanted}: there are {total} images to label; ask for fewer, or for 0, which takes all."
        )
    return np.random.default_rng([seed, 1]).permutation(total)[: wanted or total].tolist()


def _add_asked(pictures: OpaquePictures, phase: str, images: ListedPictures, numbers: Sequence[int]) -> None:
    """Adds rows of the test list or of the rest list."""
    line_of: dict[str, int] = {}
    for number in numbers:
        row = images.rows[number]
        if row.path in line_of:
            raise InputError(
                f"{images.source}, line {number + 1}: repeats line {line_of[row.path] + 1}; list each image once."
            )
        line_of[row.path] = number
        pictures.add_asked(phase, row.path, row, partial(images.__getitem__, number))


def _add_lessons(
    pictures: OpaquePictures, entries: Sequence[dict], train: ListedPictures, source: Path, how: PageSettings
) -> tuple[list[dict], bool]:
    """Adds what the lessons show.

    Returns:
        The lessons for the page, and whether every pair carries red borders. A lesson's `partners` are the plain pictures beside which
        wrong answers that nothing explains show the lesson's own; where there are none, there is no such key.
    """
    number_of = {row.path: number for number, row in enumerate(train.rows)}
    lessons, borders = [], True
    for place, entry in enumerate(entries):
        where = f"{source}, lesson {place + 1}"
        for path in (entry["image"], *_compared(entry)):
            if path not in number_of:
                raise InputError(
                    f"{where}: {train.source} does not list {path}; make the course anew, or correct --data-root."
                )
        pairs = {}
        for wrong, pair in sorted(entry["explanations"].items()):
            own = Explained.find(entry["image"], pair["image"], pair["human"], how.data_root, where)
            partner = Explained.find(
                pair["partner"], pair["partner_explanation"], pair["partner_human"], how.data_root, where
            )
            borders = borders and own.bordered and partner.bordered
            pairs[wrong] = {
                "image": pictures.add_explained(f"{place} {wrong} image", own, how.image_size),
                "partner": pictures.add_explained(f"{place} {wrong} partner", partner, how.image_size),
            }
        plain = sorted(plain_partners(entry).items())
        partners = {
            wrong: pictures.add_plain(path, partial(train.__getitem__, number_of[path])) for wrong, path in plain
        }
        asked = number_of[entry["image"]]
        image = pictures.add_asked("lesson", str(place), train.rows[asked], partial(train.__getitem__, asked))
        lesson = {"image": image, "label": entry["label"], "answer": entry["answer"], "pairs": pairs}
        lessons.append(lesson | ({"partners": partners} if partners else {}))
    return lessons, borders


def _compared(entry: dict) -> list[str]:
    """The images that a lesson shows beside its own, as the course names them."""
    return [*(pair["partner"] for pair in entry["explanations"].values()), *plain_partners(entry).values()]


def _refuse_overlap(pictures: OpaquePictures, entries: Sequence[dict]) -> None:
    """Proves that no image is asked about that another part shows.

    Raises:
        InputError: naming the image.
    """
    part_of = {path: "lesson" for entry in entries for path in _compared(entry)}
    for image in pictures.images.values():
        other = part_of.setdefault(image.path, image.phase)
        if other != image.phase:
            raise InputError(
                f"{image.path} would be in two parts of the page, {other} and {image.phase}; take it off one of the lists."
            )


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
    print(
        f"Course page: {layout.course_page / 'index.html'} (open it in a browser); its key: {layout.course_page_key()}"
    )
    if not page["label"]:
        print("There is no list to label: the page ends with the test.")
    if told := told_by_endings(pictures, page["classes"]):
        print(told)
    parts = {"lessons": len(page["lessons"]), "test_images": len(page["test"]), "label_images": len(page["label"])}
    return {"build_id": build_id, **parts, "pictures": len(pictures.views)}


def told_by_endings(pictures: OpaquePictures, classes: Sequence[str]) -> str:
    """A sentence where the format of a file would tell classes of the test and labelling parts apart; "" where it does not."""
    endings_of: dict[int, set[str]] = {}
    for name, image in pictures.images.items():
        if image.phase != "lesson" and image.label is not None:
            endings_of.setdefault(image.label, set()).add(pictures.endings[name])
    alone = [
        next((label for label, found in sorted(endings_of.items()) if found == {ending}), None)
        for ending in ("png", "jpg")
    ]
    if None in alone:
        return ""
    one, other = (classes[label] for label in alone if label is not None)
    return (
        f"All pictures of {one} are PNG files and all of {other} JPEG files, which whoever looks into the page "
        "can see; save the images of all classes in one format, and build the page again."
    )


def _write_files(folder: Path, page: dict, pictures: OpaquePictures, workers: int) -> str:
    """Writes all files, each once and without reading it again; returns the build id. The page learns which file each picture is."""
    (folder / "images").mkdir(parents=True)
    digest = hashlib.sha256()
    for static in STATIC_FILES:
        content = (STATIC / static).read_bytes()
        (folder / static).write_bytes(content)
        digest.update(hashlib.sha256(content).digest())
    names = sorted(
        pictures.views
    )  # written in this order: the times of the files shall not tell the order of a list either
    written = side_by_side(
        lambda name: _write_picture(folder / "images" / name, pictures.views[name]()), names, workers
    )
    for name, (ending, content) in zip(
        names, tqdm(written, total=len(names), desc="pictures", unit="picture"), strict=True
    ):
        pictures.endings[name] = ending
        digest.update(content)
    page["endings"] = _endings(pictures.endings)
    digest.update(json.dumps(page).encode())
    build_id = digest.hexdigest()[:ID_DIGITS]
    write_text(folder / DATA, f"{DATA_BEGINS} {json.dumps({'build_id': build_id, **page})};\n")
    return build_id


def _write_picture(path: Path, picture: Encoded) -> tuple[str, bytes]:
    """Writes a picture's file; returns its ending and the digest of its bytes. `path` has no ending yet."""
    path.with_name(f"{path.name}.{picture.ending}").write_bytes(picture.content)
    return picture.ending, hashlib.sha256(picture.content).digest()


def _endings(ending_of: dict[str, str]) -> dict:
    """Which file each picture is, in few words: the ending that most have, the other one, and the ids of those that have that."""
    counts = Counter(ending_of.values())
    usual, other = sorted(ENDINGS, key=lambda ending: -counts[ending])
    return {"usual": usual, "other": other, "others": [name for name, ending in ending_of.items() if ending == other]}
