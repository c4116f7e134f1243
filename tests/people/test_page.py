"""The course page as it is built: what it holds, what it must not give away, and what is said when something is wrong."""

import dataclasses
import hashlib
import hmac
import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.drawn_course import SIDE, rectangle, write_course
from utils.data import catalog
from utils.data.catalog import DATASETS, MOTHS
from utils.data.lists import UNKNOWN, Example, locate, read_examples, write_examples
from utils.people import course_pictures
from utils.people.course_page import draw_some

TESTED, LABELLED = 7, 9
LISTS = {"lesson": "toy_gt_tr", "test": "toy_gt_te", "label": "toy_gt_rest_tr"}


@pytest.fixture(scope="session")
def work(data_root, tmp_path_factory):
    """A working folder with a drawn course in `toy/`."""
    folder = tmp_path_factory.mktemp("people_page")
    write_course(folder, data_root)
    return folder


@pytest.fixture(scope="session")
def build(work, data_root, tools):
    """Builds the page below `--out` (default: `toy`) of the working folder, with settings added; returns how the script ended."""

    def run(*settings, folder=work, script="teach_butterflies"):
        parts = ["--test-images", TESTED, "--label-images", LABELLED, "--image-size", 96, "--workers", 1]
        return tools.call(script, "--dataset", "toy", "--data-root", data_root, *parts, *settings, cwd=folder)

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


def page_data(out):
    """What data.js gives to the page."""
    text = (out / "course_page/data.js").read_text()
    assert text.startswith("window.COURSE = ") and text.endswith(";\n")
    return json.loads(text.removeprefix("window.COURSE = ").removesuffix(";\n"))


def key_data(out):
    return json.loads((out / "course_page_key.json").read_text())


def snapshot(folder):
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---------------------------------------------------------------- what is built


def test_the_page_holds_its_files_and_every_picture_that_it_names(built):
    page, files = page_data(built), set(snapshot(built / "course_page"))
    shown = [*page["test"], *page["label"]]
    for lesson in page["lessons"]:
        shown += [lesson["image"], *itertools.chain(*(pair.values() for pair in lesson["pairs"].values()))]
    assert len(shown) == len(set(shown)) == 7 + 9 + 3 * (1 + 4 * 2)
    assert files == {"index.html", "course.js", "style.css", "data.js"} | {f"images/{name}.png" for name in shown}
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in [*shown, page["build_id"]])
    assert (page["dataset"], page["classes"], page["things"]) == ("toy", list(MOTHS), ["moth", "moths"])


def test_lessons_are_those_of_the_course_in_its_order(built, work):
    page, key = page_data(built), key_data(built)
    course = json.loads((work / "toy/course_CMaxGrad.json").read_text())
    assert len(page["lessons"]) == len(course["lessons"]) == 3
    for shown, entry in zip(page["lessons"], course["lessons"], strict=True):
        assert (shown["label"], shown["answer"]) == (entry["label"], entry["answer"])
        assert key["images"][shown["image"]]["path"] == entry["image"]
        assert set(shown) == {"image", "label", "answer", "pairs"}  # no partners, where all is explained
        assert set(shown["pairs"]) == set(entry["explanations"])
        for wrong, pair in shown["pairs"].items():
            expected = entry["explanations"][wrong]
            assert key["explanations"][pair["image"]] == expected["image"]
            assert key["explanations"][pair["partner"]] == expected["partner_explanation"]


def test_the_key_tells_what_every_picture_is(built, data_root):
    page, key = page_data(built), key_data(built)
    assert (key["build_id"], key["dataset"], key["classes"]) == (page["build_id"], "toy", list(MOTHS))
    phases = Counter(image["phase"] for image in key["images"].values())
    assert phases == {"lesson": 3, "test": TESTED, "label": LABELLED}
    for phase, stem in LISTS.items():
        rows = {(row.path, row.label, row.index) for row in read_examples(data_root / f"toy/{stem}.txt", 5)}
        images = {name: image for name, image in key["images"].items() if image["phase"] == phase}
        assert {(image["path"], image["label"], image["index"]) for image in images.values()} <= rows
        if phase != "lesson":
            assert page[phase] == sorted(images)


def test_the_test_is_balanced_over_the_classes(built, build, another):
    key = key_data(built)
    counts = Counter(image["label"] for image in key["images"].values() if image["phase"] == "test")
    assert sorted(counts.values()) == [1, 1, 1, 2, 2]  # seven of five classes
    assert build("--test-images", 15, "--label-images", 0, folder=another).status == 0
    key = key_data(another / "toy")
    assert Counter(image["label"] for image in key["images"].values() if image["phase"] == "test") == dict.fromkeys(
        range(5), 3
    )
    assert sum(image["phase"] == "label" for image in key["images"].values()) == 20  # 0 takes all of the rest list


def test_drawing_some_takes_each_row_once():
    assert sorted(draw_some(6, 0, seed=3)) == list(range(6)) == sorted(draw_some(6, 6, seed=3))
    drawn = {tuple(draw_some(6, 2, seed)) for seed in range(40)}
    assert all(len(set(pair)) == 2 for pair in drawn) and len(drawn) > 10


def test_ids_are_an_hmac_under_seed_and_course(built, work):
    course = (work / "toy/course_CMaxGrad.json").read_bytes()
    secret = hashlib.sha256(b"0\n" + course).digest()
    for name, image in key_data(built)["images"].items():
        if image["phase"] != "lesson":
            place = f"{image['phase']} {image['path']}"
            assert name == hmac.new(secret, place.encode(), "sha256").hexdigest()[:16]


def test_same_seed_same_bytes_and_another_seed_other_names(built, build, another):
    before = snapshot(built)
    assert build(folder=another, script="teach_gull").status == 0
    after = snapshot(another / "toy")
    pages = [
        {name: content for name, content in files.items() if not name.startswith("run_")} for files in (before, after)
    ]
    assert pages[0] == pages[1]
    assert build("--seed", 1, folder=another).status == 0
    assert not set(key_data(built)["images"]) & set(key_data(another / "toy")["images"])


def test_the_earlier_key_is_kept_since_answers_may_need_it(built, build, another):
    assert build(folder=another).status == 0
    first = key_data(another / "toy")
    assert build(folder=another).status == 0  # the same again: one key
    assert len(list((another / "toy").glob("course_page_key*"))) == 1
    assert build("--seed", 1, folder=another).status == 0
    kept = another / f"toy/course_page_key_{first['build_id']}.json"
    assert json.loads(kept.read_text()) == first
    assert key_data(another / "toy")["build_id"] == page_data(another / "toy")["build_id"] != first["build_id"]


def test_the_key_tells_which_course_the_page_is_of(built, build, another):
    assert [key_data(built)[name] for name in ("selection", "simclr")] == ["CMaxGrad", False]
    for selection, variant, settings in (("random", "", []), ("KMaxGrad", "_simclr", ["--simclr"])):
        shutil.copyfile(another / "toy/course_CMaxGrad.json", another / f"toy/course_{selection}{variant}.json")
        done = build("--selection", selection, *settings, folder=another)
        assert done.status == 0, done.err
        assert [key_data(another / "toy")[name] for name in ("selection", "simclr")] == [selection, bool(variant)]


# ---------------------------------------------------------------- pictures


def opened(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB")).astype(int)


def test_asked_pictures_show_the_whole_image(built, data_root):
    for name, image in key_data(built)["images"].items():
        with Image.open(locate(image["path"], data_root)) as original:
            expected = np.array(original.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
        assert np.array_equal(opened(built / f"course_page/images/{name}.png"), expected)


def test_pictures_are_upright_and_tell_nothing_about_the_camera(work, data_root, tools, tmp_path):
    """A photograph that a camera stored lying on its side, 40 wide and 60 high; the page shows the scene 60 wide, red at the top."""
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    scene = np.zeros((40, 60, 3), np.uint8)
    scene[:20, :, 0] = 255
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    rows = read_examples(root / "toy/toy_gt_te.txt", len(MOTHS))
    for row in rows:
        Image.fromarray(scene).transpose(Image.Transpose.ROTATE_90).save(
            locate(row.path, root), format="PNG", exif=exif
        )
    shutil.copytree(work, tmp_path / "work")
    few = ["--test-images", 5, "--label-images", 1, "--image-size", 96, "--workers", 1]
    done = tools.call("teach_butterflies", "--dataset", "toy", "--data-root", root, *few, cwd=tmp_path / "work")
    assert done.status == 0, done.err
    tested = [name for name, image in key_data(tmp_path / "work/toy")["images"].items() if image["phase"] == "test"]
    assert len(tested) == 5
    for name in tested:
        with Image.open(tmp_path / f"work/toy/course_page/images/{name}.png") as picture:
            assert np.array_equal(np.array(picture), np.array(Image.fromarray(scene)))
            assert not picture.getexif() and not picture.info


def test_pair_pictures_mark_what_was_explained(built, work, data_root):
    """Inside a rectangle's edge the picture is untouched, on the edge it is red, around that white, and untouched beyond."""
    page = page_data(built)
    course = json.loads((work / "toy/course_CMaxGrad.json").read_text())
    for shown, entry in zip(page["lessons"], course["lessons"], strict=True):
        for wrong, pair in shown["pairs"].items():
            own, other = entry["label"], int(wrong)
            sides = (
                (pair["image"], entry["image"], own, other),
                (pair["partner"], entry["explanations"][wrong]["partner"], other, own),
            )
            for name, path, label, counter in sides:
                picture = opened(built / f"course_page/images/{name}.png")
                with Image.open(locate(path, data_root)) as original:
                    plain = np.array(original.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
                inside = rectangle(label, counter)
                core, grown = shrink(inside, 2), ~shrink(~inside, 1)
                assert np.array_equal(picture[core], plain[core]) and np.array_equal(picture[~grown], plain[~grown])
                assert (picture[inside & ~core] == [255, 0, 0]).all()
                assert (picture[grown & ~inside] == [255, 255, 255]).all()


def shrink(mask, steps):
    """A mask without its pixels near the outside (not near the picture's edge), step by step in all eight directions."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        mask = np.logical_and.reduce([padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)])
    return mask


def test_pictures_keep_their_shape_and_are_never_enlarged():
    wide, small = Image.new("RGB", (500, 333)), Image.new("RGB", (60, 80))
    assert tuple(course_pictures.fitted_view(wide, 384).shape) == (3, 256, 384)
    assert tuple(course_pictures.fitted_view(small, 384).shape) == (3, 80, 60)


def test_a_border_is_drawn_on_the_pictures_own_shape(tmp_path):
    plain, mask = Image.new("RGB", (300, 150), "navy"), np.zeros((100, 100), np.uint8)
    mask[20:60, 50:90] = 255
    plain.save(tmp_path / "plain.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    files = course_pictures.Explained(
        str(tmp_path / "plain.png"), str(tmp_path / "mask.png"), None, "none.png", "listed", "here"
    )
    drawn = course_pictures.explained_view(files, 400).permute(1, 2, 0).numpy()
    assert drawn.shape == (150, 300, 3)
    red = (drawn == [255, 0, 0]).all(2)
    rows, columns = red.any(1).nonzero()[0], red.any(0).nonzero()[0]
    assert (
        abs(rows[0] - 30) <= 1
        and abs(rows[-1] - 89) <= 1
        and abs(columns[0] - 150) <= 1
        and abs(columns[-1] - 269) <= 1
    )
    assert (drawn[60, 200] == [0, 0, 128]).all()  # inside, away from the line


def test_without_masks_the_pictures_for_people_are_taken(data_root, build, tmp_path):
    course = write_course(tmp_path, data_root, lessons=1, leave_out=("mask",))
    assert build(folder=tmp_path).status == 0
    page = page_data(tmp_path / "toy")
    assert page["borders"] is True
    for wrong, pair in page["lessons"][0]["pairs"].items():
        human = opened(tmp_path / course["lessons"][0]["explanations"][wrong]["human"])
        assert np.array_equal(opened(tmp_path / f"toy/course_page/images/{pair['image']}.png"), human)


def test_with_neither_the_explained_part_is_shown_and_the_page_says_so(data_root, build, tmp_path):
    course = write_course(tmp_path, data_root, lessons=1, leave_out=("mask", "human"))
    assert course["lessons"][0]["explanations"]["1"]["human"] is None
    assert build(folder=tmp_path).status == 0
    page = page_data(tmp_path / "toy")
    assert page["borders"] is False
    for wrong, pair in page["lessons"][0]["pairs"].items():
        machine = opened(tmp_path / course["lessons"][0]["explanations"][wrong]["image"])
        assert np.array_equal(opened(tmp_path / f"toy/course_page/images/{pair['image']}.png"), machine)


def test_a_dataset_without_a_rest_list_gives_a_page_without_labelling(tools, build, another, monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", dataclasses.replace(DATASETS["toy"], rest=""))
    done = build("--label-images", 0, folder=another)
    assert done.status == 0 and "There is no list to label: the page ends with the test.\n" in done.out
    before = tools.snapshot(another / "toy/course_page")
    done = build("--label-images", 50, folder=another)
    told = "--label-images 50: --dataset toy has no rest list, so that there is nothing to label; leave the setting out, or choose"
    assert done.status == 2 and told in done.err and tools.snapshot(another / "toy/course_page") == before
    assert page_data(another / "toy")["label"] == []


def test_the_key_says_null_where_the_class_is_unknown(data_root, another, tools, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data_root, root, copy_function=shutil.copyfile)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)
    rewrite(
        root,
        "toy_gt_rest_tr",
        lambda rows: [dataclasses.replace(row, label=UNKNOWN) if row.index % 2 else row for row in rows],
    )
    done = tools.call(
        "teach_butterflies", "--dataset", "toy", "--data-root", root, "--test-images", 5, "--workers", 1, cwd=another
    )
    assert done.status == 0, done.err
    labels = {
        image["index"]: image["label"]
        for image in key_data(another / "toy")["images"].values()
        if image["phase"] == "label"
    }
    rows = read_examples(data_root / "toy/toy_gt_rest_tr.txt", 5)
    assert labels == {row.index: None if row.index % 2 else row.label for row in rows} and None in labels.values()
    done = tools.call("simulate_people", "--dataset", "toy", "--data-root", root, cwd=another)
    assert done.status == 0 and "Nobody answered to 10 images of the page: their classes are unknown." in done.out


# ---------------------------------------------------------------- nothing leaks


def test_nothing_served_tells_what_test_and_labelling_images_are(built, data_root):
    """Searches every byte of the page for paths, names, class folders and digests of the images that people are asked about."""
    served = snapshot(built / "course_page")
    everything = b"\n".join([*served.values(), *(name.encode() for name in served)])
    names = {Path(image["path"]).stem for image in key_data(built)["images"].values()}
    for image in key_data(built)["images"].values():
        content = Path(locate(image["path"], data_root)).read_bytes()
        digests = [hashlib.new(kind, content) for kind in ("md5", "sha1", "sha256")]
        secrets = [image["path"], Path(image["path"]).name, *(digest.hexdigest() for digest in digests)]
        assert not [secret for secret in secrets if secret.encode() in everything]
        assert not [digest for digest in digests if digest.digest() in everything]
        assert content not in served.values()
    assert len(names) == 3 + TESTED + LABELLED and not [name for name in names if name.encode() in everything]
    for word in (
        "/images/M",
        "datasets/",
        "toy_gt",
        "course_page_key",
        *(f"{kind}/" for kind in MOTHS),
        *(f"{kind}\\" for kind in MOTHS),
    ):
        assert word.encode() not in everything


def test_test_and_labelling_are_bare_sorted_ids(built):
    page = page_data(built)
    assert set(page) == {"build_id", "dataset", "things", "classes", "borders", "lessons", "test", "label", "endings"}
    for phase in ("test", "label"):
        assert page[phase] == sorted(page[phase]) and all(isinstance(name, str) for name in page[phase])
    labels = [key_data(built)["images"][name]["label"] for name in page["label"]]
    assert labels != sorted(labels)
    # What lessons tell is about other images.
    told = json.dumps(page["lessons"])
    assert not [name for name in page["test"] + page["label"] if name in told]


def test_pictures_carry_no_metadata_and_were_written_in_the_order_of_their_names(built):
    files = sorted((built / "course_page/images").iterdir())
    for file in files:
        content, chunks, place = file.read_bytes(), [], 8
        while place < len(content):
            size = int.from_bytes(content[place : place + 4], "big")
            chunks.append(content[place + 4 : place + 8])
            place += size + 12
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
    times = [file.stat().st_mtime_ns for file in files]
    assert times == sorted(times)


def test_page_files_name_no_other_host_and_hold_no_inline_script_or_style(built):
    page = built / "course_page"
    html = (page / "index.html").read_text()
    assert re.findall(r'(?:src|href)="([^"]+)"', html) == ["style.css", "data.js", "course.js"]
    assert not re.search(r"<style|style=|\son\w+=|<script(?! src)", html)
    for name in ("index.html", "course.js", "style.css"):
        assert not re.findall(r"https?://", (page / name).read_text())
    assert not re.search(
        r"innerHTML|eval\(|new Function|insertAdjacentHTML|document\.write", (page / "course.js").read_text()
    )


def test_what_newer_browsers_alone_understand_has_something_before_it_for_others(built):
    """A text with an alternative for screen readers, and the height that a phone's bars leave: each after the plain declaration."""
    lines = [
        re.sub(r"\s*/\*.*?\*/", "", line).strip() for line in (built / "course_page/style.css").read_text().splitlines()
    ]
    plain = {
        line: re.sub(r"(\d)dv([hw])", r"\1v\2", re.sub(r" / [^;]+;", ";", line))
        for line in lines
        if re.search(r"\ddv[hw]|^content: .+ /", line)
    }
    assert len(plain) > 10
    assert [line for before, line in itertools.pairwise(lines) if line in plain and before != plain[line]] == []


# ---------------------------------------------------------------- names for people


def test_class_names_are_readable():
    assert DATASETS["butterflies_s300"].display_names == ["Cabbage White", "Monarch", "Queen", "Red Admiral", "Viceroy"]
    assert DATASETS["gull"].display_names == [
        "California Gull",
        "Glaucous-winged Gull",
        "Heermann's Gull",
        "Ring-billed Gull",
        "Western Gull",
    ]
    assert DATASETS["chinese_chars"].display_names == ["grass", "mound", "stem"]
    assert DATASETS["gull"].things == ("gull", "gulls")
    assert catalog.Dataset("x", "x", ("Ab", "Cd"), "a", "b").things == ("picture", "pictures")


def test_rest_lists_lie_where_they_are_said_to(tmp_path):
    assert (
        DATASETS["butterflies_s300"].list_path(tmp_path, "rest")
        == tmp_path / "butterflies_crop/butterflies_gt_s300_rest_tr.txt"
    )
    assert DATASETS["gull"].list_path(tmp_path, "rest") == tmp_path / "NAbirdsgull/NAbirdsgull_gt_tr.txt"


# ---------------------------------------------------------------- wrong input


def edited(change):
    """A spoiler that changes the course file."""

    def spoil(folder, root):
        path = folder / "toy/course_CMaxGrad.json"
        course = json.loads(path.read_text())
        change(course)
        path.write_text(json.dumps(course))

    return spoil


def without(*names):
    """A spoiler that removes every rendering of an explanation of lesson 2, of the kinds named."""

    def spoil(folder, root):
        for name in names:
            for file in (folder / "toy" / name / "0.05").glob("*_groundtruth_1_counter_2_*"):
                file.unlink()

    return spoil


def rewrite(root, stem, change):
    """Changes a list."""
    rows = read_examples(root / f"toy/{stem}.txt", 5)
    write_examples(root / f"toy/{stem}.txt", change(rows))


def image_of(root, stem, number=0):
    return Path(locate(read_examples(root / f"toy/{stem}.txt", 5)[number].path, root))


def taught_image(folder):
    lesson = json.loads((folder / "toy/course_CMaxGrad.json").read_text())["lessons"][0]
    return Example(lesson["image"], lesson["label"], 0)


def unexplained(course, answer, partner):
    """Takes an explanation out of lesson 2, and gives its answer a partner alone."""
    del course["lessons"][1]["explanations"][answer]
    course["lessons"][1]["partners"] = {answer: partner}


def plain_partner(folder):
    """Takes an explanation out of a course file and returns the image that is then shown without one, as an example."""
    found = {}

    def change(course):
        found.update(course["lessons"][1]["explanations"]["0"])
        unexplained(course, "0", found["partner"])

    edited(change)(folder, None)
    return Example(found["partner"], 0, 99)


ALL_RENDERINGS = ("counterfactual_gradcam_img", "counterfactual_gradcam_mask", "demo/counterfactual_gradcam_mask")
SPOILERS = {
    "no course": (
        lambda folder, root: (folder / "toy/course_CMaxGrad.json").unlink(),
        ["course_CMaxGrad.json does not exist", "teaching script"],
    ),
    "no JSON": (
        lambda folder, root: (folder / "toy/course_CMaxGrad.json").write_text("{"),
        ["course_CMaxGrad.json", "JSON"],
    ),
    "a list": (
        lambda folder, root: (folder / "toy/course_CMaxGrad.json").write_text("[1]"),
        ["course_CMaxGrad.json", "not a course"],
    ),
    "no lessons": (edited(lambda course: course.update(lessons=[])), ["no lessons"]),
    "another dataset": (edited(lambda course: course.update(dataset="gull")), ["gull, not of toy", "--dataset"]),
    "other classes": (edited(lambda course: course["classes"].reverse()), ["--dataset"]),
    "no label": (edited(lambda course: course["lessons"][1].pop("label")), ["not a course file", "label"]),
    "label out of range": (edited(lambda course: course["lessons"][1].update(label=9)), ["lesson 2", "label is wrong"]),
    "partner of what is explained": (
        edited(lambda course: course["lessons"][1].update(partners={"0": "./x.png"})),
        ["lesson 2", "partners", "nothing explains"],
    ),
    "partner of the right class": (
        edited(lambda course: course["lessons"][1].update(partners={"1": "./x.png"})),
        ["lesson 2", "partners"],
    ),
    "partner that is no file": (
        edited(lambda course: unexplained(course, "0", 3)),
        ["lesson 2", "partner of class 0", "no file"],
    ),
    "partners that are a list": (
        edited(lambda course: course["lessons"][1].update(partners=[])),
        ["not a course file"],
    ),
    "partner not listed": (
        edited(lambda course: unexplained(course, "0", "./x.png")),
        ["lesson 2", "does not list ./x.png"],
    ),
    "plain partner in the rest list": (
        lambda folder, root: rewrite(root, "toy_gt_rest_tr", lambda rows: [*rows, plain_partner(folder)]),
        ["two parts of the page", "lesson and label"],
    ),
    "answer is the label": (
        edited(lambda course: course["lessons"][1].update(answer=1)),
        ["lesson 2", "answer 1", "no wrong class"],
    ),
    "path is a number": (
        edited(lambda course: course["lessons"][1]["explanations"]["0"].update(image=3)),
        ["lesson 2", "class 0"],
    ),
    "image not listed": (
        edited(lambda course: course["lessons"][1].update(image="./x.png")),
        ["lesson 2", "does not list ./x.png"],
    ),
    "no explanation": (without(*ALL_RENDERINGS), ["lesson 2", "explanation", "missing"]),
    "no rest list": (
        lambda folder, root: (root / "toy/toy_gt_rest_tr.txt").unlink(),
        ["toy_gt_rest_tr.txt does not exist"],
    ),
    "no test image": (lambda folder, root: image_of(root, "toy_gt_te").unlink(), ["toy_gt_te.txt, line 1", "missing"]),
    "broken rest image": (
        lambda folder, root: image_of(root, "toy_gt_rest_tr", 3).write_text("no image"),
        ["toy_gt_rest_tr.txt, line 4", "decoded"],
    ),
    "taught image in the rest list": (
        lambda folder, root: rewrite(root, "toy_gt_rest_tr", lambda rows: [*rows, taught_image(folder)]),
        ["two parts of the page", "lesson and label"],
    ),
    "image twice": (
        lambda folder, root: rewrite(
            root, "toy_gt_rest_tr", lambda rows: [*rows, Example(rows[1].path, rows[1].label, 99)]
        ),
        ["toy_gt_rest_tr.txt", "repeats"],
    ),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_what_is_wrong_is_said_in_one_sentence_and_the_earlier_page_stays(name, another, data_root, tmp_path, tools):
    spoil, says = SPOILERS[name]
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    arguments = ["--dataset", "toy", "--data-root", root, "--test-images", 5, "--image-size", 96, "--workers", 1]
    spoil(another, root)
    before = snapshot(another)
    done = tools.call("teach_butterflies", *arguments, cwd=another)
    assert done.status == 2, done.err
    sentence = [line for line in re.split(r"[\r\n]+", done.err) if line.strip() and not re.search(r"\d+%\|", line)]
    assert len(sentence) == 1 and sentence[0].startswith("teach_butterflies.py: error: ") and sentence[0].endswith(".")
    assert not [words for words in says if words not in sentence[0]], sentence[0]
    assert snapshot(another) == before


@pytest.mark.parametrize(
    "settings, says",
    [
        (("--test-images", 16), ["--test-images 16", "toy_gt_te.txt", "ask for fewer"]),
        (("--test-images", 0), ["--test-images 0"]),
        (("--label-images", 21), ["--label-images 21", "20 images"]),
        (("--label-images", -1), ["--label-images -1"]),
        (("--selection", "random"), ["course_random.json does not exist"]),
        (("--simclr",), ["course_CMaxGrad_simclr.json does not exist"]),
        (("--dataset", "nothing"), ["--dataset 'nothing' is unknown"]),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, says, build, another):
    before = snapshot(another)
    done = build(*settings, folder=another)
    assert done.status == 2 and not [words for words in says if words not in done.err], done.err
    assert snapshot(another) == before
