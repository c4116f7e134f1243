"""Draws the learning curves of several courses into one figure: `python -m utils.teaching.compare_courses toy CMaxGrad random`.

Takes the output folder of a teaching script and the selections that were run there; writes `<out>/compare_courses.png`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils import figures
from utils.errors import InputError
from utils.layout import Layout


def compare(out: str | Path, selections: Sequence[str], simclr: bool = False) -> Path:
    """Draws the test accuracy per lesson of each selection.

    Raises:
        InputError: a course was not run there.
    """
    layout = Layout(Path(out), "", simclr)
    lines = {}
    for selection in selections:
        path = layout.accuracy("test", selection)
        if not path.exists():
            raise InputError(f"{path} does not exist; run the course with --selection {selection} first.")
        lines[selection] = np.load(path).tolist()
    numbers = range(1, max(len(values) for values in lines.values()) + 1)
    figures.curves(layout.comparison, lines, numbers, "lessons", "student's test accuracy (%)")
    return layout.comparison


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="output folder of the teaching script")
    parser.add_argument("selections", nargs="+", help="CMaxGrad, MaxGrad, random")
    parser.add_argument("--simclr", action="store_true", help="the courses of the SimCLR variant")
    arguments = parser.parse_args()
    try:
        print(compare(arguments.out, arguments.selections, arguments.simclr))
    except InputError as error:
        print(f"compare_courses: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
