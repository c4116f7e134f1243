"""The pictures of a course page as files: which are JPEG, what is in them, and what they must not tell."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.helpers.drawn_course import with_photographs, write_course
from utils.data.lists import Example
from utils.people.course_page import told_by_endings
from utils.people.course_pictures import ListedPictures
from utils.people.page_key import KeyImage

LONGEST = 96
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"  # the only thing beside the pixels that a JPEG of ours holds: the same in every one
APP0, APP15, SOS, COMMENT, PROGRESSIVE = 0xE0, 0xEF, 0xDA, 0xFE, 0xC2


def scene(width=160, height=120):
    """Smooth colours, as photographs have them."""
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([x * 255 / width, y * 255 / height, 127 + 100 * np.sin(x / 20) * np.cos(y / 15)], 2)
    return Image.fromarray(colours.astype(np.uint8))


def camera():
    """Notes of a camera that lay on its side, with a comment and a colour profile."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Secret Camera"
    return {"exif": exif, "comment": b"Secret Monarch", "icc_profile": b"Secret profile", "dpi": (300, 300)}


SOURCES = {
    "a JPEG": ("a.jpg", scene(), {"format": "JPEG"}, "jpg"),
    "a JPEG with the notes of a camera": ("a.jpg", scene(), {"format": "JPEG", **camera()}, "jpg"),
    "a progressive JPEG": ("a.jpg", scene(), {"format": "JPEG", "progressive": True}, "jpg"),
    "a grey JPEG": ("a.jpeg", scene().convert("L"), {"format": "JPEG"}, "jpg"),
    "a CMYK JPEG": ("a.jpg", scene().convert("CMYK"), {"format": "JPEG"}, "jpg"),
    "a small JPEG": ("a.jpg", scene(40, 30), {"format": "JPEG"}, "jpg"),
    "a JPEG with a preview": (
        "a.jpg",
        scene(),
        {"format": "MPO", "save_all": True, "append_images": [scene(32, 24)]},
        "jpg",
    ),
    "a JPEG that is called PNG": ("a.png", scene(), {"format": "JPEG"}, "jpg"),
    "a PNG": ("a.png", scene(), {"format": "PNG"}, "png"),
    "a PNG that is called JPEG": ("a.jpg", scene(), {"format": "PNG", "exif": camera()["exif"]}, "png"),
    "a WebP": ("a.webp", scene(), {"format": "WEBP", "quality": 95}, "png"),
}


def segments(content):
    """The segments of a JPEG, as marker and payload, up to its pixels, which must end it."""
    assert content[:2] == b"\xff\xd8" and content.endswith(b"\xff\xd9")
    found, place = [], 2
    while not found or found[-1][0] != SOS:
        assert content[place] == 0xFF
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        found.append((content[place + 1], content[place + 4 : place + 2 + length]))
        place += 2 + length
    assert not re.search(rb"\xff[^\x00\xd0-\xd7]", content[place:-2])  # no second picture, nothing behind the pixels
    return found


@pytest.mark.parametrize("kind", SOURCES)
def test_a_picture_has_the_format_of_its_source_and_holds_nothing_but_pixels(tmp_path, kind):
    name, image, saving, ending = SOURCES[kind]
    image.save(tmp_path / name, **saving)
    source = (tmp_path / name).read_bytes()
    shown = ListedPictures([Example(str(tmp_path / name), 0, 0)], tmp_path / "list.txt", "", LONGEST)
    picture = shown[0]
    assert picture.ending == ending and picture == shown[0]  # the same again
    assert b"Secret" not in picture.content and picture.content != source
    if ending == "jpg":
        held = segments(picture.content)
        assert [payload for marker, payload in held if APP0 <= marker <= APP15] == [JFIF]
        assert not {COMMENT, PROGRESSIVE} & {marker for marker, _ in held}
    with Image.open(io.BytesIO(picture.content)) as opened, Image.open(tmp_path / name) as original:
        assert opened.format == {"jpg": "JPEG", "png": "PNG"}[ending] and opened.mode == "RGB"
        assert not opened.getexif() and "icc_profile" not in opened.info and "comment" not in opened.info
        upright = original.convert("RGB")
        if original.getexif().get(0x0112) == 6:
            upright = upright.transpose(Image.Transpose.ROTATE_270)
        longest = min(LONGEST, max(upright.size))
        size = tuple(round(side * longest / max(upright.size)) for side in upright.size)
        off = np.abs(np.array(opened).astype(int) - np.array(upright.resize(size, Image.Resampling.BICUBIC)))
    assert off.max() <= (12 if ending == "jpg" else 0) and off.mean() < 2


@pytest.fixture(scope="module")
def twice(data_root, tools, tmp_path_factory):
    """The output folders of two builds of a page of which every second picture comes from a JPEG, one by one thread and one by two."""
    folders = []
    for workers in (1, 2):
        folder = tmp_path_factory.mktemp("photographs")
        write_course(folder, data_root)
        root = with_photographs(data_root, folder / "data")
        few = ["--test-images", 10, "--image-size", LONGEST, "--workers", workers]
        done = tools.call("teach_butterflies", "--dataset", "toy", "--data-root", root, *few, cwd=folder)
        assert done.status == 0, done.err
        folders.append(folder / "toy")
    return folders


def test_two_builds_are_the_same_to_the_byte(twice):
    one, two = (
        {path.relative_to(out): path.read_bytes() for path in (out / "course_page").rglob("*") if path.is_file()}
        for out in twice
    )
    assert one == two and len({path.suffix for path in one}) == 5
    assert [out / "course_page_key.json" for out in twice][0].read_text() == (
        twice[1] / "course_page_key.json"
    ).read_text()


def test_the_page_says_which_file_each_picture_is(twice):
    page = json.loads(
        (twice[0] / "course_page/data.js").read_text().removeprefix("window.COURSE = ").removesuffix(";\n")
    )
    files = {path.name for path in (twice[0] / "course_page/images").iterdir()}
    endings = page["endings"]
    assert {endings["usual"], endings["other"]} == {"png", "jpg"} and endings["others"] == sorted(endings["others"])
    others = {f"{name}.{endings['other']}" for name in endings["others"]}
    assert (
        len(others) >= 10 and others < files and {name.split(".")[1] for name in files - others} == {endings["usual"]}
    )
    assert len(others) < len(files - others)
    times = [path.stat().st_mtime_ns for path in sorted((twice[0] / "course_page/images").iterdir())]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "endings, told",
    [
        ("jjppp", "All pictures of Queen are PNG files and all of Monarch JPEG files"),
        ("jpjpp", ""),
        ("jjjjj", ""),
        ("jppjj", ""),
    ],
)
def test_formats_that_tell_classes_apart_are_spoken_of(endings, told):
    """Two images of Monarch, two of Queen, one of a class that nobody knows; lessons tell their class anyway."""
    labels = [0, 0, 1, 1, None]
    images = {f"{number}": KeyImage("label", "x", label, number) for number, label in enumerate(labels)}
    images["lesson"] = KeyImage("lesson", "x", 0, 0)
    ending_of = {f"{number}": {"j": "jpg", "p": "png"}[letter] for number, letter in enumerate(endings)} | {
        "lesson": "png"
    }
    said = told_by_endings(SimpleNamespace(images=images, endings=ending_of), ["Monarch", "Queen"])
    assert said.startswith(told) and bool(said) == bool(told)
