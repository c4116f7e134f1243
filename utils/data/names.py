"""Names that lists can express: of a file, of the folder that it lies in, and so of the class that the folder is called after."""

import re
import unicodedata
from itertools import takewhile

from utils.base.files import NAME_BYTES
from utils.data.lists import MAY_STAND

# Marks that choose between forms of a character (of emoji, for instance) or join: nothing shows that they are there.
UNSEEN_MARKS = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def plain_name(name: str) -> str:
    """`name` with each run of characters other than letters, digits, `_`, `.` and `-` replaced by `_`: lists separate fields by blanks.

    The marks on letters, as vowels and tones are written in many scripts, are part of the letters.
    """
    return re.sub(r"[^\w.-]+", _replaced, name)


def _replaced(run: re.Match[str]) -> str:
    """What stands in a name for a run of other characters: the marks that belong to the letter before it, and `_` for the rest."""
    before = run.string[: run.start()][-1:]
    marks = "".join(takewhile(_is_mark, run[0])) if before.isalnum() else ""
    return marks if marks == run[0] else f"{marks}_"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc") and not UNSEEN_MARKS.match(character)


def fault(name: str) -> str:
    """Why no folder can be called `name`, or no list could name it: the end of a sentence that begins with the name; "" if it can be."""
    if name in ("", ".", ".."):
        return "is no name of a folder"
    if re.search(r"[/\\]", name):
        return "holds a path separator"
    if re.search(r"\s", name):
        return "holds a blank, which separates the fields of a list"
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in MAY_STAND:
            return f"holds U+{ord(character):04X}, which cannot be seen"
    length = len(name.encode())
    return f"is {length} bytes long, and {NAME_BYTES} are the most" if length > NAME_BYTES else ""


def safe(text: str, longest: int) -> str:
    """`text` as a name that is not hidden, without blanks, in composed letters, of at most `longest` bytes; never empty."""
    plain = plain_name(unicodedata.normalize("NFC", text))
    return shortened(re.sub(r"^[.-]+", "_", plain), longest) or "_"


def shortened(text: str, longest: int) -> str:
    """The first letters of `text` that fit into `longest` bytes."""
    return text.encode()[:longest].decode(errors="ignore")
