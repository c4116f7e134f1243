"""The public logs: which pictures people were shown, and tables that do not belong to them."""

import json

import pytest

from tests.helpers.shown_logs import write_logs
from utils.base.errors import InputError
from utils.people.shown import Listed, read_learners, read_table, table_folder

CLASSES = ("CabbageWhite", "Monarch")
PATHS = [
    "b/images/Cabbage White/0.png",
    "b/images/Monarch/1.png",
    "b/images/Monarch/2.png",
    "b/images/CabbageWhite/3.png",
]
PEOPLE = [("p", "random", [2, 0], [1, 3], [1, 1]), ("q", "explain", [0, 1], [3], [0])]


def learners_of(folder):
    return read_learners(folder / "teaching_images.json", folder / "results.json", CLASSES)


def test_lessons_keep_their_order_and_folders_lose_their_blanks(tmp_path):
    table = write_logs(tmp_path, PATHS, PEOPLE, CLASSES)
    first, second = learners_of(tmp_path)
    assert table_folder(table) == "b"
    assert (first.name, first.group, second.name, second.group) == ("p", "random", "q", "explain")
    assert first.lessons == (
        Listed("./datasets/b/images/Monarch/2.png", 1),
        Listed("./datasets/b/images/CabbageWhite/0.png", 0),
    )
    assert [one.path for one in first.tested] == [
        "./datasets/b/images/Monarch/1.png",
        "./datasets/b/images/CabbageWhite/3.png",
    ]
    assert first.responses == (1, 1) and second.responses == (0,)


def test_a_table_that_disagrees_is_told_with_counts(tmp_path):
    """Two pictures change places: three of the seven answers are to one of them. A table that is too short lacks a picture."""
    write_logs(tmp_path, PATHS, PEOPLE, CLASSES)
    entries = json.loads((tmp_path / "teaching_images.json").read_text())
    (tmp_path / "teaching_images.json").write_text(json.dumps([entries[2], entries[1], entries[0], entries[3]]))
    with pytest.raises(
        InputError, match=r"teaching_images.json does not belong to .*results.json: 3 of 7 answers are to images"
    ):
        learners_of(tmp_path)
    (tmp_path / "teaching_images.json").write_text(json.dumps(entries[:3]))
    with pytest.raises(InputError, match="2 of 7 answers"):
        learners_of(tmp_path)


@pytest.mark.parametrize(
    ("people", "says"),
    [
        ([PEOPLE[0], ("q", "explain", [0, 1], [], [])], "2 people, 1 of them without lessons or without a test"),
        ([PEOPLE[0], ("q", "explain", [], [3], [0])], "2 people, 1 of them without lessons or without a test"),
        (PEOPLE[:1], "holds 1 people, 0 of them"),
    ],
)
def test_a_log_with_a_gap(people, says, tmp_path):
    write_logs(tmp_path, PATHS, people, CLASSES)
    with pytest.raises(InputError, match=f"results.json .*{says}.*; give the whole log of the experiment"):
        learners_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "must hold a list"),
        ('{"a": 1}', "must hold a list"),
        ("[1]", "image 0: image_url must be <folder>/images/<Class>/<file>, and is None"),
        ('[{"image_url": "b/images/Monarch/../x.png"}]', "image 0: image_url must be"),
        ('[{"image_url": "../images/Monarch/x.png"}]', "image 0: image_url must be"),
        (
            '[{"image_url": "b/images/Moth/x.png"}]',
            r"image 0: the folder 'Moth' is of no class \(CabbageWhite, Monarch\)",
        ),
        ("[", "is not JSON"),
    ],
)
def test_a_malformed_table(content, says, tmp_path):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError, match=says):
        read_table(tmp_path / "t.json", CLASSES)


def test_a_table_that_is_absent(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        table_folder(tmp_path / "t.json")
