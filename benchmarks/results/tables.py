"""CSV, figure and Markdown of a table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from utils.base import figures
from utils.base.files import write_table


def save(cfg, name: str, rows: Sequence[dict], draw: Callable[[Path], None] | None = None) -> None:
    """Writes <out>/<name>.csv and its figure <name>.png, if there is one, and prints the rows as Markdown."""
    write_table(Path(cfg.out, f"{name}.csv"), rows)
    if draw:
        draw(Path(cfg.out, f"{name}.png"))
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    print(f"\n{name}\n\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n", flush=True)


def draw_bars(path: Path, rows: Sequence[dict], named_by: Sequence[str], columns: Sequence[str], label: str) -> None:
    """Draws some columns of a table as horizontal bars, a group per row, with `label` on the axis."""
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
