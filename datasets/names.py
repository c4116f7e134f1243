"""Names that lists can express and that leave room for the names derived from them."""

import os
import re

from utils.data.lists import safe_name, shortened

# Of 255 bytes that file systems take; `_groundtruth_<a>_counter_<b>_index_<i>.png` and the mark of a temporary file need the others.
LONGEST_STEM = 150
LONGEST_CLASS = 100
LONGEST_DATASET = 80
ENDING = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?|ppm|pgm|jp2)", re.IGNORECASE)


class Namer:
    """Gives safe names, each of them once; a file system may take capitals and small letters for the same."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._number: dict[str, int] = {}

    def name(self, text: str, longest: int, ending: str = "") -> str:
        """A name like `text`: letters, digits, `_`, `.` and `-`, at most `longest` bytes, and `_2`, `_3` ... behind it where it is taken.

        Args:
            text: what people call it.
            longest: bytes of the name, `ending` not counted.
            ending: goes behind the number.
        """
        stem = name = safe_name(text, longest)
        first = f"{stem}{ending}".casefold()
        while f"{name}{ending}".casefold() in self._taken:
            self._number[first] = number = self._number.get(first, 1) + 1
            name = f"{shortened(stem, longest - len(str(number)) - 1)}_{number}"
        self._taken.add(f"{name}{ending}".casefold())
        return f"{name}{ending}"


def file_name(namer: Namer, path: str) -> str:
    """A safe name for a file, its ending in small letters."""
    stem, ending = os.path.splitext(path.rsplit("/", 1)[-1])
    return (
        namer.name(stem, LONGEST_STEM, ending.lower())
        if ENDING.fullmatch(ending)
        else namer.name(stem + ending, LONGEST_STEM)
    )
