"""A course in which most answers have no explanation, as `--counters 1` makes it: the lesson, the course file, the page and its key."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from tests.helpers.many_classes import SPLITS, TWELVE, build_many
from utils.data.catalog import find
from utils.data.lists import locate
from utils.people.built_page import read_built_page
from utils.people.trials import read_trial
from utils.teaching.course import plain_partners, read_course

COUNT = len(TWELVE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("partial")


@pytest.fixture(scope="module")
def built(folder):
    """The output folder and what data.js holds: lessons of the classes 0, 2, 4, 6, each explained against the class after it."""
    return build_many(folder, "birds", TWELVE)


@pytest.fixture(scope="module")
def lessons(built, folder):
    """The lessons as they are read back."""
    return read_course(built[0] / "course_CMaxGrad.json", find("birds", folder / "data"))["lessons"]


def first_of(label):
    return f"./datasets/birds/images/tr_{SPLITS['tr'] * label}.png"


def test_an_answer_without_an_explanation_has_a_partner_in_the_course(lessons):
    for number, lesson in enumerate(lessons):
        own = 2 * number
        assert (lesson["label"], lesson["answer"]) == (own, own + 1 + number % 2)
        assert list(lesson["explanations"]) == [str(own + 1)]
        assert lesson["explanations"][str(own + 1)]["partner"] == first_of(own + 1)
        assert lesson["partners"] == {
            str(wrong): first_of(wrong) for wrong in range(COUNT) if wrong not in (own, own + 1)
        }
        assert plain_partners(lesson) == lesson["partners"]


def test_a_course_file_from_before_partners_knows_that_of_its_own_answer(lessons):
    """Of answer 4 to a picture of class 2, which nothing explains; the answer of lesson 1 is explained."""
    old = [{name: value for name, value in lesson.items() if name != "partners"} for lesson in lessons]
    assert [plain_partners(lesson) for lesson in old[:2]] == [{}, {"4": first_of(4)}]


def test_each_plain_picture_is_on_the_page_once_and_in_the_key(built, folder):
    out, page = built
    key = json.loads((out / "course_page_key.json").read_text())
    shown = {}
    for number, lesson in enumerate(page["lessons"]):
        assert set(lesson["pairs"]) == {str(2 * number + 1)}
        assert set(lesson["partners"]) == {str(wrong) for wrong in range(COUNT)} - {
            str(2 * number),
            str(2 * number + 1),
        }
        for wrong, name in lesson["partners"].items():
            shown.setdefault(wrong, set()).add(name)
    assert set(shown) == {str(wrong) for wrong in range(COUNT)} and all(len(names) == 1 for names in shown.values())
    files = sorted(path.name for path in (out / "course_page/images").iterdir())
    assert len(files) == 4 * (1 + 2) + COUNT + 4 + 5  # lessons and their pairs, partners, test, labelling
    for wrong, (name,) in shown.items():
        assert key["explanations"][name] == first_of(int(wrong))
        pictures = out / f"course_page/images/{name}.png", locate(first_of(int(wrong)), folder / "data")
        assert np.array_equal(*(np.array(Image.open(path).convert("RGB")) for path in pictures))
    assert len(key["explanations"]) == 4 * 2 + COUNT
    assert page["borders"] is True


def test_what_is_served_and_taken_is_as_for_any_other_page(built):
    """The server serves the plain pictures, takes any class for an answer, and takes none to a plain picture."""
    out, page = built
    served = read_built_page(out)
    lesson = page["lessons"][0]
    assert {f"images/{name}.png" for name in lesson["partners"].values()} <= set(served.files)
    trial = {
        "trial_id": "0" * 32,
        "trial_index": 0,
        "trial_type": "lesson",
        "phase": "lesson",
        "time_elapsed": 5,
        "rt": 5,
    }
    trial |= {"stimulus": lesson["image"], "response": COUNT - 1, "correct": False, "build_id": page["build_id"]}
    assert read_trial(trial, served).response == COUNT - 1
    assert not set(lesson["partners"].values()) & set(served.phases)


def test_the_same_course_gives_the_same_bytes(built, tmp_path):
    out, page = built
    again, same = build_many(tmp_path, "birds", TWELVE)
    assert same == page
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).digest() for path in (some / "course_page").rglob("*.*")}
        for some in (out, again)
    ]
    assert digests[0] == digests[1]


def test_a_course_that_explains_nothing_is_read_and_built(tmp_path):
    """Its own answer has a partner in course files of any age."""

    def nothing(entry):
        entry["explanations"] = {}
        del entry["partners"]

    _, page = build_many(tmp_path, "birds", TWELVE, lessons=2, change=nothing)
    assert [(lesson["pairs"], list(lesson["partners"])) for lesson in page["lessons"]] == [({}, ["1"]), ({}, ["4"])]
