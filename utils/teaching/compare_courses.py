"""Compares selections: draws their learning curves into one figure and prints a table.

    python -m utils.teaching.compare_courses butterflies CMaxGrad KMaxGrad random

If every selection was run with --draws, the curves are means over the draws, with their range. Otherwise each is the
curve of one course.

Reads: the test accuracies of each selection, or its table of draws, in the output folder of train_*_CMaxGrad.py.

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
from utils.running.records import differing
from utils.running.resuming import recorded
from utils.teaching.course import REPORTED_LESSONS
from utils.teaching.registry import SELECTORS


def read_draws(path: Path) -> list[list[float]]:
    """Reads a table of draws: the test accuracies (%) of each draw, one per lesson."""
    curves: dict[str, list[float]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            curves.setdefault(row["draw"], []).append(float(row["test_accuracy"]))
    return list(curves.values())


def read_curves(layout: Layout, selections: Sequence[str]) -> dict[str, np.ndarray]:
    """Learning curves of each selection, (draws, lessons): its draws if every selection has some, else its one course.

    The draws of a selection are cut to the shortest.
    """
    drawn = all(layout.draws(selection).exists() for selection in selections)
    curves = {}
    for selection in selections:
        path = layout.draws(selection) if drawn else layout.accuracy("test", selection)
        try:
            table = read_draws(path) if drawn else [np.load(path).tolist()]
            curves[selection] = np.array([curve[: min(map(len, table))] for curve in table])
        except FileNotFoundError:
            raise InputError(f"{path} not found. Run the course with --selection {selection} first.") from None
        if np.isnan(curves[selection]).any():
            raise InputError(f"{path} contains no accuracies, because the classes of the test list are unknown.")
    return curves


def compare(out: str | Path, selections: Sequence[str], simclr: bool = False) -> Path:
    """Draws and prints the test accuracy of each selection after each lesson; returns the path of the figure."""
    layout = Layout(Path(out), variant="simclr" if simclr else "")
    curves = read_curves(layout, selections)
    lines = {name: table.mean(0).tolist() for name, table in curves.items()}
    ranges = {name: (table.min(0).tolist(), table.max(0).tolist()) for name, table in curves.items() if len(table) > 1}
    numbers = range(1, max(map(len, lines.values())) + 1)
    figures.curves(layout.comparison, lines, numbers, "lessons", "test accuracy of the student (%)", ranges=ranges)
    print(as_text(curves))
    script = f"run_*_CMaxGrad{simclr * '_simclr'}"
    runs = {name: recorded(path) for name in selections for path in layout.out.glob(f"{script}_{name}.json")}
    if unequal := differing(runs, aside={"selection", "save_students"}):
        print(f"warning: These runs differ in more than the selection: {unequal}.")
    return layout.comparison


def as_text(curves: dict[str, np.ndarray]) -> str:
    """One line per selection: test accuracy (%) after some lessons, mean over all lessons, range over the draws."""
    width = max(map(len, curves))
    longest = max(table.shape[1] for table in curves.values())
    lessons = [lesson for lesson in REPORTED_LESSONS if lesson <= longest]
    lines = [" " * width + "".join(f"{lesson:>6}" for lesson in lessons) + "    mean  (lessons; test accuracy in %)"]
    for name, table in curves.items():
        values, means = table.mean(0), table.mean(1)
        cells = "".join(f"{values[lesson - 1]:6.1f}" if lesson <= len(values) else "     -" for lesson in lessons)
        shorter = f"  of {len(values)} lessons" if len(values) < longest else ""
        draws = f"  ({means.min():.1f} to {means.max():.1f} over {len(means)} draws)" if len(means) > 1 else ""
        lines.append(f"{name:{width}}{cells}  {means.mean():6.1f}{shorter}{draws}")
    return "\n".join(lines)


def main() -> None:
    parser = command_line("utils.teaching.compare_courses", __doc__)
    parser.add_argument("out", type=expanded, metavar="OUT", help="output folder of the teaching script")
    known = f"selections that were run: {', '.join(SELECTORS)}"
    parser.add_argument("selections", nargs="+", metavar="SELECTION", help=known)
    parser.add_argument("--simclr", action="store_true", help="compare the courses of the SimCLR variant")
    arguments = parser.parse_args()
    with command("compare_courses"):
        print(compare(arguments.out, arguments.selections, arguments.simclr))


if __name__ == "__main__":
    main()
