"""Names of folders that lists can express."""

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


@pytest.mark.parametrize("name", ["CabbageWhite", "Glaucous-winged", "St.Peter's&Co", "蝶", "क्‍ष", ".hidden", "x" * 255])
def test_what_can_be_one_may(name):
    assert fault(name) == ""
