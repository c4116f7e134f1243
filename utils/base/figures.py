"""Drawing: curves, confusion matrices and pages of pictures, in one style. What a figure is of, its callers know."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from utils.base import fonts
from utils.base.files import replacing, write_bytes
from utils.base.png import COMPRESSION, channels_last, encode_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
SIDE = 168  # pixels: side of a picture on a page of many
GAP, HEADLINE = 10, 60  # pixels: room beside a picture, and above it for two lines of title


def figure(width: float, height: float, **options) -> "Figure":
    """An empty figure; sides in inches."""
    # Imported here because it takes half a second, and figures are drawn when a run ends: scripts start sooner without it.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


def save(path: str | Path, drawn: "Figure") -> None:
    """Writes a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        drawn.savefig(temporary, dpi=DPI, pil_kwargs={"compress_type": COMPRESSION})


def tiles(path: str | Path, lines: Sequence[Sequence[tuple[Tensor, str]]]) -> None:
    """Pictures in lines, each below its title: images uint8 (3, h, w), or maps (H, W) in colours from lowest to highest value.

    Matplotlib writes the titles alone; the pictures are put into its canvas, for drawing them takes it several times as long.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    width, height = max(map(len, lines)) * (SIDE + GAP) + GAP, len(lines) * (SIDE + HEADLINE) + GAP
    drawn = figure(width / DPI, height / DPI, dpi=DPI)
    style = fonts.style(title for pictures in lines for _, title in pictures)
    places = {}
    for line, pictures in enumerate(lines):
        for column, (picture, title) in enumerate(pictures):
            left, top = GAP + column * (SIDE + GAP), HEADLINE + line * (SIDE + HEADLINE)
            drawn.text((left + SIDE / 2) / width, 1 - (top - GAP) / height, title, fontsize=8, ha="center", va="bottom", **style)
            places[left, top] = picture
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    page = np.array(canvas.buffer_rgba())[..., :3]
    for (left, top), picture in places.items():
        page[top : top + SIDE, left : left + SIDE] = _tile(picture)
    write_bytes(path, encode_png(page))


def _tile(picture: Tensor) -> Image.Image:
    """An image uint8 (3, h, w) or a map (H, W), SIDE pixels wide and high."""
    if picture.ndim == 3:
        return Image.fromarray(channels_last(picture)).resize((SIDE, SIDE))
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    colours = colormaps["viridis"](Normalize()(picture.numpy()), bytes=True)
    return Image.fromarray(colours).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)


def curves(
    path: str | Path,
    lines: Mapping[str, Sequence[float]],
    x: Sequence[float],
    x_label: str,
    y_label: str,
    chance: float | None = None,
    ranges: dict[str, tuple[Sequence[float], Sequence[float]]] | None = None,
):
    """Draws lines over common x values; `chance` adds a dashed horizontal line, `ranges` lowest and highest values as a band."""
    drawn = figure(6.4, 4.2, layout="constrained")
    axes = drawn.add_subplot()
    for name, values in lines.items():
        (line,) = axes.plot(x[: len(values)], values, marker="." if len(values) < 60 else None, label=name)
        if ranges and name in ranges:
            axes.fill_between(x[: len(values)], *ranges[name], color=line.get_color(), alpha=0.15, linewidth=0)
    if chance is not None:
        axes.axhline(chance, color="grey", linestyle="--", linewidth=1, label="chance")
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.locator_params(axis="x", integer=True)  # epochs and lessons are whole
    axes.grid(alpha=0.3)
    axes.legend()
    save(path, drawn)


def training_curves(path: str | Path, history: Sequence[dict]) -> None:
    """Loss and accuracies over the epochs, side by side.

    Args:
        path: the PNG.
        history: one dict per epoch with `epoch`, `loss` and any number of `*_accuracy` in percent (empty where not measured).
    """
    accuracies = [name for name in history[0] if name.endswith("_accuracy")]
    drawn = figure(9.6 if accuracies else 5.2, 3.8, layout="constrained")
    panels = drawn.subplots(1, 2 if accuracies else 1, squeeze=False)[0]
    panels[0].plot([row["epoch"] for row in history], [row["loss"] for row in history], color="black")
    panels[0].set(xlabel="epoch", ylabel="loss")
    for name in accuracies:
        points = [(row["epoch"], row[name]) for row in history if row[name] != ""]
        panels[1].plot(*zip(*points, strict=True), label=name.removesuffix("_accuracy"), marker="." if len(points) < 60 else None)
    if accuracies:
        panels[1].set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 101))
        panels[1].legend()
    for axes in panels:
        axes.grid(alpha=0.3)
    save(path, drawn)


def confusion_matrix(path: str | Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Draws counts (C, C), rows the true class, columns the answer; colours by the share of the row."""
    names, style = fonts.drawable(classes), fonts.style(classes)
    drawn = figure(2.2 + 0.8 * len(classes), 1.8 + 0.7 * len(classes), layout="constrained")
    axes = drawn.add_subplot()
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    axes.set_xticks(range(len(classes)), names, rotation=30, ha="right", **style)
    axes.set_yticks(range(len(classes)), names, **style)
    axes.set(xlabel="answer", ylabel="truth", title=title)
    save(path, drawn)
