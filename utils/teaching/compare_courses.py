"""Draws the learning curves of several courses into one figure, and prints them as a table.

    python -m utils.teaching.compare_courses butterflies CMaxGrad KMaxGrad random

Where every selection was run with --draws, the curves are means over the draws with their range; otherwise they are the single courses'.

Reads: the output folder of train_*_CMaxGrad.py, with the accuracies after every lesson of each selection (with --draws their tables).

Writes: <out>/compare_courses.png; with --simclr compare_courses_simclr.png.

Takes: 2 seconds on a CPU core. No GPU is used.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.base import figures
from utils.base.errors import InputError
from utils.base.files import expanded
from utils.data.outputs import Layout
from utils.running.launch import command, command_line
from utils.teaching.course import REPORTED_LESSONS
from utils.teaching.registry import SELECTORS


def read_draws(path: Path) -> list[list[float]]:
    """The curves of a table that `draws.write_draws` wrote: test accuracy (%) per lesson, of draw after draw.

    Raises:
        InputError: it is another table.
    """
    curves: dict[str, list[float]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                curves.setdefault(row["draw"], []).append(float(row["test_accuracy"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no table of draws ({type(error).__name__}: {error}); run the course with --draws anew."
        ) from error
    if not curves:
        raise InputError(f"{path} holds no draws; run the course with --draws anew.")
    return list(curves.values())


def curves_of(layout: Layout, selections: Sequence[str]) -> dict[str, list[list[float]]]:
    """Of each selection its learning curves: those of the draws if every selection has some, else the one of its course.

    Raises:
        InputError: a course was not run there.
    """
    drawn = [layout.draws(selection) for selection in selections]
    if all(path.exists() for path in drawn):
        return {selection: read_draws(path) for selection, path in zip(selections, drawn, strict=True)}
    curves = {}
    for selection in selections:
        path = layout.accuracy("test", selection)
        if not path.exists():
            raise InputError(f"{path} does not exist; run the course with --selection {selection} first.")
        try:
            curves[selection] = [np.load(path).tolist()]
        except (EOFError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read ({type(error).__name__}); run the course with --selection {selection} anew."
            ) from error
        if np.isnan(curves[selection]).any():
            raise InputError(
                f"{path} holds no accuracies, since no class of the test list was known; compare courses that were measured."
            )
    return curves


def compare(out: str | Path, selections: Sequence[str], simclr: bool = False) -> Path:
    """Draws the test accuracy per lesson of each selection, and prints it after some lessons and its mean.

    Raises:
        InputError: a course was not run there.
    """
    layout = Layout(Path(out), variant="simclr" if simclr else "")
    curves = curves_of(layout, selections)
    # Courses that ended early, where no pair remained, are compared as far as all draws of a selection go.
    tables = {
        name: np.array([curve[: min(map(len, some))] for curve in some]) for name, some in curves.items()
    }  # (draws, lessons)
    lines = {name: table.mean(0).tolist() for name, table in tables.items()}
    ranges = {name: (table.min(0).tolist(), table.max(0).tolist()) for name, table in tables.items() if len(table) > 1}
    numbers = range(1, max(map(len, lines.values())) + 1)
    figures.curves(layout.comparison, lines, numbers, "lessons", "student's test accuracy (%)", ranges=ranges)
    print(as_text(tables))
    return layout.comparison


def as_text(tables: dict[str, np.ndarray]) -> str:
    """Test accuracy (%) after some lessons and the mean of all lessons, a selection a line; the mean's range over the draws behind it."""
    width = max(map(len, tables))
    lessons = [lesson for lesson in REPORTED_LESSONS if lesson <= max(table.shape[1] for table in tables.values())]
    lines = [" " * width + "".join(f"{lesson:>6}" for lesson in lessons) + "    mean  (lessons; test accuracy in %)"]
    for name, table in tables.items():
        values = table.mean(0)
        cells = "".join(f"{values[lesson - 1]:6.1f}" if lesson <= len(values) else "     -" for lesson in lessons)
        means = table.mean(1)
        several = f"  ({means.min():.1f} to {means.max():.1f} over {len(means)} draws)" if len(means) > 1 else ""
        shorter = f"  of {len(values)} lessons" if len({table.shape[1] for table in tables.values()}) > 1 else ""
        lines.append(f"{name:{width}}{cells}  {means.mean():6.1f}{shorter}{several}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = command_line("utils.teaching.compare_courses", __doc__)
    parser.add_argument("out", type=expanded, metavar="OUT", help="output folder of the teaching script")
    parser.add_argument(
        "selections", nargs="+", metavar="SELECTION", help=f"what was run there: {', '.join(SELECTORS)}"
    )
    parser.add_argument("--simclr", action="store_true", help="the courses of the SimCLR variant")
    arguments = parser.parse_args()
    with command("compare_courses"):
        print(compare(arguments.out, arguments.selections, arguments.simclr))


if __name__ == "__main__":
    main()
