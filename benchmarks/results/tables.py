"""CSV, figure and Markdown of a table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.base import figures
from utils.base.files import write_table

Curves = Sequence[Sequence[float]]  # test accuracy (%) after each lesson, for each draw


def save(cfg, name: str, rows: Sequence[dict], draw: Callable[[Path], None]) -> None:
    """Writes <out>/<name>.csv and <out>/<name>.png, and prints the rows as Markdown."""
    write_table(Path(cfg.out, f"{name}.csv"), rows)
    draw(Path(cfg.out, f"{name}.png"))
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    print(f"\n{name}\n\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n", flush=True)


def draw_panels(path: Path, panels: Mapping[str, Mapping[str, Curves]], levels: Mapping[str, float]) -> None:
    """Draws learning curves, a panel per kind of explanation: the mean of the draws and one standard deviation.

    Args:
        path: the PNG.
        panels: by title, curves by name.
        levels: by title, the height of a dashed line for the whole pool.
    """
    drawn = figures.figure(12, 4.2 * -(-len(panels) // 2), layout="constrained")
    grid = drawn.subplots(-(-len(panels) // 2), 2, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        for name, curves in lines.items():
            table = shortest(curves)
            lessons, mean, color = range(1, table.shape[1] + 1), table.mean(0), f"C{names.index(name)}"
            axes.plot(lessons, mean, marker=".", color=color, label=name)
            axes.fill_between(lessons, mean - table.std(0), mean + table.std(0), color=color, alpha=0.12, linewidth=0)
        if title in levels:
            axes.axhline(levels[title], color="grey", linestyle="--", label="the whole pool")
        axes.set(title=title, xlabel="lessons", ylabel="student's test accuracy (%)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    figures.save(path, drawn)


def shortest(curves: Curves) -> np.ndarray:
    """Returns the curves (draws, lessons), cut to the shortest."""
    return np.array([curve[: min(map(len, curves))] for curve in curves])


def draw_bars(path: Path, rows: Sequence[dict], named_by: Sequence[str], columns: Sequence[str], label: str) -> None:
    """Draws some columns of a table as horizontal bars, a group per row.

    Args:
        path: the PNG.
        rows: the table.
        named_by: columns that name a row.
        columns: columns to draw; an empty cell is 0.
        label: of the axis.
    """
    drawn = figures.figure(7.2, 1.2 + 0.22 * len(rows) * (len(columns) + 1), layout="constrained")
    axes, thickness = drawn.add_subplot(), 1 / (len(columns) + 1)
    for place, column in enumerate(columns):
        heights = [number + place * thickness for number in range(len(rows))]
        axes.barh(heights, [row[column] or 0 for row in rows], thickness, label=column)
    axes.set_yticks(range(len(rows)), [", ".join(row[name] for name in named_by) for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel=label)
    axes.grid(axis="x", alpha=0.3)
    drawn.legend(fontsize=8, loc="outside upper center", ncols=3)
    figures.save(path, drawn)
