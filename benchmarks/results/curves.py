"""Figures of the results: learning curves side by side, and bars."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.base import figures

Curves = Sequence[Sequence[float]]  # test accuracy (%) after each lesson, of draw after draw
COLUMNS, WIDTH, HEIGHT = 2, 6.0, 4.2  # panels beside one another; sides of one in inches
IN_LINE = 3  # kinds of bars in a line of the legend


def shortest(curves: Curves) -> np.ndarray:
    """Curves (draws, lessons), as far as all of them go."""
    return np.array([curve[: min(map(len, curves))] for curve in curves])


def draw_panels(path: Path, panels: Mapping[str, Mapping[str, Curves]], levels: Mapping[str, float]) -> None:
    """Learning curves in panels of the same scale: means of the draws, and a band of one standard deviation to both sides.

    Args:
        path: the PNG.
        panels: by its title, the curves of a panel by their names; a name has the same colour in all.
        levels: by title, where a dashed line stands for the whole pool, in percent; panels without have none.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    drawn = figures.figure(columns * WIDTH, rows * HEIGHT, layout="constrained")
    grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        for name, curves in lines.items():
            table = shortest(curves)
            lessons, mean, colour = range(1, table.shape[1] + 1), table.mean(0), f"C{names.index(name)}"
            spread = table.std(0, ddof=1) if len(table) > 1 else np.zeros_like(mean)
            axes.plot(lessons, mean, marker=".", color=colour, label=name)
            axes.fill_between(lessons, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
        if title in levels:
            axes.axhline(levels[title], color="grey", linestyle="--", linewidth=1, label="the whole pool")
        axes.set(title=title, xlabel="lessons", ylabel="student's test accuracy (%)")
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figures.save(path, drawn)


def draw_bars(path: Path, names: Sequence[str], bars: Mapping[str, Sequence[float]], label: str) -> None:
    """Bars from the left, one of each kind for every name.

    Args:
        path: the PNG.
        names: what the groups are, from top to bottom.
        bars: by kind, a value for each name.
        label: what the values are.
    """
    drawn = figures.figure(7.2, 1.2 + 0.22 * len(names) * (len(bars) + 1), layout="constrained")
    axes = drawn.add_subplot()
    thick = 1 / (len(bars) + 1)
    for place, (kind, values) in enumerate(bars.items()):
        axes.barh([number + place * thick for number in range(len(names))], values, thick, label=kind)
    axes.set_yticks([number + (len(bars) - 1) * thick / 2 for number in range(len(names))], names)
    axes.invert_yaxis()
    axes.set(xlabel=label)
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    # Outside, where it covers no bar: with long bars there is no free corner.
    drawn.legend(fontsize=8, loc="outside upper center", ncols=IN_LINE)
    figures.save(path, drawn)
