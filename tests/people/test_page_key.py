"""The key of a course page: written, read, and kept when the page is built anew."""

import json

import pytest

from tests.helpers.answering import CLASSES, download
from utils.base.errors import InputError
from utils.data import catalog
from utils.data.outputs import Layout
from utils.people.answers import read_answers
from utils.people.page_key import KeyImage, read_built_key, read_key, read_key_if_there, write_key


def test_a_key_is_read_as_it_was_written_and_earlier_ones_stay(tmp_path):
    layout, dataset = Layout(tmp_path), catalog.find("toy")
    images = {
        "b" * 16: KeyImage("label", "./datasets/toy/images/l2.png", None, 11),
        "c" * 16: KeyImage("label", "./datasets/toy/images/l1.png", 4, 10),
        "a" * 16: KeyImage("lesson", "./datasets/toy/images/x.png", 2, 0),
    }
    write_key(layout, dataset, "random", "0" * 16, images, {"d" * 16: "./toy/e.png"})
    for key in (read_key(layout.course_page_key(), "toy", CLASSES), read_built_key(layout.course_page_key())):
        assert (key.build_id, key.dataset, key.classes, key.images) == ("0" * 16, "toy", CLASSES, images)
        assert list(key.of_phase("label")) == ["c" * 16, "b" * 16] and list(key.of_phase("test")) == []
        assert (key.selection, key.simclr) == ("random", False)
    for build_id in ("0" * 16, "1" * 16):
        write_key(layout, dataset, "random", build_id, images, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "course_page_key.json",
        f"course_page_key_{'0' * 16}.json",
    ]
    assert read_key(layout.course_page_key("0" * 16), "toy", CLASSES).build_id == "0" * 16
    write_key(Layout(tmp_path, variant="simclr"), dataset, "balanced", "1" * 16, images, {})
    key = read_key(layout.course_page_key(), "toy", CLASSES)
    assert (key.selection, key.simclr) == ("balanced", True)
    content = json.loads(layout.course_page_key().read_text())
    layout.course_page_key().write_text(
        json.dumps({name: value for name, value in content.items() if name not in ("selection", "simclr")})
    )
    key = read_key(layout.course_page_key(), "toy", CLASSES)  # of an earlier version
    assert (key.images, key.selection, key.simclr) == (images, "", False)


def test_a_key_that_is_not_there_is_asked_for_only_where_it_is_needed(tmp_path):
    key = read_key_if_there(tmp_path / "key.json", "toy", CLASSES)
    (tmp_path / "a.json").write_text(json.dumps(download([{"trial_id": "1", "phase": "test"}])))
    with pytest.raises(InputError, match=r"need its key \(.*/key.json not found\). Check --key"):
        read_answers([tmp_path / "a.json"], key, 5)
