"""Fixtures of several test files."""

import json
import subprocess
import warnings
from contextlib import closing

import pytest

from tests.helpers import axe, many_classes
from tests.helpers.answering import make_key, make_trial
from tests.helpers.collecting import build_page, client_of, opened
from tests.helpers.drawn_course import LABELLED, TESTED, page_data, with_photographs, write_course
from utils.data.lists import Example


@pytest.fixture(scope="session")
def checker():
    """Source of axe-core, or None if it cannot be fetched from npm."""
    try:
        return axe.source()
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"axe-core could not be fetched from npm: accessibility is not tested ({error})", stacklevel=1)


@pytest.fixture
def page(tmp_path):
    return build_page(tmp_path / "out")


@pytest.fixture
def store(page):
    with closing(opened(page)) as store:
        yield store


@pytest.fixture
def client(page, store):
    return client_of(page, store)


@pytest.fixture
def key(tmp_path):
    """A key of ten images per phase, two of each class."""
    rows = {
        phase: [Example(f"./datasets/toy/images/{phase}{i}.png", i % 5, first + i) for i in range(10)]
        for phase, first in (("lesson", 0), ("test", 0), ("label", 10))
    }
    return make_key(tmp_path / "toy/course_page_key.json", rows)


@pytest.fixture
def trials(key):
    lesson = make_trial(key, "lesson", 0, 1, correct=False)
    return [lesson, make_trial(key, "test", 3, 3), make_trial(key, "label", 9, 0)]


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless browser. Downloads go to `browser.downloads`."""
    from tests.helpers.person import open_browser  # Selenium need not be installed

    with open_browser(tmp_path_factory.mktemp("downloads")) as chrome:
        yield chrome


@pytest.fixture(scope="session")
def out(data_root, tools, tmp_path_factory):
    """An output folder with a page: 5 classes, 3 lessons, 5 test images and 6 to label, some of them JPEG."""
    folder = tmp_path_factory.mktemp("people_browser")
    write_course(folder, data_root)
    root = with_photographs(data_root, folder / "data")
    few = ["--test-images", TESTED, "--label-images", LABELLED, "--workers", 1]
    done = tools.call("teach", "--dataset", "toy", "--data-root", root, *few, cwd=folder)
    assert done.status == 0, done.err
    return folder / "toy"


@pytest.fixture(scope="session")
def course(out):
    """Values in data.js."""
    return page_data(out)


@pytest.fixture(scope="session")
def marked(tmp_path_factory):
    """A page with a pass mark of 3/4: 9 classes, 5 lessons, two tests of 4 images, 5 to label. Also data.js and key."""
    folder = tmp_path_factory.mktemp("pass_mark")
    (folder / "form.md").write_text("# Aims\nYou learn birds.")
    settings = ["--pass-mark", 0.75, "--extra-lessons", 4, "--consent", folder / "form.md"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many_classes, "SPLITS", {"tr": 7, "te": 2, "rest_tr": 1})
        out, course = many_classes.build_many(folder, "birds", many_classes.TWELVE[:9], 5, settings=settings)
    return out, course, json.loads((out / "course_page_key.json").read_text())
