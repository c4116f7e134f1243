"""Where the page of results and the CSVs differ, by table, row and column.

    make results-check
    python -m benchmarks.results.check --out results

Every table between markers is held against the CSV beside the page, and that against the one of a run's output folder, if --out names one
that is there. Exit status 1 where something differs.

Reads: the page, and the CSVs beside it and in the output folder.

Writes: nothing.

Takes: a second. No GPU is used.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.results.page import copies, from_markdown, markers, named, section
from utils.base.errors import InputError
from utils.base.files import expanded
from utils.running.launch import command


def read_csv(path: Path) -> list[list[str]]:
    """Header and rows of a CSV, as text; nothing where there is no such file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def compared(name: str, one: list[list[str]], other: list[list[str]], names: tuple[str, str]) -> Iterator[str]:
    """Where two tables differ, a sentence each.

    Args:
        name: the table.
        one, other: header and rows, as text.
        names: what to call them.
    """
    if not one or not other:
        if one or other:
            yield f"{name}: {names[0] if one else names[1]} has it, {names[1] if one else names[0]} has not."
        return
    if one[0] != other[0]:
        yield f"{name}: the columns of {names[0]} are {', '.join(one[0])}; of {names[1]} {', '.join(other[0])}."
        return
    if len(one) != len(other):
        yield f"{name}: {names[0]} has {len(one) - 1} rows, {names[1]} {len(other) - 1}."
    for number, (here, there) in enumerate(zip(one[1:], other[1:], strict=False), start=1):
        if len(here) != len(there):
            yield f"{name}, row {number}: {names[0]} has {len(here)} cells, {names[1]} {len(there)}."
            continue
        for column, a, b in zip(one[0], here, there, strict=False):
            if a != b:
                yield f"{name}, row {number} ({here[0]}), column {column}: {names[0]} says {a or 'nothing'}, {names[1]} {b or 'nothing'}."


def differences(page: Path, out: Path | None = None) -> Iterator[str]:
    """All that differs between a page, the CSVs and figures beside it, and the CSVs of an output folder, if one is given.

    Raises:
        InputError: there is no page, or a marker is missing.
    """
    if not page.exists():
        raise InputError(f"--page {page} does not exist; make it with python -m benchmarks.results.")
    text, folder = page.read_text(encoding="utf-8"), copies(page)
    tables = named(text)
    for name in tables:
        shown = from_markdown(section(text, markers(name), page) or "")
        yield from compared(name, shown, read_csv(folder / f"{name}.csv"), ("the page", f"{folder / name}.csv"))
        if shown and not (folder / f"{name}.png").exists():
            yield f"{name}: its figure {folder / name}.png is missing."
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in tables:
            yield f"{path.stem}: {path} is shown nowhere on the page."
    for path in sorted(out.glob("*.csv")) if out else ():
        beside = folder / path.name
        yield from compared(path.stem, read_csv(beside), read_csv(path), (str(beside), str(path)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=expanded, default="docs/results.md", help="the page")
    parser.add_argument("--out", type=expanded, help="output folder of python -m benchmarks.results")
    arguments = parser.parse_args()
    with command("results-check"):
        found = list(differences(Path(arguments.page), Path(arguments.out) if arguments.out else None))
        print("\n".join(found) or f"{arguments.page} says what the CSVs say.")
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
