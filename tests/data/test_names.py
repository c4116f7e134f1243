"""Names of folders that lists can express."""

import unicodedata

import pytest

from utils.data.names import fault, safe


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is no name of a folder"),
        (".", "is no name of a folder"),
        ("..", "is no name of a folder"),
        ("a/b", "holds a path separator"),
        ("a\\b", "holds a path separator"),
        ("a b", "holds a blank, which separates the fields of a list"),
        ("a\u3000b", "holds a blank, which separates the fields of a list"),
        ("a\u00adb", "holds U+00AD, which cannot be seen"),
        ("a\udcffb", "holds U+DCFF, which cannot be seen"),
        ("蝶" * 86, "is 258 bytes long, and 255 are the most"),
    ],
)
def test_what_cannot_be_a_folder_in_a_list_is_said(name, words):
    assert fault(name) == words
    assert fault(safe(name, 100)) == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ที่ รัก", "ที่_รัก"),
        ("हिन्दी (2)", "हिन्दी_2_"),
        ("עִבְרִית", "עִבְרִית"),
        ("a\u0301\u0323b", "ạ́b"),
        ("x\u0304 \u0304y", "x\u0304_y"),  # a mark on a blank
        ("\u0301a", "_a"),
        ("❤\ufe0f red", "_red"),
        ("1\ufe0f\u20e3", "1_"),
        ("葛\U000e0100", "葛_"),
        ("a, b", "a_b"),
    ],
)
def test_marks_on_letters_are_part_of_them(text, name):
    assert safe(text, 100) == unicodedata.normalize("NFC", name) and fault(safe(text, 100)) == ""


@pytest.mark.parametrize("name", ["CabbageWhite", "Glaucous-winged", "St.Peter's&Co", "蝶", "क्‍ष", ".hidden", "x" * 255])
def test_what_can_be_one_may(name):
    assert fault(name) == ""
