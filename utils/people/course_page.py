"""The page on which people take a course: static files that open by double click, their pictures under opaque names."""

import hashlib
import hmac
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from tqdm import tqdm

from utils.base import processes
from utils.base.errors import InputError, first_of
from utils.base.files import replacing_folder, write_text
from utils.base.machine import side_by_side
from utils.data.catalog import Dataset
from utils.data.lists import UNKNOWN, Example, check_files, check_unchanged, locate, read_examples
from utils.data.outputs import Layout
from utils.explanations.faithfulness import trusted
from utils.people.course_pictures import explained_picture, marked_file, whole_picture
from utils.people.page_key import DATA, DATA_BEGINS, ID_DIGITS, PHASES, KeyImage, write_key
from utils.people.page_texts import read_consent, read_language
from utils.teaching.registry import Selection

STATIC = Path(__file__).parent / "page"
STATIC_FILES = ("index.html", "course.js", "style.css")  # the same for every course


def find_course(dataset: Dataset, out: str, selection: str, simclr: bool) -> tuple[Layout, str]:
    """Finds the course to teach: its variant's file names and its selection. "auto" takes the only course in `out`."""
    variants = ("simclr",) if simclr else ("", "simclr")
    layouts = [Layout(Path(out), dataset.list_stem, variant) for variant in variants]
    if selection != "auto":
        return layouts[0], selection
    found = [(layout, name) for layout in layouts for name in get_args(Selection) if layout.course(name).exists()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"No course found in {out}. Make one with train_butterflies_CMaxGrad.py, or check --out.")
    choices = ", ".join(f"--selection {name}" + " --simclr" * (layout.variant == "simclr") for layout, name in found)
    raise InputError(f"{out} contains {len(found)} courses. Choose one: {choices}.")


class CoursePage:
    """A course page: its pictures under opaque names, and the values that the page's script reads.

    Lessons include their labels, which feedback needs. The test and the images to label do not. The course file
    `source` and the seed are the secret key of the picture names. `cfg` are the settings of teach.py.

    Attributes:
        images: the pictures that people are asked about, by id.
        explanations: the pictures that lessons show after the answer, as the course names them, by id.
        data: the values for the script.

    Raises InputError if a list or a picture is missing or wrong, a picture has changed since the course was made, or an
    image would be in two parts of the page.
    """

    def __init__(self, dataset: Dataset, source: Path, course: dict, cfg) -> None:
        self.dataset, self._source, self.cfg = dataset, source, cfg
        check_unchanged(course.get("pictures", {}), cfg.data_root, f"{source} was made. Make the course again")
        text = read_language(cfg.language)
        consent = read_consent(cfg.consent) if cfg.consent else None
        self._secret = hashlib.sha256(f"{cfg.seed}\n".encode() + source.read_bytes()).digest()
        self._pictures: dict[str, Callable[[], tuple[str, bytes]]] = {}
        self._outlined, self._threshold = trusted(course["ce_list"], cfg.outlined_share)
        self._all_bordered = True  # every outlined picture has a red border
        self.images: dict[str, KeyImage] = {}
        self.explanations: dict[str, str] = {}
        lessons = self._add_lessons(course["lessons"])
        self._add_asked("test", "test", lambda rows: draw_test(rows, dataset.display_names, cfg.test_images, cfg.seed))
        if dataset.rest:
            self._add_asked("label", "rest", lambda rows: draw_some(len(rows), cfg.label_images, cfg.seed))
            further = partial(self._draw_further, option="--gold-images", wanted=cfg.gold_images)
            self._add_asked("gold", "test", further)
        self._compared = {path for entry in course["lessons"] for path in _compared(entry)}
        self._refuse_overlap()
        self.data: dict = {
            "dataset": dataset.name,
            "things": text["things"] if all(text["things"]) else dataset.things,
            "classes": dataset.display_names,
            "borders": self._all_bordered,
            "lessons": lessons,
            "pass": None,
            "extra": [],
            # Sorted by id: the order reveals nothing.
            **{part: sorted(name for name in self.images if self.images[name].part == part) for part in PHASES[1:]},
            "text": text,
            "consent": consent,
            "links": {"completion": cfg.completion_url, "screen_out": cfg.screen_out_url},
        }

    def add_pass_mark(self, extra: Callable[[set[str]], list[dict]]) -> None:
        """Adds a second test and the lessons before it, for people below the pass mark in the first test.

        `extra` makes these lessons without some images. Raises InputError if the test list has too few known images.
        """
        lessons, images = self.data["lessons"], set(self.images)
        if any(self.images[name].label is None for name in self.data["test"]):
            raise InputError("--pass-mark needs the classes of all test images, but some are unknown.")
        option = "--pass-mark needs a second test: --test-images"
        self._add_asked("test", "test", partial(self._draw_further, option=option, wanted=self.cfg.test_images))
        tests = [*self.data["test"], *(second := sorted(set(self.images) - images))]
        shown = {image.path for image in self.images.values()} | self._compared
        self.data["extra"] = self._add_lessons(extra(shown), len(lessons))
        self.data["borders"] = self._all_bordered
        checks = {name: check_of(name, self.images[name].label) for name in tests}
        # The second test comes after half as many lessons as the course has.
        before = min(len(self.data["extra"]), math.ceil(len(lessons) / 2))
        self.data["pass"] = {"mark": self.cfg.pass_mark, "test": second, "shown": before, "checks": checks}

    def _draw_further(self, rows: list[Example], option: str, wanted: int) -> list[int]:
        """Draws rows of known class that the page does not ask about yet, like the test.

        Raises InputError if they are too few, or not as balanced as the test list allows.
        """
        asked = {image.path for image in self.images.values()}
        known = [number for number, row in enumerate(rows) if row.label != UNKNOWN]
        left = [number for number in known if rows[number].path not in asked]
        drawn = draw_test([rows[number] for number in left], self.dataset.display_names, wanted, self.cfg.seed)
        chosen = [left[place] for place in drawn]
        counts = Counter(rows[number].label for number in chosen)
        sizes = [counts[label] for label in {rows[number].label for number in known}]
        if len(chosen) < wanted or max(sizes, default=0) > min(sizes, default=0) + 1:
            raise InputError(f"{option} {wanted}: the test list has too few unused images. Ask for fewer.")
        return chosen

    def _read(self, split: str) -> tuple[list[Example], Path]:
        path = self.dataset.list_path(self.cfg.data_root, split)
        rows = read_examples(path, len(self.dataset.classes), rest=split != "train")
        check_files(rows, path, self.cfg.data_root)
        return rows, path

    def _add(self, place: str, make: Callable[..., tuple[str, bytes]], image: str, *arguments: str) -> str:
        """Adds a picture of `image` and returns its id, a keyed hash of `place`, which is unique to the picture."""
        name = hmac.new(self._secret, place.encode(), hashlib.sha256).hexdigest()[:ID_DIGITS]
        self._pictures[name] = partial(make, locate(image, self.cfg.data_root), *arguments, self.cfg.image_size)
        return name

    def _add_question(self, phase: str, place: str, row: Example, where: str) -> str:
        """Adds a picture that people are asked about in `phase`."""
        name = self._add(f"{phase} {place}", whole_picture, row.path, where)
        self.images[name] = KeyImage(phase, row.path, None if row.label == UNKNOWN else row.label, row.index)
        return name

    def _add_asked(self, phase: str, split: str, draw: Callable[[list[Example]], list[int]]) -> None:
        """Adds rows of the test list or the rest list."""
        rows, path = self._read(split)
        for number in draw(rows):
            self._add_question(phase, rows[number].path, rows[number], f"{path}, line {number + 1}")

    def _add_explained(self, place: str, image: str, machine: str, human: str | None, where: str) -> str:
        """Adds a picture with its explanation and returns its id."""
        kind, marked = marked_file(machine, human, self.cfg.data_root, where)
        self._all_bordered &= kind != "machine"
        name = self._add(f"explanation {place}", explained_picture, image, kind, marked, where)
        self.explanations[name] = machine
        return name

    def _add_lessons(self, entries: Sequence[dict], first: int = 0) -> list[dict]:
        """Adds the pictures of the lessons, numbered from `first`; returns the lessons for the page.

        A lesson's `pairs` are the outlined pictures shown after wrong answers. Its `partners` are the plain pictures to
        compare with; without such pictures there is no such key.
        """
        rows, path = self._read("train")
        row_of = {row.path: row for row in rows}
        lessons = []
        for place, entry in enumerate(entries, first):
            where = f"{self._source}, lesson {place + 1}"
            for compared in (entry["image"], *_compared(entry)):
                if compared not in row_of:
                    raise InputError(f"{where}: {path} does not list {compared}. Check --data-root.")
            pairs, partners, plain = dict[str, dict[str, str]](), {}, dict(entry.get("partners", {}))
            for wrong, pair in sorted(entry["explanations"].items()):
                sides = {
                    "image": (entry["image"], pair["image"], pair["human"]),
                    "partner": (pair["partner"], pair["partner_explanation"], pair["partner_human"]),
                }
                outlined = {
                    side: self._add_explained(f"{place} {wrong} {side}", image, machine, human, where)
                    for side, (image, machine, human) in sides.items()
                    if self.cfg.explanations and self._outlined.get(Path(machine).name, True)
                }
                pairs |= {wrong: outlined} if outlined else {}
                plain |= {} if "partner" in outlined else {wrong: pair["partner"]}
            for wrong, partner in sorted(plain.items()):
                # All answers that show it share one file.
                partners[wrong] = self._add(f"plain {partner}", whole_picture, partner, where)
                self.explanations[partners[wrong]] = partner
            image = self._add_question("lesson", str(place), row_of[entry["image"]], where)
            lesson = {"image": image, "label": entry["label"], "answer": entry["answer"], "pairs": pairs}
            lessons.append(lesson | ({"partners": partners} if partners else {}))
        return lessons

    def _refuse_overlap(self) -> None:
        part_of = dict.fromkeys(self._compared, "lesson")
        for image in self.images.values():
            other = part_of.setdefault(image.path, image.phase)
            if other != image.phase:
                raise InputError(
                    f"{image.path} would be in two parts of the page, {other} and {image.phase}. "
                    "Remove it from one of the lists."
                )

    @processes.first_only
    def write(self, layout: Layout, selection: str) -> dict:
        """Writes the page and its key and prints where they are; returns the numbers of pictures."""
        build_id = self._write_folder(layout)
        key = {
            "build_id": build_id,
            "dataset": self.dataset.name,
            "classes": list(self.dataset.classes),
            "selection": selection,
            "simclr": layout.variant == "simclr",
            "images": {name: asdict(image) for name, image in self.images.items()},
            "explanations": self.explanations,
        }
        write_key(layout, key)
        print(self._threshold if self.cfg.explanations else "No explanation is outlined.")
        print(f"Course page: {layout.course_page}/index.html (open it in a browser); key: {layout.course_page_key()}")
        if not self.data["label"]:
            print("There is no list to label: the page ends with the test.")
        if reveals_classes(self.images, set(self.data["jpg"])):
            print(
                "Some classes have only JPEG pictures and others only PNG, which reveals classes. "
                "Save the images of all classes in one format and build the page again."
            )
        parts = {"lessons": "lessons", "extra_lessons": "extra", "test_images": "test", "label_images": "label"}
        counts = {name: len(self.data[part]) for name, part in parts.items()}
        counts["gold_images"] = sum(image.phase == "gold" for image in self.images.values())
        counts["label_images"] -= counts["gold_images"]
        return {"build_id": build_id, **counts, "pictures": len(self._pictures)}

    def _write_folder(self, layout: Layout) -> str:
        """Writes the page and swaps its folder in once it is complete; returns the build id, a digest of the page."""
        digest = hashlib.sha256()
        with replacing_folder(layout.out, layout.course_page.name, force=True) as staging:
            folder = staging / layout.course_page.name
            (folder / "images").mkdir(parents=True)
            for static in STATIC_FILES:
                content = (STATIC / static).read_bytes()
                (folder / static).write_bytes(content)
                digest.update(hashlib.sha256(content).digest())

            def write_picture(name: str) -> tuple[str, bytes]:
                ending, content = self._pictures[name]()
                (folder / "images" / f"{name}.{ending}").write_bytes(content)
                return ending, hashlib.sha256(content).digest()

            names = sorted(self._pictures)  # modification times then do not reveal the order of a list
            written = side_by_side(write_picture, names, self.cfg.workers)
            endings = {}
            for name, (ending, content) in tqdm(
                zip(names, written, strict=True), "pictures", len(names), unit="picture"
            ):
                endings[name] = ending
                digest.update(content)
            self.data["jpg"] = [name for name in names if endings[name] == "jpg"]  # all others are PNG
            digest.update(json.dumps(self.data).encode())
            build_id = digest.hexdigest()[:ID_DIGITS]
            rest = json.dumps(self.data).removeprefix("{")
            write_text(folder / DATA, f'{DATA_BEGINS}{build_id}", {rest};\n')
        return build_id


def draw_test(rows: Sequence[Example], names: Sequence[str], wanted: int, seed: int) -> list[int]:
    """Draws rows of the test list, balanced over classes; the remainder goes to random classes, one each.

    With a warning, a class with too few images gives all it has, and other classes fill up. If the class of any row is
    unknown, rows are drawn from the whole list.
    """
    rng = np.random.default_rng([seed, 0])
    if wanted > len(rows):
        warnings.warn(f"The test list has only {len(rows)} images of {wanted} asked for. All are shown.", stacklevel=2)
    if any(row.label == UNKNOWN for row in rows):
        return rng.permutation(len(rows))[:wanted].tolist()
    members = [[number for number, row in enumerate(rows) if row.label == label] for label in range(len(names))]
    order = rng.permutation(len(names)).tolist()
    turns = sorted((turn, place) for place, label in enumerate(order) for turn in range(len(members[label])))
    shares = Counter(order[place] for _, place in turns[:wanted])
    least = min(wanted, max(1, wanted // len(names)))
    if few := [f"{len(own)} of {name}" for own, name in zip(members, names, strict=True) if len(own) < least]:
        problem = f"The test list has too few images to test all classes equally: {first_of(few, 10)}"
        warnings.warn(f"{problem}. Classes without images are left out of the page's test. Add some.", stacklevel=2)
    drawn = (rng.choice(members[label], shares[label], replace=False).tolist() for label in sorted(shares))
    return [number for numbers in drawn for number in numbers]


def check_of(name: str, label: int | None) -> int:
    """Returns the 32-bit FNV-1a hash of a test picture's id and class, by which the page checks answers.

    It keeps honest people from reading the class by accident, no more: a script can try all classes.
    """
    value = 0x811C9DC5
    for byte in f"{name} {label}".encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value


def draw_some(total: int, wanted: int, seed: int) -> list[int]:
    """Draws `wanted` of `total` rows to label; 0 takes all."""
    if wanted > total:
        raise InputError(f"--label-images {wanted}: there are only {total} images to label. Ask for fewer, or 0 (all).")
    return np.random.default_rng([seed, 1]).permutation(total)[: wanted or total].tolist()


def reveals_classes(images: dict[str, KeyImage], jpg: set[str]) -> bool:
    """True if one class of the test or of the images to label is always JPEG and another one never."""
    asked = [(name in jpg, image.label) for name, image in images.items() if image.phase != "lesson"]
    always, never = ({label for kind, label in asked if kind is is_jpg} for is_jpg in (True, False))
    return bool(always - never - {None}) and bool(never - always - {None})


def _compared(entry: dict) -> list[str]:
    """Returns the images that a lesson compares with its own, as the course names them."""
    return [*(pair["partner"] for pair in entry["explanations"].values()), *entry.get("partners", {}).values()]
