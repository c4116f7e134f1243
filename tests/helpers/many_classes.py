"""A drawn dataset of any number of classes, and a course in which each image is explained against one class.

No network is used, only the functions that make courses.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.drawn_course import page_data
from tests.helpers.runs import call
from utils.base.files import write_json
from utils.data.catalog import Dataset, find
from utils.data.images import to_tensor
from utils.data.lists import Example, Explanation, locate, read_examples, write_examples, write_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import explanation_name
from utils.teaching.course import lesson_entry
from utils.teaching.pool import Pool
from utils.teaching.selector import Choice

SIDE = 64  # of the images in pixels
SPLITS = {"tr": 2, "te": 1, "rest_tr": 1}  # images a class

TWELVE = tuple(
    "Kleiner Fuchs|Großer Fuchs|Bläuling|Éclair|Öresund Blue|草|O'Hara's Owl|Ring-billed Gull|Øre|Admiral|Red Admiral"
    "|Type 10".split("|")
)


def draw_dataset(root: Path, name: str, names: tuple[str, ...]) -> Dataset:
    """Draws `<root>/<name>`: lists, dataset.json and random blots. Class `c<n>` is shown as `names[n]`."""
    folder, rng = root / name, np.random.default_rng(len(names))
    (folder / "images").mkdir(parents=True)
    classes = [f"c{number:03d}" for number in range(len(names))]
    for split, count in SPLITS.items():
        rows = []
        for place, label in enumerate(label for label in range(len(names)) for _ in range(count)):
            blots = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            blots.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"images/{split}_{place}.png")
            rows.append(Example(f"./datasets/{name}/images/{split}_{place}.png", label, place))
        write_examples(folder / f"{name}_{split}.txt", rows)
    lists = {"train": f"{name}_tr", "test": f"{name}_te", "rest": f"{name}_rest_tr"}
    described = {"name": name, "classes": classes, "display_names": dict(zip(classes, names, strict=True))}
    described["things"] = ["bird", "birds"]
    write_json(folder / "dataset.json", described | lists)
    return find(name, root)


def explain_against_one(folder: Path, rows: list[Example], data_root: Path, name: str) -> Path:
    """Writes an explanation list like `--counters 1` and its pictures; returns the list. Paths start in `folder`.

    Each image of class 2k is explained against 2k + 1 and vice versa; an odd last class against the first.
    """
    explanations, count, mask = [], 1 + max(row.label for row in rows), np.zeros((SIDE, SIDE), np.uint8)
    mask[SIDE // 4 : SIDE // 2, SIDE // 4 : SIDE // 2] = 255
    for row in rows:
        counter = (row.label ^ 1) % count
        named = f"./{name}/counterfactual_gradcam_img/0.05/{explanation_name(row.path, row.label, counter, row.index)}"
        with Image.open(locate(row.path, data_root)) as image:
            for kind, side in (("img", image), ("mask", Image.fromarray(mask))):
                path = folder / named.replace("_img/", f"_{kind}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                side.save(path)
        explanations.append(Explanation(named, row.label, counter, row.index))
    path = folder / name / f"{name}_CE.txt"
    write_explanations(path, explanations)
    return path


def build_many(folder: Path, name: str, names: tuple[str, ...], lessons: int = 4, settings=()) -> tuple[Path, dict]:
    """Builds the page of a drawn course with 4 test images and 5 to label; returns the output folder and data.js.

    Lesson n shows an image of class 2n next to first images. In even lessons, the counter class is the explained one,
    2n + 1; in odd ones it is 2n + 2, which has no explanation.
    """
    root, count, each = folder / "data", len(names), SPLITS["tr"]
    dataset = draw_dataset(root, name, names)
    rows = read_examples(root / name / f"{name}_tr.txt", count)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        explained = str(explain_against_one(folder, rows, root, name))
        pool = Pool(ImageSet(rows, f"{name}_tr.txt", root, to_tensor), explained, count, "image", SIDE)
    entries = []
    for number in range(lessons):
        own, counter = 2 * number, (2 * number + 1 + number % 2) % count
        partners = {wrong: each * wrong for wrong in range(count) if wrong != own}
        choice = Choice(each * own + 1, partners[counter], counter, partners, 1.0)
        entries.append(lesson_entry(pool, None, number, choice))
    course = {"dataset": name, "classes": dataset.classes, "selection": "CMaxGrad", "seed": 0, "mask_size": 0.05}
    (folder / name / "course_CMaxGrad.json").write_text(json.dumps(course | {"lessons": entries}))
    few = ["--test-images", 4, "--label-images", 5, "--workers", 1]
    done = call("teach", "--dataset", name, "--data-root", root, *few, *settings, cwd=folder)
    assert done.status == 0, done.err
    return folder / name, page_data(folder / name)
