"""The page of results: tables stand between markers, which a run replaces; all else is prose, and stays."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results.table import Table
from utils.base.errors import InputError
from utils.base.files import write_bytes, write_text

BEGIN = re.compile(r"^<!-- table (\S+) -->$", flags=re.M)
ENVIRONMENT = "<!-- environment -->", "<!-- end environment -->"


def markers(name: str) -> tuple[str, str]:
    """The lines before and behind a table's section."""
    return f"<!-- table {name} -->", f"<!-- end {name} -->"


def section(text: str, between: tuple[str, str], source: str | Path) -> str | None:
    """What stands between two markers; None where the first is not there.

    Raises:
        InputError: the first is there without the second.
    """
    begin, end = between
    before, found, rest = text.partition(f"{begin}\n")
    if not found:
        return None
    inside, found, _ = rest.partition(f"{end}\n")
    if not found:
        raise InputError(f"{source}, line {before.count(chr(10)) + 1}: no line '{end}' follows '{begin}'; put it back.")
    return inside


def replaced(text: str, between: tuple[str, str], inside: str, source: str | Path) -> str:
    """The page with another section between two markers; at its end, with the markers, where they are not there.

    Raises:
        InputError: as in `section`.
    """
    begin, end = between
    old = section(text, between, source)
    if old is None:
        return f"{text.rstrip()}\n\n{begin}\n{inside}{end}\n".lstrip()
    return text.replace(f"{begin}\n{old}{end}\n", f"{begin}\n{inside}{end}\n", 1)


def named(text: str) -> list[str]:
    """The tables that have markers in a page."""
    return BEGIN.findall(text)


def copies(page: Path) -> Path:
    """The folder beside a page with the CSVs and figures that it shows: docs/results.md -> docs/results."""
    return page.with_suffix("")


def as_markdown(rows: Sequence[dict]) -> str:
    """Rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def from_markdown(text: str) -> list[list[str]]:
    """The first table in a Markdown text: its header and its rows, as text; nothing where there is none."""
    lines = re.search(r"(^\|.*\|\n)+", text, flags=re.M)
    if not lines:
        return []
    cells = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines[0].splitlines()
    ]
    return [cells[0], *cells[2:]]


def as_section(table: Table, page: Path) -> str:
    """What stands between a table's markers."""
    parts = [f"### {table.title}", table.text.strip(), f"```\n{table.command}\n```"]
    if table.rows:
        picture = f"{copies(page).name}/{table.name}.png"
        parts += [as_markdown(table.rows).rstrip(), f"![{table.title}]({picture})"]
    return "\n\n".join(parts) + "\n"


def put(page: Path, table: Table, written: Path) -> None:
    """Puts a table into a page, and copies of its CSV and figure beside it.

    Args:
        page: made where there is none.
        table: whose files were written.
        written: the folder where they were.

    Raises:
        InputError: a marker of the page is missing.
    """
    text = read(page)
    folder = copies(page)
    folder.mkdir(parents=True, exist_ok=True)
    if table.name not in named(text):
        print(f"{page} has no markers of the table {table.name} yet: it is put at the end.")
    text = replaced(text, markers(table.name), as_section(table, page), page)
    for suffix in (".csv", ".png"):
        source, target = written / f"{table.name}{suffix}", folder / f"{table.name}{suffix}"
        if table.rows:
            write_bytes(target, source.read_bytes())
        else:
            target.unlink(missing_ok=True)
    write_text(page, text)


def read(page: Path) -> str:
    """The page's text; empty where there is no page yet."""
    return page.read_text(encoding="utf-8") if page.exists() else ""
