"""Text and tables as servers, crowdsourcing sites and spreadsheets write them, in the encodings and separators of any country."""

import codecs
import csv
import io
import json
import reprlib
import sys
from collections.abc import Iterator
from pathlib import Path

from utils.base.errors import InputError

LONGEST_SHOWN = 60  # characters of a value in a message
LONGEST_FIELD = 2**31 - 1  # characters of a CSV field: a batch holds all answers of a person in one
SEPARATORS = (",", ";", "\t")  # the second where commas are decimal, the third in what Excel calls Unicode text
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: str | Path) -> str:
    """The text of a file, its lines ended by newlines: UTF-8, UTF-16, or, for a table, what Windows uses in Western Europe.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    try:
        return _decoded(Path(path).read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; make it first or correct the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}); replace it.") from error


def _decoded(content: bytes) -> str:
    """A byte-order mark tells the encoding; without one, UTF-16 shows by the zero byte beside its first character."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    for zero, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if content[zero : zero + 1] == b"\0":
            return content.decode(encoding)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        if b"\0" in content or content.lstrip()[:1] in (b"[", b"{"):  # JSON is UTF-8
            raise
        return content.decode("cp1252", errors="replace")


def parsed_json(text: str, where: str | Path):
    """The value that JSON text stands for.

    Raises:
        InputError: it is not JSON, or holds a number of thousands of digits, which Python refuses with a ValueError of its own.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}); replace it.") from None
    except ValueError:
        raise InputError(
            f"{where} holds a number of more than {sys.get_int_max_str_digits()} digits; replace it."
        ) from None


def shown(value: object) -> str:
    """A value out of a file as a message may repeat it: not too long, and with nothing in it that a terminal would obey."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def csv_rows(text: str, path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV with the line that each begins on; the first is the header, as names of columns.

    Fields are separated by whatever separates most of them in the header. Lines without any content are passed over, and Excel's
    first line `sep=;`.

    Raises:
        InputError: the text is no CSV, or a row has not as many fields as the header.
    """
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator(text))
        header, line = None, 1
        for fields in reader:
            if any(field.strip() for field in fields) and not (line == 1 and _names_separator(text)):
                header = [name.strip() for name in fields] if header is None else header
                if len(fields) != len(header):
                    raise InputError(
                        f"{path}, line {line}: {len(fields)} fields, but the header has {len(header)}; correct the line."
                    )
                yield line, dict(zip(header, fields, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: this is not CSV ({error}); replace the file.") from None
    finally:
        csv.field_size_limit(limit)


def _names_separator(text: str) -> bool:
    return text[:4].lower() == "sep=" and text[5:6] in ("\n", "")


def separator(text: str) -> str:
    """The separator of a table, one of `SEPARATORS`, by its header."""
    if _names_separator(text) and text[4:5] in SEPARATORS:
        return text[4]
    first = text.lstrip("\n").split("\n", 1)[0]
    return max(SEPARATORS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))


def parsed_number(text: str, kind: type, separated_by: str) -> object:
    """A number in a table; the text itself where it is none.

    A comma is decimal only where it does not separate the fields. Where it does, it stands in a number to group its digits ("1,234"),
    or since somebody wrote decimals so; which, nobody knows, so that the text is no number then.

    Args:
        text: of the field.
        kind: `int` or `float`.
        separated_by: the table's `separator`.
    """
    try:
        return kind(text.replace(",", ".") if separated_by != "," and text.count(",") == 1 else text)
    except ValueError:
        return text
