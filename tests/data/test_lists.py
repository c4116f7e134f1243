"""Lists survive a round trip; wrong lines, missing files and unusable names are reported."""

import unicodedata

import pytest

from utils.base.errors import InputError
from utils.data.lists import (
    Example,
    Explanation,
    check_files,
    listed_path,
    locate,
    read_examples,
    read_explanations,
    safe_name,
    write_examples,
    write_explanations,
)
from utils.data.outputs import name_problem

ROWS = [Example("./datasets/toy/images/Sash/a.png", 3, 0), Example("./datasets/toy/images/Sash/\u00e4\u83dc.png", 3, 1)]
PLAIN = "".join(f"{row.path} {row.label} {row.index}\n" for row in ROWS)


def test_round_trip(tmp_path):
    explanations = [Explanation("./toy/x.png", 0, 1, 5), Explanation("./toy/y.png", 0, 2, 5)]
    write_examples(tmp_path / "a.txt", ROWS)
    write_explanations(tmp_path / "b.txt", explanations)
    assert (tmp_path / "a.txt").read_text() == PLAIN
    assert read_examples(tmp_path / "a.txt", 5) == ROWS
    assert read_explanations(tmp_path / "b.txt", 3) == explanations
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


AS_OTHERS_WRITE_THEM = [
    PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
    f"{PLAIN}\n \t \r\n\n".encode().rstrip(b"\n"),
    PLAIN.replace("\n", "  \n  ").replace(" ", "\t").encode(),
]


@pytest.mark.parametrize("content", AS_OTHERS_WRITE_THEM)
def test_lists_as_other_programs_write_them(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_examples(tmp_path / "list.txt", 5) == ROWS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("./a.png 1", "line 2: expected 'path label index'"),
        ("./a b.png 1 2", "line 2: expected"),
        ("./a.png one 2", "line 2: expected"),
        ("./a.png 1 2.0", "line 2: expected"),
        ("./a.png,1,2", "line 2: expected .* separated by spaces, with integers, found './a.png,1,2'"),
        ("./a.png 5 2", r"line 2: label 5 is out of range \(0 .. 4\)"),
        ("./a.png -1 2", "line 2: label -1 is out of range"),
        ("./a.png 1 -2", r"line 2: index -2 is out of range \(0 or more\)"),
        ("", "line 2: expected .* found ''"),
        ("./a.png 1 0", "line 2: line 1 also has index 0. Number each image once."),
        ("./ok.png 1 2", "line 2: ./ok.png has label 1, but 0 on an earlier line."),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    (tmp_path / "list.txt").write_text(f"./ok.png 0 0\r\n{line}\r\n./ok.png 0 1\n", newline="")
    with pytest.raises(InputError, match=message):
        read_examples(tmp_path / "list.txt", 5, unique=True)


def test_unknown_classes_are_allowed_in_rest_lists(tmp_path):
    # Repeated, as in a teaching set.
    rows = [Example("./a.png", -1, 0), Example("./b.png", 4, 1), Example("./a.png", -1, 0)]
    write_examples(tmp_path / "rest.txt", rows)
    assert read_examples(tmp_path / "rest.txt", 5, rest=True) == rows
    (tmp_path / "rest.txt").write_text("./a.png -2 0\n")
    with pytest.raises(InputError, match=r"line 1: label -2 is out of range \(-1 .. 4\)"):
        read_examples(tmp_path / "rest.txt", 5, rest=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not found"),
        (b"", "is empty"),
        ("./caf\u00e9 1 1".encode("latin-1"), "UTF-8"),
        (b"./x.png 2 2 0\n", "line 1: counter class 2 is the label"),
    ],
)
def test_unusable_lists(tmp_path, content, message):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_explanations(tmp_path / "list.txt", 5)


def test_the_data_root_replaces_datasets_only():
    assert locate("./datasets/toy/images/a.png", "/data") == "/data/toy/images/a.png"
    assert locate("./toy/0.05/a.png", "/data") == "./toy/0.05/a.png"
    assert listed_path("toy/0.05/a.png") == "./toy/0.05/a.png" and listed_path("/abs/a.png") == "/abs/a.png"


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("./datasets/toy/none.png", "data/toy/none.png is missing or empty. .* check --data-root '.*/data'.$"),
        ("./pictures/none.png", r"./pictures/none.png is missing or empty. .* check the folder /.*.$"),
        ("./datasets/toy/\0.png", "is missing"),
        ("./datasets/toy/x.jpg/a.png", "is missing"),
        ("./datasets/toy/empty.png", "is missing or empty"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, listed, message):
    (tmp_path / "data/toy").mkdir(parents=True)
    (tmp_path / "data/toy/x.jpg").write_text("content")
    (tmp_path / "data/toy/empty.png").touch()
    rows = [Example("./datasets/toy/x.jpg", 0, 0), Example(listed, 0, 1)]
    with pytest.raises(InputError, match=f"^list.txt, line 2: the image (?s:.*){message}"):
        check_files(rows, "list.txt", tmp_path / "data")


@pytest.mark.parametrize(
    ("stem", "excess"), [("a" * 218, 0), ("\u83dc" * 72, 0), ("a" * 219, 1), ("\u83dc" * 73, 1), ("a" * 255, 37)]
)
def test_names_are_measured_in_bytes(stem, excess):
    """`_groundtruth_1_counter_10_index_7.png` takes 37 of 255 bytes: of eleven classes, class 10 is the longest."""
    problem = name_problem(f"./datasets/toy/{stem}.jpeg", 1, 7, 11)
    assert problem == "" if not excess else problem.endswith(f"exceed 255 bytes. Shorten it by {excess}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ที่ รัก", "ที่_รัก"),
        ("हिन्दी (2)", "हिन्दी_2_"),
        ("a\u0301\u0323b", "ạ́b"),
        ("a, b", "a_b"),
        (".hidden", "_hidden"),
        ("St.Peter's&Co", "St.Peter_s_Co"),
        ("a/b\u3000c", "a_b_c"),
        ("\u8776" * 86, "\u8776" * 33),
    ],
)
def test_safe_names_keep_letters_of_all_scripts(text, name):
    assert safe_name(text, 100) == unicodedata.normalize("NFC", name)
