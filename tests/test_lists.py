"""Lists survive a round trip, and wrong lines are named."""

import pytest

from utils.errors import InputError
from utils.lists import (
    Example,
    Explanation,
    listed_path,
    locate,
    read_examples,
    read_explanations,
    write_examples,
    write_explanations,
)


def test_round_trip(tmp_path):
    examples = [Example("./datasets/toy/images/Sash/a.png", 3, 7), Example("./datasets/toy/images/Tipped/b.png", 4, 2)]
    explanations = [Explanation("./toy/x.png", 0, 1, 5), Explanation("./toy/y.png", 0, 2, 5)]
    write_examples(tmp_path / "a.txt", examples)
    write_explanations(tmp_path / "b.txt", explanations)
    assert (tmp_path / "a.txt").read_text() == "./datasets/toy/images/Sash/a.png 3 7\n./datasets/toy/images/Tipped/b.png 4 2\n"
    assert read_examples(tmp_path / "a.txt", 5) == examples
    assert read_explanations(tmp_path / "b.txt", 3) == explanations
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("./a.png 1", "line 2: expected 'path label index'"),
        ("./a b.png 1 2", "line 2: expected"),
        ("./a.png one 2", "line 2: label and index must be whole numbers"),
        ("./a.png 5 2", r"line 2: label 5 is out of range \(0 .. 4\)"),
        ("./a.png -1 2", "line 2: label -1 is out of range"),
        ("./a.png 1 -2", "line 2: index -2 is out of range"),
        ("", "line 2: expected"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    (tmp_path / "list.txt").write_text(f"./ok.png 0 0\n{line}\n./ok.png 0 1\n")
    with pytest.raises(InputError, match=message):
        read_examples(tmp_path / "list.txt", 5)


def test_a_class_may_be_unknown_where_people_label(tmp_path):
    rows = [Example("./a.png", -1, 0), Example("./b.png", 4, 1)]
    write_examples(tmp_path / "rest.txt", rows)
    assert read_examples(tmp_path / "rest.txt", 5, rest=True) == rows
    for text, message in (
        ("./a.png -2 0\n", r"line 1: label -2 is out of range \(-1 .. 4\); correct"),
        ("./a.png 5 0\n", "label 5"),
        ("./a.png 0 -1\n", "index -1"),
    ):
        (tmp_path / "rest.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            read_examples(tmp_path / "rest.txt", 5, rest=True)


def test_an_explanation_against_its_own_class_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("./x.png 2 2 0\n")
    with pytest.raises(InputError, match="line 1: counter class 2 is the label itself"):
        read_explanations(tmp_path / "list.txt", 5)


def test_missing_and_empty_lists(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_examples(tmp_path / "none.txt", 5)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="is empty"):
        read_examples(tmp_path / "empty.txt", 5)


def test_the_data_root_replaces_datasets_only():
    assert locate("./datasets/toy/images/a.png", "/data") == "/data/toy/images/a.png"
    assert locate("./toy/0.05/a.png", "/data") == "./toy/0.05/a.png"
    assert listed_path("toy/0.05/a.png") == "./toy/0.05/a.png" and listed_path("/abs/a.png") == "/abs/a.png"
