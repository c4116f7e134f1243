"""Building the course page: content, key, pictures, leaks and wrong input."""

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

from tests.helpers.drawn_course import SIDE, copied, page_data, rectangle, write_course, write_faithfulness
from tests.helpers.many_classes import SPLITS, TWELVE, build_many
from utils.base.errors import InputError
from utils.data.catalog import DATASETS, MOTHS
from utils.data.lists import UNKNOWN, Example, locate, read_examples, write_examples
from utils.people import course_pictures
from utils.people.course_page import draw_test, reveals_classes
from utils.people.page_key import PHASES, KeyImage
from utils.people.page_texts import ENGLISH, read_consent

TESTED, LABELLED = 7, 9


@pytest.fixture(scope="session")
def work(data_root, tmp_path_factory):
    """A working folder with a drawn course in `toy/`."""
    folder = tmp_path_factory.mktemp("people_page")
    write_course(folder, data_root)
    return folder


@pytest.fixture(scope="session")
def build(work, data_root, tools):
    """Builds the page of a working folder with additional settings."""

    def run(*settings, folder=work, root=data_root):
        parts = ["--test-images", TESTED, "--label-images", LABELLED, "--image-size", 96, "--workers", 1]
        return tools.call("teach", "--dataset", "toy", "--data-root", root, *parts, *settings, cwd=folder)

    return run


@pytest.fixture(scope="session")
def built(work, build):
    """The output folder with a page."""
    done = build()
    assert done.status == 0, done.err
    return work / "toy"


@pytest.fixture
def another(work, built, tmp_path):
    """A writable copy of the working folder with its page."""
    shutil.copytree(work, tmp_path / "work")
    return tmp_path / "work"


def key_data(out):
    return json.loads((out / "course_page_key.json").read_text())


def snapshot(folder):
    """Contents of all files in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_page_contains_its_files_and_every_picture_that_it_names(built):
    page, files = page_data(built), set(snapshot(built / "course_page"))
    head, parts = "build_id dataset things classes borders text consent links pass", "lessons test label extra jpg"
    assert set(page) == {*head.split(), *parts.split()} and page["consent"] is page["pass"] is None
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
    assert sorted(counts.values()) == [1, 1, 1, 2, 2]  # seven images of five classes
    secret = hashlib.sha256(b"0\n" + (work / "toy/course_CMaxGrad.json").read_bytes()).digest()
    for name, image in key["images"].items():
        place = f"{image['phase']} {image['path']}".encode()
        assert image["phase"] == "lesson" or name == hmac.new(secret, place, "sha256").hexdigest()[:16]


def test_a_page_is_built_again(built, build, another):
    """The same seed gives the same bytes. Another build keeps the earlier key, which its answers need."""
    before = snapshot(built / "course_page")
    write_faithfulness(another, [0, 1] * 3)
    assert build("--outlined-share", 1, folder=another).status == 0
    assert snapshot(another / "toy/course_page") == before
    assert build("--seed", 1, "--label-images", 0, folder=another).status == 0
    kept, key = key_data(built), key_data(another / "toy")
    assert not set(kept["images"]) & set(key["images"])
    assert sum(image["phase"] == "label" for image in key["images"].values()) == 20  # 0: the whole rest list
    assert json.loads((another / f"toy/course_page_key_{kept['build_id']}.json").read_text()) == kept
    assert key["build_id"] == page_data(another / "toy")["build_id"] != kept["build_id"]


def test_gold_images_are_further_test_images_that_look_like_those_to_label(built, build, another):
    few = ["--test-images", 5, "--gold-images"]
    done = build(*few, 4, folder=another)
    assert done.status == 0 and key_data(another / "toy")["build_id"] != key_data(built)["build_id"], done.err
    page, key = page_data(another / "toy"), key_data(another / "toy")["images"]
    test, gold = ({name for name in key if key[name]["phase"] == phase} for phase in ("test", "gold"))
    assert page["test"] == sorted(test) and page["label"] == sorted(gold | {*page_data(built)["label"]})
    assert len({key[name]["path"] for name in test | gold}) == 9 and len({key[name]["label"] for name in gold}) == 4
    assert b"gold" not in (another / "toy/course_page/data.js").read_bytes()
    assert json.loads((another / "toy/run_teach.json").read_text())["measured"]["gold_images"] == 4
    done = build(*few, 11, folder=another)
    says = "--gold-images 11: the test list has too few unused images. Ask for fewer."
    assert done.status == 2 and re.search(says, done.err)


def test_the_only_course_is_found(build, another):
    (another / "toy/course_CMaxGrad.json").rename(another / "toy/course_KMaxGrad_simclr.json")
    assert build(folder=another).status == 0
    assert [key_data(another / "toy")[name] for name in ("selection", "simclr")] == ["KMaxGrad", True]
    shutil.copyfile(another / "toy/course_KMaxGrad_simclr.json", another / "toy/course_random.json")
    done = build(folder=another)
    assert done.status == 2 and "Choose one: --selection random, --selection KMaxGrad --simclr." in done.err


def opened(path):
    """Pixels of an image at the size of the page."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC))


def test_without_explanations_people_compare_the_same_images(built, build, work):
    done = build("--course-folder", "toy", "--out", "plain", "--no-explanations", "--pretrained", "none")
    assert done.status == 0, done.err
    page, key, bordered = page_data(work / "plain"), key_data(work / "plain"), key_data(built)
    course = json.loads((work / "toy/course_CMaxGrad.json").read_text())
    for lesson, entry in zip(page["lessons"], course["lessons"], strict=True):
        assert lesson["pairs"] == {} and set(lesson["partners"]) == set(entry["explanations"])
        for wrong, partner in lesson["partners"].items():
            assert key["explanations"][partner] == entry["explanations"][wrong]["partner"]
    for phase in PHASES:  # everything else is the same
        asked = [{i["path"] for i in one["images"].values() if i["phase"] == phase} for one in (key, bordered)]
        assert asked[0] == asked[1] and asked[0]
    assert "demo" not in str(key) and "demo" in str(course) and page["build_id"] != page_data(built)["build_id"]


def test_pair_pictures_mark_what_was_explained(built, work, data_root):
    """Images to answer are shown whole. Explanations are unchanged inside and outside a red and white border."""
    page, images = page_data(built), built / "course_page/images"
    for name, image in key_data(built)["images"].items():
        assert np.array_equal(opened(images / f"{name}.png"), opened(locate(image["path"], data_root)))
    course = json.loads((work / "toy/course_CMaxGrad.json").read_text())
    for shown, entry in zip(page["lessons"], course["lessons"], strict=True):
        for wrong, pair in shown["pairs"].items():
            own, other = entry["label"], int(wrong)
            mine = (pair["image"], entry["image"], own, other)
            partners = (pair["partner"], entry["explanations"][wrong]["partner"], other, own)
            for name, path, label, counter in (mine, partners):
                picture, plain = opened(images / f"{name}.png"), opened(locate(path, data_root))
                inside = rectangle(label, counter)
                core, grown = shrink(inside, 2), ~shrink(~inside, 1)
                assert np.array_equal(picture[core], plain[core]) and np.array_equal(picture[~grown], plain[~grown])
                assert (picture[inside & ~core] == [255, 0, 0]).all()
                assert (picture[grown & ~inside] == [255, 255, 255]).all()


def shrink(mask, steps):
    """Erodes a mask in all eight directions. The edge of the picture counts as inside."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        mask = np.logical_and.reduce([padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)])
    return mask


@pytest.mark.parametrize("left_out", [("mask",), ("mask", "human")])
def test_without_masks_other_renderings_are_shown(data_root, build, tmp_path, left_out):
    """The rendering for people is shown, or else the student's. The page records which."""
    course = write_course(tmp_path, data_root, lessons=1, leave_out=left_out)
    assert build(folder=tmp_path).status == 0
    page = page_data(tmp_path / "toy")
    assert page["borders"] is ("human" not in left_out)
    explanation, pair = course["lessons"][0]["explanations"]["1"], page["lessons"][0]["pairs"]["1"]
    expected = opened(tmp_path / (explanation["human"] or explanation["image"]))
    assert np.array_equal(opened(tmp_path / f"toy/course_page/images/{pair['image']}.png"), expected)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_picture_has_the_format_of_its_source_and_only_pixels(tmp_path, ending):
    y, x = np.mgrid[0:120, 0:160]
    colors = np.stack([x * 1.6, y * 2.1, 127 + 100 * np.sin(x / 20) * np.cos(y / 15)], 2)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Secret Camera"  # 6: rotated by 90 degrees
    source = tmp_path / f"a.{ending}"
    Image.fromarray(colors.astype(np.uint8)).save(source, exif=exif)
    shown_as, content = course_pictures.whole_picture(str(source), "here", 96)
    assert shown_as == ending and b"Secret" not in content
    with Image.open(io.BytesIO(content)) as shown, Image.open(source) as original:
        assert shown.format == {"jpg": "JPEG", "png": "PNG"}[ending] and not shown.getexif()
        expected = ImageOps.exif_transpose(original).resize((72, 96), Image.Resampling.BICUBIC)
        off = np.abs(np.array(shown).astype(int) - np.array(expected))
    assert off.max() <= (12 if ending == "jpg" else 0) and off.mean() < 2


def test_formats_that_reveal_classes_are_noticed():
    """Two images of Monarch, two of Queen, one unknown. Lessons do not count, as they show their class."""
    images = {number: KeyImage("label", "x", label, 0) for number, label in enumerate([0, 0, 1, 1, None])}
    images["lesson"] = KeyImage("lesson", "x", 0, 0)
    assert reveals_classes(images, {0, 1})
    assert not reveals_classes(images, {0, 2}) and not reveals_classes(images, {0, 1, 2, 3, 4})


def test_a_rest_list_may_be_missing_or_without_labels(build, another, data_root, tmp_path, monkeypatch):
    root = copied(data_root, tmp_path / "data")
    path = root / "toy/toy_gt_rest_tr.txt"
    write_examples(path, [dataclasses.replace(row, label=UNKNOWN) for row in read_examples(path, 5)])
    assert build(folder=another, root=root).status == 0
    images = key_data(another / "toy")["images"].values()
    assert [image["label"] for image in images if image["phase"] == "label"] == [None] * LABELLED
    monkeypatch.setitem(DATASETS, "toy", dataclasses.replace(DATASETS["toy"], rest=""))
    done = build("--label-images", 0, folder=another)
    assert done.status == 0 and "There is no list to label: the page ends with the test.\n" in done.out
    assert page_data(another / "toy")["label"] == []


def test_answers_without_an_explanation_show_plain_pictures(tmp_path):
    """Lessons of classes 0, 2, 4, 6 (of twelve), each explained only against the next class."""
    out, page = build_many(tmp_path, "birds", TWELVE)
    key, shown = key_data(out), {}
    for own, lesson in zip((0, 2, 4, 6), page["lessons"], strict=True):
        assert set(lesson["pairs"]) == {str(own + 1)}
        assert set(lesson["partners"]) == {str(wrong) for wrong in range(12)} - {str(own), str(own + 1)}
        shown |= lesson["partners"]
    for wrong, name in shown.items():
        assert key["explanations"][name] == f"./datasets/birds/images/tr_{SPLITS['tr'] * int(wrong)}.png"
    assert len(list((out / "course_page/images").iterdir())) == 4 * (1 + 2) + 12 + 4 + 5


def test_nothing_served_reveals_the_test_and_labelling_images(built, data_root):
    """Searches all bytes of the page for names, class folders and digests of the images."""
    served = snapshot(built / "course_page")
    everything = b"\n".join([*served.values(), *(name.encode() for name in served)])
    for image in key_data(built)["images"].values():
        content = Path(locate(image["path"], data_root)).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert Path(image["path"]).stem.encode() not in everything and digest.encode() not in everything
        assert content not in served.values()
    times = [path.stat().st_mtime_ns for path in sorted((built / "course_page/images").iterdir())]
    assert times == sorted(times)  # file times do not reveal the order of a list
    for word in ("/images/M", "datasets/", "toy_gt", "course_page_key", *(f"{kind}/" for kind in MOTHS)):
        assert word.encode() not in everything


def spoiled(sentences):
    """Wrong translations, and what the error says of them."""
    intro, lessons = sentences["intro"], sentences["intro_lesson"]
    yield {key: sentence for key, sentence in sentences.items() if key != "stop"}, "'stop' is missing"
    yield sentences | {"more": "mehr"}, "'more' is missing"
    yield sentences | {"intro": intro.replace("{thing}", "{ thing }")}, "'intro'"
    yield sentences | {"intro_lesson": lessons[1]}, "'intro_lesson'"
    yield sentences | {"intro_lesson": lessons[:1]}, "'intro_lesson'"
    yield sentences | {"intro_lesson": [*lessons[:1], 1]}, "'intro_lesson'"
    yield list(sentences), "Cannot read"


def test_a_translation_has_all_sentences_and_placeholders(build, another):
    """Its word for the images replaces the dataset's. The singular of a pair may lack the number."""
    file, sentences = another / "german.json", json.loads(Path(ENGLISH).read_text())
    for wrong, says in spoiled(sentences):
        file.write_text(json.dumps(wrong))
        done = build("--language", file, folder=another)
        assert done.status == 2 and "german.json" in done.err and says in done.err, done.err
    german = {"lang": "de", "things": ["Falter", "Falter"], "intro_test": ["{part}: ein Bild", "{part}: {n} Bilder"]}
    file.write_text(json.dumps(sentences | german))
    assert build("--language", file, folder=another).status == 0
    page = page_data(another / "toy")
    assert page["text"] == sentences | german and page["things"] == ["Falter", "Falter"]


CONSENT = """# Learning **moths**
We show you
pictures.

* You may <b>stop</b>.

- Nobody knows it.
  Not even we.
Ask [us](https://example.org).
1. Purpose
2) Risks:
    none
## End
Thanks."""
BLOCKS = [
    ("h2", ["Learning moths"]),
    ("p", ["We show you pictures."]),
    ("ul", ["You may <b>stop</b>.", "Nobody knows it. Not even we. Ask [us](https://example.org)."]),
    ("p", ["1. Purpose"]),
    ("p", ["2) Risks: none"]),
    ("h2", ["End"]),
    ("p", ["Thanks."]),
]


def test_a_consent_form_is_read(tmp_path):
    """Text or Markdown, with any line ends; other files are refused."""
    for content in (CONSENT, CONSENT.replace("\n", "\r\n"), f"\ufeff{CONSENT}\n\n"):
        (tmp_path / "form.md").write_bytes(content.encode())
        form = read_consent(str(tmp_path / "form.md"))
        assert form == {"paragraphs": BLOCKS, "sha256": hashlib.sha256(content.encode()).hexdigest()}
    for content in (b"\xff\xff", None):
        (tmp_path / "form.md").unlink() if content is None else (tmp_path / "form.md").write_bytes(content)
        with pytest.raises(InputError, match="Cannot read .*form.md"):
            read_consent(str(tmp_path / "form.md"))


def test_the_page_uses_every_sentence():
    script = (Path(ENGLISH).parent / "course.js").read_text()
    used = set(re.findall(r'"([a-z_]+)"', script)) | {"lang", "things"} | {f"intro_{part}" for part in PHASES}
    assert set(json.loads(Path(ENGLISH).read_text())) <= used
    assert set(re.findall(r'(?:text|pieces)\("([a-z_]+)"', script)) <= set(json.loads(Path(ENGLISH).read_text()))


def edit_course(folder, change):
    path = folder / "toy/course_CMaxGrad.json"
    course = json.loads(path.read_text())
    change(course)
    path.write_text(json.dumps(course))


def unexplained(folder, root):
    for file in (folder / "toy").rglob("*_groundtruth_1_counter_2_*"):
        file.unlink()


def taught_image(folder, root):
    """Adds an image of a lesson to the rest list."""
    lesson = json.loads((folder / "toy/course_CMaxGrad.json").read_text())["lessons"][0]
    path = root / "toy/toy_gt_rest_tr.txt"
    write_examples(path, [*read_examples(path, 5), Example(lesson["image"], lesson["label"], 99)])


def no_test_image(folder, root):
    Path(locate(read_examples(root / "toy/toy_gt_te.txt", 5)[0].path, root)).unlink()


SPOILERS = {
    "no JSON": (lambda folder, root: (folder / "toy/course_CMaxGrad.json").write_text("{"), "course_CMaxGrad.json"),
    "image not listed": (
        lambda folder, root: edit_course(folder, lambda course: course["lessons"][1].update(image="./x.png")),
        "does not list ./x.png",
    ),
    "changed picture": (
        lambda folder, root: edit_course(folder, lambda one: one.update(pictures={one["lessons"][1]["image"]: 0})),
        "has changed since toy/course_CMaxGrad.json was made. Make the course again",
    ),
    "no explanation": (unexplained, "lesson 2"),
    "no test image": (no_test_image, "toy_gt_te.txt, line 1"),
    "taught image in the rest list": (taught_image, "two parts of the page"),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_wrong_input_is_named_in_one_line_and_the_earlier_page_is_kept(name, another, data_root, tmp_path, build):
    spoil, says = SPOILERS[name]
    root = copied(data_root, tmp_path / "data")
    spoil(another, root)
    before = snapshot(another)
    done = build("--label-images", 0, folder=another, root=root)
    assert done.status == 2 and says in done.err, done.err
    said = [line for line in re.split(r"[\r\n]+", done.err) if line.strip() and not re.search(r"\d+%\|", line)]
    assert len(said) == 1 and said[0].startswith("teach.py: error: ")
    assert snapshot(another) == before


@pytest.mark.filterwarnings("ignore:The test list has only")
def test_classes_with_too_few_test_images_give_all_they_have():
    """The test is as balanced as the list allows, whatever the numbers."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = [Example("x", int(rng.choice([0, 0, 1, 3])), n) for n in range(rng.integers(1, 30))]
        wanted, counts = int(rng.integers(1, 35)), Counter(row.label for row in rows)
        with pytest.warns(UserWarning, match="0 of none"):
            chosen = draw_test(rows, ["a", "b", "none", "c"], wanted, seed)
        assert len(chosen) == len(set(chosen)) == min(wanted, len(rows))
        given = Counter(rows[number].label for number in chosen)
        for label, other in itertools.permutations(counts, 2):
            assert given[label] == counts[label] or given[label] >= given[other] - 1
