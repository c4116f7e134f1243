"""Lists survive a round trip, and wrong lines are named."""

import codecs
import os
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
    write_examples,
    write_explanations,
)
from utils.data.outputs import name_problem


def test_round_trip(tmp_path):
    examples = [Example("./datasets/toy/images/Sash/a.png", 3, 7), Example("./datasets/toy/images/Tipped/b.png", 4, 2)]
    explanations = [Explanation("./toy/x.png", 0, 1, 5), Explanation("./toy/y.png", 0, 2, 5)]
    write_examples(tmp_path / "a.txt", examples)
    write_explanations(tmp_path / "b.txt", explanations)
    assert (
        tmp_path / "a.txt"
    ).read_text() == "./datasets/toy/images/Sash/a.png 3 7\n./datasets/toy/images/Tipped/b.png 4 2\n"
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


ROWS = [Example("./datasets/toy/images/Sash/a.png", 3, 0), Example("./datasets/toy/images/Sash/\u00e4\u83dc.png", 3, 1)]
PLAIN = "".join(f"{row.path} {row.label} {row.index}\n" for row in ROWS)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.encode().removesuffix(b"\n"),
        f"{PLAIN}\n \t \r\n\n".encode(),
        PLAIN.replace("\n", "  \n  ").replace(" ", "\t").encode(),
        PLAIN.replace(" ", "\u00a0").encode(),
        PLAIN.replace("\n", "\n\ufeff").encode(),  # two files with marks, joined
        PLAIN.replace("\n", "\r\n").encode("utf-16"),
        codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.replace("/", "\\").encode(),
    ],
)
def test_lists_as_other_systems_write_them(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_examples(tmp_path / "list.txt", 5) == ROWS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "./b.png,1,2",
            "line 2: expected 'path label index', found './b.png,1,2'; separate the fields by blanks or tabs, not by commas",
        ),
        (
            "./b.png; 1; 2",
            "line 2: label and index must be whole numbers in the digits 0 to 9.*not by commas or semicolons",
        ),
        ("./b.png \u0661 2", "line 2: label and index must be whole numbers"),
        ("./b.png 1 \uff12", "line 2: label and index must be whole numbers"),
        ("./b.png 1 1_0", "line 2: label and index must be whole numbers"),
        ("./b.png +1 2", "line 2: label and index must be whole numbers"),
        ("./b.png 1 2.0", "line 2: label and index must be whole numbers"),
        (
            "./b.png 1 99999999999999999999",
            r"line 2: index 99999999999999999999 is out of range \(0 .. 9223372036854775807\)",
        ),
        ("./b\u3000c.png 1 2", r"line 2: expected 'path label index', found './b\\u3000c.png 1 2'"),
        ("./b.png 1 2\u200b", r"line 2: './b.png 1 2\\u200b' holds U\+200B, which cannot be seen"),
        ("./b.png\x0c1 2", r"line 2: '.*' holds U\+000C"),
        ("./b.png 1 2\n\x1a", r"line 3: '\\x1a' holds U\+001A"),
        ("./b\0.png 1 2", r"line 2: the image './b\\x00.png 1 2' is missing, no file name can hold U\+0000"),
        ("./b.png 1 0", "line 2: index 0 stands on line 1 already"),
        ("./ok.png 1 2", "line 2: ./ok.png is labelled 1, but 0 on line 1"),
        ("./b.png 1 2\r\n\r\n./c.png 1 3", "line 3: expected 'path label index', found ''"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_as_an_editor_counts(tmp_path, line, message):
    (tmp_path / "list.txt").write_bytes(f"./ok.png 0 0\r\n{line}\n".encode())
    with pytest.raises(InputError, match=message):
        read_examples(tmp_path / "list.txt", 5, unique=True)


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes("./ok.png 0 0\n./caf\u00e9.png 1 1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"line 2: './caf\\udce9.png 1 1' cannot be read as text, it is not UTF-8"):
        read_examples(tmp_path / "list.txt", 5)


def test_names_may_hold_what_their_scripts_need(tmp_path):
    """A backslash beside slashes, and the joiner within a Persian word."""
    names = ["./a\\b.png", "./\u0645\u06cc\u200c\u0631\u0648\u062f.png", "./\U0001f98b.png"]
    write_examples(tmp_path / "list.txt", [Example(name, 0, index) for index, name in enumerate(names)])
    assert [row.path for row in read_examples(tmp_path / "list.txt", 1)] == names


def test_a_teaching_set_may_repeat_its_images(tmp_path):
    rows = [
        Example("./a.png", 0, 0),
        Example("./b.png", 1, 1),
        Example("./a.png", 0, 0),
        Example("./a_explained.png", 0, 0),
    ]
    write_examples(tmp_path / "list.txt", rows)
    assert read_examples(tmp_path / "list.txt", 2) == rows
    with pytest.raises(InputError, match="line 3: index 0 stands on line 1"):
        read_examples(tmp_path / "list.txt", 2, unique=True)


@pytest.mark.parametrize(
    ("stem", "excess"), [("a" * 218, 0), ("\u83dc" * 72, 0), ("a" * 219, 1), ("\u83dc" * 73, 1), ("a" * 255, 37)]
)
def test_names_are_measured_in_bytes(stem, excess):
    """`_groundtruth_1_counter_10_index_7.png` takes 37 bytes of 255: of eleven classes, the longest rival of class 1 is class 10."""
    problem = name_problem(f"./datasets/toy/{stem}.jpeg", 1, 7, 11)
    assert problem == "" if not excess else problem.endswith(f"exceed 255 bytes; shorten the image's name by {excess}")


def test_the_data_root_replaces_datasets_only():
    assert locate("./datasets/toy/images/a.png", "/data") == "/data/toy/images/a.png"
    assert locate("./toy/0.05/a.png", "/data") == "./toy/0.05/a.png"
    assert listed_path("toy/0.05/a.png") == "./toy/0.05/a.png" and listed_path("/abs/a.png") == "/abs/a.png"


# ---------------------------------------------------------------- files that are not there

NFC, NFD = (unicodedata.normalize(form, "\u00e9.png") for form in ("NFC", "NFD"))
GONE = "which is missing (moved, or not mounted here); restore that, or make the link anew."
SPELLING = "write it so in the list, or rename it."
START = "restore it or correct the line: its path starts from the working folder, {here}, and only ./datasets/ from --data-root."


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (
            "./datasets/toy/none.png",
            "{here}/data/toy/none.png is missing; restore it or correct --data-root '{here}/data'.",
        ),
        (
            "./datasets/toy\\none.png",
            "is missing; restore it or correct --data-root '{here}/data', or write / in place of \\.",
        ),
        ("./pictures/none.png", f"./pictures/none.png is missing; {START}"),
        ("datasets/toy/x.jpg", f"datasets/toy/x.jpg is missing; {START}"),  # the data root has it
        ("{here}/pictures/none.png", "{here}/pictures/none.png is missing; restore it or correct the line."),
        ("./datasets/toy/X.JPG", f"is missing, but {{here}}/data/toy/x.jpg is there, in other capitals; {SPELLING}"),
        ("./datasets/Toy/x.jpg", f"is missing, but {{here}}/data/toy is there, in other capitals; {SPELLING}"),
        (
            f"./datasets/toy/{NFC}",
            f"is missing, but {{here}}/data/toy/{NFD} is there, its letters composed otherwise (NFC and NFD of Unicode); {SPELLING}",
        ),
        ("./datasets/toy/link.png", f"{{here}}/data/toy/link.png is a link to {{here}}/moved/a.png, {GONE}"),
        (
            "./datasets/toy/far.png",
            f"is a link to {{here}}/data/toy/../../moved/a.png, {GONE}",
        ),  # by way of another link
        ("./datasets/away/a.png", f"is missing: the folder {{here}}/data/away is a link to {{here}}/moved, {GONE}"),
        ("./datasets/toy/x.jpg/a.png", "cannot be read (Not a directory); mend that."),
        (f"./datasets/toy/{'x' * 300}.png", "cannot be read (File name too long); mend that."),
        ("./datasets/toy/self.png", "cannot be read (Too many levels of symbolic links); mend that."),
        ("./datasets/toy/\0.png", "is missing; restore it or correct --data-root '{here}/data'."),
        ("./datasets/toy/empty.png", "{here}/data/toy/empty.png is empty; restore it."),
    ],
)
def test_why_a_listed_file_cannot_be_used(tmp_path, monkeypatch, listed, says):
    toy = tmp_path / "data/toy"
    toy.mkdir(parents=True)
    for name in ("x.jpg", NFD):
        (toy / name).write_text("content")
    (toy / "empty.png").touch()
    (toy / "link.png").symlink_to(tmp_path / "moved/a.png")
    (toy / "near.png").symlink_to("../../moved/a.png")
    (toy / "far.png").symlink_to("near.png")
    (toy / "self.png").symlink_to("self.png")
    (tmp_path / "data/away").symlink_to(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    rows = [Example("./datasets/toy/x.jpg", 0, 0), Example(listed.format(here=tmp_path), 0, 1)]
    with pytest.raises(InputError) as refusal:
        check_files(rows, "list.txt", tmp_path / "data")
    assert str(refusal.value).startswith("list.txt, line 2: the image ")
    assert str(refusal.value).endswith(says.format(here=tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_entered_is_not_missing(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match=r"closed/a\.png cannot be read \(Permission denied\); mend that\.$"):
        check_files([Example("./datasets/closed/a.png", 0, 0)], "list.txt", tmp_path)


def test_files_that_are_there_are_asked_for_once_and_no_folder_is_looked_into(tmp_path, monkeypatch):
    """Lists have hundreds of thousands of rows."""
    (tmp_path / "a.png").write_text("content")
    asked, stat = [], os.stat
    monkeypatch.setattr(os, "stat", lambda file, *more, **how: asked.append(file) or stat(file, *more, **how))
    monkeypatch.setattr(os, "listdir", None)
    check_files([Example("./datasets/a.png", 0, index) for index in range(3)], "list.txt", str(tmp_path))
    assert asked == [f"{tmp_path}/a.png"] * 3
