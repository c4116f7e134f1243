"""The course page as it is built: its content, its key, its pictures, what it must not reveal, and wrong input."""

import dataclasses
import hashlib
import hmac
import io
import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.helpers.answering import CLASSES
from tests.helpers.drawn_course import SIDE, copied, page_data, rectangle, with_photographs, write_course
from tests.helpers.many_classes import SPLITS, TWELVE, build_many
from utils.base.errors import InputError
from utils.data import catalog
from utils.data.catalog import DATASETS, MOTHS
from utils.data.lists import UNKNOWN, Example, locate, read_examples, write_examples
from utils.data.outputs import Layout
from utils.people import course_pictures
from utils.people.course_page import reveals_classes
from utils.people.page_key import KeyImage, read_key, read_key_if_there, write_key

TESTED, LABELLED = 7, 9


@pytest.fixture(scope="session")
def work(data_root, tmp_path_factory):
    """A working folder with a drawn course in `toy/`."""
    folder = tmp_path_factory.mktemp("people_page")
    write_course(folder, data_root)
    return folder


@pytest.fixture(scope="session")
def build(work, data_root, tools):
    """Builds the page in `--out` (default: `toy`) of the working folder, with settings added."""

    def run(*settings, folder=work, root=data_root):
        parts = ["--test-images", TESTED, "--label-images", LABELLED, "--image-size", 96, "--workers", 1]
        return tools.call("teach", "--dataset", "toy", "--data-root", root, *parts, *settings, cwd=folder)

    return run


@pytest.fixture(scope="session")
def built(work, build):
    """The output folder with a page in it."""
    done = build()
    assert done.status == 0, done.err
    return work / "toy"


@pytest.fixture
def another(work, built, tmp_path):
    """A copy of the working folder, page and all, that a test may spoil."""
    shutil.copytree(work, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def root(data_root, tmp_path):
    """A copy of the data root that a test may spoil."""
    return copied(data_root, tmp_path / "data")


def key_data(out):
    return json.loads((out / "course_page_key.json").read_text())


def snapshot(folder):
    """Every file in a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---------------------------------------------------------------- content and key


def test_the_page_contains_its_files_and_every_picture_that_it_names(built):
    page, files = page_data(built), set(snapshot(built / "course_page"))
    shown = [*page["test"], *page["label"]]
    for lesson in page["lessons"]:
        shown += [lesson["image"], *itertools.chain(*(pair.values() for pair in lesson["pairs"].values()))]
    assert len(shown) == len(set(shown)) == 7 + 9 + 3 * (1 + 4 * 2)
    assert files == {"index.html", "course.js", "style.css", "data.js"} | {f"images/{name}.png" for name in shown}
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in [*shown, page["build_id"]])
    assert (page["dataset"], page["classes"], page["things"]) == ("toy", list(MOTHS), ["moth", "moths"])


def test_lessons_and_key_follow_the_course_and_the_lists(built, work, data_root):
    page, key = page_data(built), key_data(built)
    course = json.loads((work / "toy/course_CMaxGrad.json").read_text())
    for shown, entry in zip(page["lessons"], course["lessons"], strict=True):
        assert (shown["label"], shown["answer"]) == (entry["label"], entry["answer"])
        assert key["images"][shown["image"]]["path"] == entry["image"]
        assert set(shown) == {"image", "label", "answer", "pairs"}  # no partners if everything is explained
        assert set(shown["pairs"]) == set(entry["explanations"])
        for wrong, pair in shown["pairs"].items():
            expected = entry["explanations"][wrong]
            assert key["explanations"][pair["image"]] == expected["image"]
            assert key["explanations"][pair["partner"]] == expected["partner_explanation"]
    identity = ("build_id", "dataset", "classes", "selection", "simclr")
    assert [key[name] for name in identity] == [page["build_id"], "toy", list(MOTHS), "CMaxGrad", False]
    for phase, stem in {"lesson": "toy_gt_tr", "test": "toy_gt_te", "label": "toy_gt_rest_tr"}.items():
        rows = {(row.path, row.label, row.index) for row in read_examples(data_root / f"toy/{stem}.txt", 5)}
        images = {name: image for name, image in key["images"].items() if image["phase"] == phase}
        assert {(image["path"], image["label"], image["index"]) for image in images.values()} <= rows
        if phase != "lesson":
            assert page[phase] == sorted(images)
    counts = Counter(image["label"] for image in key["images"].values() if image["phase"] == "test")
    assert sorted(counts.values()) == [1, 1, 1, 2, 2]  # seven of five classes


def test_ids_are_an_hmac_of_seed_and_course(built, work):
    secret = hashlib.sha256(b"0\n" + (work / "toy/course_CMaxGrad.json").read_bytes()).digest()
    for name, image in key_data(built)["images"].items():
        if image["phase"] != "lesson":
            place = f"{image['phase']} {image['path']}"
            assert name == hmac.new(secret, place.encode(), "sha256").hexdigest()[:16]


def test_a_page_is_built_again(built, build, another):
    """The same seed gives the same bytes. After another build, the earlier key is kept, since answers need it."""
    before = snapshot(built)
    assert build(folder=another).status == 0
    first = snapshot(another / "toy")
    assert {name: first[name] for name in first if not name.startswith("run_")} == {
        name: before[name] for name in before if not name.startswith("run_")
    }
    assert build("--seed", 1, "--label-images", 0, folder=another).status == 0
    kept, key = key_data(built), key_data(another / "toy")
    assert not set(kept["images"]) & set(key["images"])
    assert sum(image["phase"] == "label" for image in key["images"].values()) == 20  # 0 takes the whole rest list
    assert json.loads((another / f"toy/course_page_key_{kept['build_id']}.json").read_text()) == kept
    assert key["build_id"] == page_data(another / "toy")["build_id"] != kept["build_id"]


def test_the_only_course_is_found(build, another):
    (another / "toy/course_CMaxGrad.json").rename(another / "toy/course_KMaxGrad_simclr.json")
    assert build(folder=another).status == 0
    assert [key_data(another / "toy")[name] for name in ("selection", "simclr")] == ["KMaxGrad", True]
    shutil.copyfile(another / "toy/course_KMaxGrad_simclr.json", another / "toy/course_random.json")
    done = build(folder=another)
    assert done.status == 2 and "Choose one: --selection random, --selection KMaxGrad --simclr." in done.err
    assert build("--simclr", folder=another).status == build("--selection", "random", folder=another).status == 0
    for path in (another / "toy").glob("course_*.json"):
        path.unlink()
    done = build(folder=another)
    assert done.status == 2 and "No course found in toy." in done.err


def test_a_key_is_read_as_it_was_written(tmp_path):
    layout = Layout(tmp_path, variant="simclr")
    images = {
        "b" * 16: KeyImage("label", "./datasets/toy/images/l2.png", None, 11),
        "c" * 16: KeyImage("label", "./datasets/toy/images/l1.png", 4, 10),
        "a" * 16: KeyImage("lesson", "./datasets/toy/images/x.png", 2, 0),
    }
    write_key(layout, catalog.find("toy"), "random", "0" * 16, images, {"d" * 16: "./toy/e.png"})
    path = layout.course_page_key()
    key = read_key(path, "toy", CLASSES)
    assert (key.build_id, key.dataset, key.classes, key.images) == ("0" * 16, "toy", CLASSES, images)
    assert list(key.of_phase("label")) == ["c" * 16, "b" * 16] and (key.selection, key.simclr) == ("random", True)
    with pytest.raises(InputError, match="belongs to --dataset toy"):
        read_key(path, "gull", CLASSES)
    path.write_text("{}")
    with pytest.raises(InputError, match="is not the key of a course page"):
        read_key(path, "toy", CLASSES)
    assert read_key_if_there(tmp_path / "none.json", "toy", CLASSES).images == {}


# ---------------------------------------------------------------- pictures


def opened(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB")).astype(int)


def resized(path, data_root):
    with Image.open(locate(path, data_root)) as original:
        return np.array(original.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)).astype(int)


def test_asked_pictures_show_the_whole_image(built, data_root):
    for name, image in key_data(built)["images"].items():
        assert np.array_equal(opened(built / f"course_page/images/{name}.png"), resized(image["path"], data_root))


def test_pair_pictures_mark_what_was_explained(built, work, data_root):
    """Inside a rectangle's edge the picture is unchanged, on the edge it is red, around that white, then unchanged."""
    page = page_data(built)
    course = json.loads((work / "toy/course_CMaxGrad.json").read_text())
    for shown, entry in zip(page["lessons"], course["lessons"], strict=True):
        for wrong, pair in shown["pairs"].items():
            own, other = entry["label"], int(wrong)
            partner = entry["explanations"][wrong]["partner"]
            for name, path, label, counter in (
                (pair["image"], entry["image"], own, other),
                (pair["partner"], partner, other, own),
            ):
                picture, plain = opened(built / f"course_page/images/{name}.png"), resized(path, data_root)
                inside = rectangle(label, counter)
                core, grown = shrink(inside, 2), ~shrink(~inside, 1)
                assert np.array_equal(picture[core], plain[core]) and np.array_equal(picture[~grown], plain[~grown])
                assert (picture[inside & ~core] == [255, 0, 0]).all()
                assert (picture[grown & ~inside] == [255, 255, 255]).all()


def shrink(mask, steps):
    """A mask without its pixels near the outside (not near the picture's edge), in all eight directions."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        mask = np.logical_and.reduce([padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)])
    return mask


@pytest.mark.parametrize("left_out", [("mask",), ("mask", "human")])
def test_without_masks_other_renderings_are_shown(data_root, build, tmp_path, left_out):
    """The picture for people, or else the student's, and the page says which."""
    course = write_course(tmp_path, data_root, lessons=1, leave_out=left_out)
    assert build(folder=tmp_path).status == 0
    page = page_data(tmp_path / "toy")
    assert page["borders"] is ("human" not in left_out)
    explanation, pair = course["lessons"][0]["explanations"]["1"], page["lessons"][0]["pairs"]["1"]
    expected = opened(tmp_path / (explanation["human"] or explanation["image"]))
    assert np.array_equal(opened(tmp_path / f"toy/course_page/images/{pair['image']}.png"), expected)


def scene():
    """160 x 120 smooth colors, as in photographs."""
    y, x = np.mgrid[0:120, 0:160]
    colors = np.stack([x * 1.6, y * 2.1, 127 + 100 * np.sin(x / 20) * np.cos(y / 15)], 2)
    return Image.fromarray(colors.astype(np.uint8))


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F] = 6, "Secret Camera"  # the camera lay on its side
SOURCES = {
    "a JPEG with metadata": ("a.jpg", {"format": "JPEG", "exif": EXIF, "comment": b"Secret Monarch"}, "jpg"),
    "a JPEG called PNG": ("a.png", {"format": "JPEG"}, "jpg"),
    "a PNG with metadata": ("a.png", {"format": "PNG", "exif": EXIF}, "png"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_picture_has_the_format_of_its_source_and_only_pixels(tmp_path, kind):
    name, saving, ending = SOURCES[kind]
    scene().save(tmp_path / name, **saving)
    shown_as, content = course_pictures.whole_picture(str(tmp_path / name), "here", 96)
    assert shown_as == ending and b"Secret" not in content
    with Image.open(io.BytesIO(content)) as shown, Image.open(tmp_path / name) as original:
        assert shown.format == {"jpg": "JPEG", "png": "PNG"}[ending] and not shown.getexif()
        assert set(shown.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        upright = ImageOps.exif_transpose(original)
        size = (72, 96) if "exif" in saving else (96, 72)
        off = np.abs(np.array(shown).astype(int) - np.array(upright.resize(size, Image.Resampling.BICUBIC)))
    assert off.max() <= (12 if ending == "jpg" else 0) and off.mean() < 2


def test_a_page_of_photographs_is_the_same_for_any_number_of_workers(build, data_root, tmp_path):
    outs = []
    root = with_photographs(data_root, tmp_path / "data")
    for workers in (1, 2):
        folder = tmp_path / f"{workers}"
        folder.mkdir()
        write_course(folder, data_root)
        assert build("--workers", workers, "--label-images", 0, folder=folder, root=root).status == 0
        outs.append(folder / "toy")
    assert snapshot(outs[0] / "course_page") == snapshot(outs[1] / "course_page")
    jpg = {f"{name}.jpg" for name in page_data(outs[0])["jpg"]}
    files = {path.name for path in (outs[0] / "course_page/images").iterdir()}
    assert len(jpg) >= 10 and jpg == {name for name in files if name.endswith(".jpg")} < files


def test_formats_that_reveal_classes_are_noticed():
    """Two images of Monarch, two of Queen, one of an unknown class; lessons show their class anyway."""
    images = {number: KeyImage("label", "x", label, 0) for number, label in enumerate([0, 0, 1, 1, None])}
    images["lesson"] = KeyImage("lesson", "x", 0, 0)
    assert reveals_classes(images, {0, 1})
    assert not reveals_classes(images, {0, 2}) and not reveals_classes(images, {0, 1, 2, 3, 4})


# ---------------------------------------------------------------- special datasets and courses


def test_without_a_rest_list_the_page_ends_with_the_test(build, another, monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", dataclasses.replace(DATASETS["toy"], rest=""))
    done = build("--label-images", 0, folder=another)
    assert done.status == 0 and "There is no list to label: the page ends with the test.\n" in done.out
    assert page_data(another / "toy")["label"] == []


def test_the_key_says_null_if_the_class_is_unknown(root, build, another):
    path = root / "toy/toy_gt_rest_tr.txt"
    rows = [dataclasses.replace(row, label=UNKNOWN) for row in read_examples(path, 5)]
    write_examples(path, rows)
    assert build("--label-images", 0, folder=another, root=root).status == 0
    images = key_data(another / "toy")["images"].values()
    assert [image["label"] for image in images if image["phase"] == "label"] == [None] * len(rows)


def test_answers_without_an_explanation_show_plain_pictures(tmp_path):
    """Lessons of the classes 0, 2, 4, 6 of twelve, each explained only against the next class."""
    out, page = build_many(tmp_path, "birds", TWELVE)
    key, shown = key_data(out), {}
    for number, lesson in enumerate(page["lessons"]):
        own = 2 * number
        assert set(lesson["pairs"]) == {str(own + 1)}
        assert set(lesson["partners"]) == {str(wrong) for wrong in range(12)} - {str(own), str(own + 1)}
        for wrong, name in lesson["partners"].items():
            shown.setdefault(wrong, set()).add(name)
    assert set(shown) == {str(wrong) for wrong in range(12)} and all(len(names) == 1 for names in shown.values())
    for wrong, (name,) in shown.items():
        assert key["explanations"][name] == f"./datasets/birds/images/tr_{SPLITS['tr'] * int(wrong)}.png"
    assert len(list((out / "course_page/images").iterdir())) == 4 * (1 + 2) + 12 + 4 + 5


# ---------------------------------------------------------------- nothing leaks


def test_nothing_served_reveals_the_test_and_labelling_images(built, data_root):
    """Searches every byte of the page for paths, names, class folders and digests of the images."""
    served = snapshot(built / "course_page")
    everything = b"\n".join([*served.values(), *(name.encode() for name in served)])
    for image in key_data(built)["images"].values():
        content = Path(locate(image["path"], data_root)).read_bytes()
        digests = [hashlib.new(kind, content) for kind in ("md5", "sha1", "sha256")]
        path = Path(image["path"])
        secrets = [image["path"], path.name, path.stem, *(digest.hexdigest() for digest in digests)]
        assert not [secret for secret in secrets if secret.encode() in everything]
        assert not [digest for digest in digests if digest.digest() in everything]
        assert content not in served.values()
    for word in ("/images/M", "datasets/", "toy_gt", "course_page_key", *(f"{kind}/" for kind in MOTHS)):
        assert word.encode() not in everything


def test_test_and_labelling_are_bare_sorted_ids(built):
    page = page_data(built)
    assert set(page) == {"build_id", "dataset", "things", "classes", "borders", "lessons", "test", "label", "jpg"}
    for phase in ("test", "label"):
        assert page[phase] == sorted(page[phase]) and all(isinstance(name, str) for name in page[phase])
    labels = [key_data(built)["images"][name]["label"] for name in page["label"]]
    assert labels != sorted(labels)
    assert not [name for name in page["test"] + page["label"] if name in json.dumps(page["lessons"])]
    times = [path.stat().st_mtime_ns for path in sorted((built / "course_page/images").iterdir())]
    assert times == sorted(times)  # nor do the times of the files reveal the order of a list


def test_page_files_name_no_other_host_and_have_no_inline_script_or_style(built):
    texts = [(built / "course_page" / name).read_text() for name in ("index.html", "course.js", "style.css")]
    assert re.findall(r'(?:src|href)="([^"]+)"', texts[0]) == ["style.css", "data.js", "course.js"]
    assert not re.search(r"<style|style=|\son\w+=|<script(?! src)", texts[0])
    assert not re.search(r"innerHTML|eval\(|new Function|insertAdjacentHTML|document\.write", texts[1])


# ---------------------------------------------------------------- wrong input


def edited(change):
    """A spoiler that changes the course file."""

    def spoil(folder, root):
        path = folder / "toy/course_CMaxGrad.json"
        course = json.loads(path.read_text())
        change(course)
        path.write_text(json.dumps(course))

    return spoil


def unexplained(folder, root):
    """Removes every rendering of an explanation of lesson 2."""
    for file in (folder / "toy").rglob("*_groundtruth_1_counter_2_*"):
        file.unlink()


def taught_image(folder, root):
    """Adds an image of a lesson to the rest list."""
    lesson = json.loads((folder / "toy/course_CMaxGrad.json").read_text())["lessons"][0]
    path = root / "toy/toy_gt_rest_tr.txt"
    write_examples(path, [*read_examples(path, 5), Example(lesson["image"], lesson["label"], 99)])


def image_of(root, stem, number):
    return Path(locate(read_examples(root / f"toy/{stem}.txt", 5)[number].path, root))


SPOILERS = {
    "no JSON": (lambda folder, root: (folder / "toy/course_CMaxGrad.json").write_text("{"), ["course_CMaxGrad.json"]),
    "no label": (edited(lambda course: course["lessons"][1].pop("label")), ["course_CMaxGrad.json"]),
    "image not listed": (
        edited(lambda course: course["lessons"][1].update(image="./x.png")),
        ["lesson 2", "does not list ./x.png"],
    ),
    "no explanation": (unexplained, ["lesson 2", "explanation", "missing"]),
    "no test image": (
        lambda folder, root: image_of(root, "toy_gt_te", 0).unlink(),
        ["toy_gt_te.txt, line 1", "missing"],
    ),
    "too few test images": (lambda folder, root: ["--test-images", 16], ["--test-images 16", "Ask for fewer"]),
    "too few images to label": (lambda folder, root: ["--label-images", 21], ["--label-images 21", "20 images"]),
    "no such course": (lambda folder, root: ["--selection", "random"], ["course_random.json"]),
    "broken rest image": (
        lambda folder, root: image_of(root, "toy_gt_rest_tr", 3).write_text("no image"),
        ["toy_gt_rest_tr.txt, line 4"],
    ),
    "taught image in the rest list": (taught_image, ["two parts of the page", "lesson and label"]),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_wrong_input_is_named_in_one_line_and_the_earlier_page_stays(name, another, root, build):
    spoil, says = SPOILERS[name]
    changed = spoil(another, root)
    more = changed if isinstance(changed, list) else []
    before = snapshot(another)
    done = build("--label-images", 0, "--test-images", 5, *more, folder=another, root=root)
    assert done.status == 2, done.err
    said = [line for line in re.split(r"[\r\n]+", done.err) if line.strip() and not re.search(r"\d+%\|", line)]
    assert len(said) == 1 and said[0].startswith("teach.py: error: ") and said[0].endswith(".")
    assert not [words for words in says if words not in said[0]], said[0]
    assert snapshot(another) == before
