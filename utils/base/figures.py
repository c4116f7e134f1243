"""Drawing: curves, confusion matrices and pages of pictures, in one style. What a figure is of, its callers know."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from utils.base.files import PNG_COMPRESSION, channels_last, encode_png, replacing, write_bytes, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DPI = 120
SIDE = 168  # pixels: side of a picture on a page of many
GAP, HEADLINE = 10, 60  # pixels: room beside a picture, and above it for two lines of title
APART = 4  # pixels between the titles of neighbours, at least
NUMBERED = 20  # classes: a confusion matrix of more has no numbers in its cells, and does not grow with them any more
NAMES = 100  # along a side of it, at most: beyond, every second class is named, every third ...
LONGEST_NAME = 32  # characters of a class name there
# Matplotlib takes each glyph from the first of these that has it. The others cover Chinese, Japanese and Korean on Linux, macOS and Windows.
FONTS = [
    "DejaVu Sans",
    "Noto Sans",
    *(f"Noto Sans CJK {region}" for region in ("SC", "TC", "JP", "KR")),
    *(
        "Noto Sans SC",
        "Noto Sans JP",
        "Noto Sans KR",
        "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei",
        "Droid Sans Fallback",
    ),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic"),
]
CONFUSIONS = ("truth", "answer", "count", "percent")  # columns of the table of confusions


def figure(width: float, height: float, **options) -> "Figure":
    """Returns an empty figure; sides in inches."""
    # Importing matplotlib takes half a second, and figures are drawn when a run ends.
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it complains about each missing family
    rcParams.update({"font.family": FONTS, "text.parse_math": False})
    return Figure(figsize=(width, height), **options)


def drawable(names: Sequence[str]) -> list[str]:
    """Class names in label order as figures can show them: `class 3` if a glyph is missing, with one warning."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    missing = {glyph for name in names for glyph in name if not glyph.isspace()}
    for family in FONTS:
        try:
            font = get_font(findfont(FontProperties(family=family), fallback_to_default=False))
        except ValueError:  # not installed
            continue
        missing -= set(map(chr, font.get_charmap()))
    replaced = {label: f"class {label}" for label, name in enumerate(names) if missing & set(name)}
    if replaced:
        listed = ", ".join(f"{names[label]} ({number})" for label, number in replaced.items())
        warnings.warn(
            f"Figures show numbers for these class names, because no installed font contains them: {listed}. Install a font that does, "
            "such as Noto Sans CJK (on Debian and Ubuntu: apt install fonts-noto-cjk).",
            stacklevel=2,
        )
    return [replaced.get(label, name) for label, name in enumerate(names)]


def save(path: str | Path, drawn: "Figure") -> None:
    """Writes a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        drawn.savefig(temporary, dpi=DPI, pil_kwargs={"compress_type": PNG_COMPRESSION})


Tile = tuple[Tensor, str] | None  # a picture and its title; None leaves the place empty


def tiles(path: str | Path, lines: Sequence[Sequence[Tile]]) -> None:
    """Pictures in lines, each below its title: images uint8 (3, h, w), or maps (H, W) in colours from lowest to highest value.

    A title that is wider than its picture is broken into two lines, and what is too wide even then is cut off. Matplotlib writes the
    titles alone; the pictures are put into its canvas, for drawing them takes it several times as long.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    width, height = max(map(len, lines)) * (SIDE + GAP) + GAP, len(lines) * (SIDE + HEADLINE) + GAP
    drawn = figure(width / DPI, height / DPI, dpi=DPI)
    shown = [(row, column, tile) for row, line in enumerate(lines) for column, tile in enumerate(line) if tile]
    canvas, places = FigureCanvasAgg(drawn), {}
    for row, column, (picture, title) in shown:
        left, top = GAP + column * (SIDE + GAP), HEADLINE + row * (SIDE + HEADLINE)
        text = drawn.text(
            (left + SIDE / 2) / width, 1 - (top - GAP) / height, title, fontsize=8, ha="center", va="bottom"
        )

        def pixels(words: str, text: "Text" = text) -> float:
            text.set_text(words)
            return text.get_window_extent(canvas.get_renderer()).width

        text.set_text(fitted(title, SIDE + GAP - APART, pixels))
        places[left, top] = picture
    canvas.draw()
    page = np.array(canvas.buffer_rgba())[..., :3]
    for (left, top), picture in places.items():
        page[top : top + SIDE, left : left + SIDE] = _tile(picture)
    write_bytes(path, encode_png(page))


def fitted(title: str, room: float, pixels: Callable[[str], float]) -> str:
    """A title of one line or two in lines that are no wider than `room`: a single line is broken between words, and what is too wide even
    then ends with an ellipsis; `pixels` tells how wide a line is."""
    lines = title.split("\n")
    words = title.split(" ")
    if len(lines) == 1 and len(words) > 1 and pixels(title) > room:
        first = max((n for n in range(1, len(words)) if pixels(" ".join(words[:n])) <= room), default=1)
        lines = [" ".join(words[:first]), " ".join(words[first:])]
    return "\n".join(_cut_off(line, room, pixels) for line in lines)


def _cut_off(line: str, room: float, pixels: Callable[[str], float]) -> str:
    """As much of a line as there is room for."""
    if pixels(line) <= room:
        return line
    return next((part for end in range(len(line) - 1, 0, -1) if pixels(part := line[:end] + "…") <= room), "…")


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
        if not points:
            continue
        panels[1].plot(
            *zip(*points, strict=True), label=name.removesuffix("_accuracy"), marker="." if len(points) < 60 else None
        )
    if accuracies:
        panels[1].set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 101))
        panels[1].legend()
    for axes in panels:
        axes.grid(alpha=0.3)
    save(path, drawn)


def confusion_matrix(path: str | Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Draws counts (C, C), rows the true class, columns the answer; colours by the share of the row.

    With many classes it stays of one size, and shows colours alone; which classes are confused, the table beside it tells
    (`confusions`, under the same name with the ending `.csv`).
    """
    write_table(Path(path).with_suffix(".csv"), confusions(counts, classes), CONFUSIONS)
    side, few = min(len(classes), NUMBERED), len(classes) <= NUMBERED
    drawn = figure(2.2 + 0.8 * side, 1.8 + 0.7 * side, layout="constrained")
    axes = drawn.add_subplot()
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    if few:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    else:
        from matplotlib.colors import PowerNorm

        shown = axes.imshow(
            100 * shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100)
        )  # by the root: rare confusions shall show too
        drawn.colorbar(shown, ax=axes, label="share of the true class (%)", shrink=0.5)
    named, shown_names = range(0, len(classes), -(-len(classes) // NAMES)), drawable(classes)
    names = [_shortened(shown_names[label]) for label in named]
    axes.set_xticks(named, names, rotation=30 if few else 90, ha="right" if few else "center")
    axes.set_yticks(named, names)
    if not few:
        axes.tick_params(labelsize=8)
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_title(title, wrap=True)  # with two classes the figure is narrower than some titles
    save(path, drawn)


def remove_matrix(path: str | Path) -> None:
    """Removes a confusion matrix of an earlier run, and its table: there is nothing now that they could show."""
    for file in (Path(path), Path(path).with_suffix(".csv")):
        file.unlink(missing_ok=True)


def confusions(counts: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Every confusion in counts (C, C), rows the true class, columns the answer: the most frequent first, of equals the one that is a
    larger share of its true class's images (`percent`), then in the order of the classes."""
    totals = counts.sum(1).tolist()
    wrong = [(row, column, int(counts[row, column])) for row, column in np.argwhere(counts).tolist() if row != column]
    wrong.sort(key=lambda one: (-one[2], totals[one[0]]))
    return [
        dict(zip(CONFUSIONS, (classes[row], classes[column], count, round(100 * count / totals[row], 2)), strict=True))
        for row, column, count in wrong
    ]


def _shortened(name: str) -> str:
    """A class name as the side of a matrix can show it."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
