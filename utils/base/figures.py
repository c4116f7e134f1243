"""Curves, confusion matrices and pages of pictures in one style."""

import logging
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from utils.base.files import PNG_COMPRESSION, channels_last, replacing, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

DPI = 120
TILE, GAP, HEADLINE = 168, 10, 60  # pixels: side of a picture in `tiles`, between pictures, and above for a title
TITLE_LETTERS = 24  # per line
NUMBERED = 20  # classes; larger confusion matrices show colors without numbers and grow no further
NAMES = 100  # most class names along each side of a confusion matrix
NAME_LETTERS = 32  # longest class name there
CONFUSIONS = ("truth", "answer", "count", "percent")  # columns of the table of confusions
# Matplotlib takes each glyph from the first font that has it. Most of these are for Chinese, Japanese and Korean.
FONTS = [
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Arial Unicode MS", "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic"),
]
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs missing fonts and unknown settings of the user


def figure(width: float, height: float, **options) -> "Figure":
    """Returns an empty figure; sides in inches."""
    # Importing matplotlib takes half a second, and figures are drawn when a run ends.
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # the style must not depend on the user's matplotlibrc
    matplotlib.rcParams.update({"font.family": FONTS, "text.parse_math": False})
    return Figure(figsize=(width, height), **options)


def drawable(names: Sequence[str]) -> list[str]:
    """Replaces class names (in label order) that no installed font can draw by `class 3`, with one warning."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    missing = {letter for name in names for letter in name if not letter.isspace()}
    for family in FONTS if missing else ():
        try:
            font = get_font(findfont(FontProperties(family=[family]), fallback_to_default=False))
        except ValueError:  # not installed
            continue
        missing -= set(map(chr, font.get_charmap()))
    replaced = {label: f"class {label}" for label, name in enumerate(names) if missing & set(name)}
    if replaced:
        listed = ", ".join(f"{names[label]} ({number})" for label, number in replaced.items())
        problem = f"No installed font can draw some class names, so figures show numbers: {listed}"
        advice = "Install another font, such as Noto Sans CJK (on Debian and Ubuntu: apt install fonts-noto-cjk)."
        warnings.warn(f"{problem}. {advice}", stacklevel=2)
    return [replaced.get(label, name) for label, name in enumerate(names)]


def save(path: str | Path, drawn: "Figure") -> None:
    with replacing(path) as temporary:
        drawn.savefig(temporary, dpi=DPI, pil_kwargs={"compress_type": PNG_COMPRESSION})


Tile = tuple["Tensor", str] | None  # a picture and its title; None leaves the place empty


def tiles(path: str | Path, rows: Sequence[Sequence[Tile]]) -> None:
    """Draws rows of pictures with titles: images uint8 (3, h, w), or maps (H, W) colored from minimum to maximum."""
    width, height = max(map(len, rows)) * (TILE + GAP) + GAP, len(rows) * (TILE + HEADLINE) + GAP
    drawn = figure(width / DPI, height / DPI, dpi=DPI)
    for row, line in enumerate(rows):
        for column, tile in enumerate(line):
            if tile is None:
                continue
            picture, title = tile
            left, top = GAP + column * (TILE + GAP), height - HEADLINE - row * (TILE + HEADLINE)
            # One axes per picture takes twice as long.
            drawn.figimage(_resized(picture), left, top - TILE, origin="upper")
            place = ((left + TILE / 2) / width, (top + GAP / 2) / height)
            drawn.text(*place, "\n".join(_title_lines(title)), fontsize=7, ha="center", va="bottom")
    save(path, drawn)


def _resized(picture: "Tensor") -> np.ndarray:
    if picture.ndim == 3:
        return np.asarray(Image.fromarray(channels_last(picture)).resize((TILE, TILE)))
    return np.asarray(Image.fromarray(picture.float().numpy()).resize((TILE, TILE), Image.Resampling.NEAREST))


def _title_lines(title: str) -> list[str]:
    """Breaks a long title into two lines and shortens each."""
    lines = title.split("\n") if "\n" in title else textwrap.wrap(title, TITLE_LETTERS, max_lines=2, placeholder=" …")
    return [_shortened(line, TITLE_LETTERS) for line in lines]


def _shortened(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"


def curves(
    path: str | Path,
    lines: Mapping[str, Sequence[float]],
    x: Sequence[float],
    x_label: str,
    y_label: str,
    chance: float | None = None,
    ranges: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> None:
    """Draws lines with error bands: `ranges` has the lower and upper values of a line. `chance` adds a dashed line."""
    drawn = figure(6.4, 4.2, layout="constrained")
    axes = drawn.add_subplot()
    for name, values in lines.items():
        (line,) = axes.plot(x[: len(values)], values, marker="." if len(values) < 60 else None, label=name)
        if ranges and name in ranges:
            axes.fill_between(x[: len(values)], *ranges[name], color=line.get_color(), alpha=0.15, linewidth=0)
    if chance is not None:
        axes.axhline(chance, color="gray", linestyle="--", linewidth=1, label="chance")
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    save(path, drawn)


def training_curves(path: str | Path, history: Sequence[dict]) -> None:
    """Draws loss and accuracies of epochs with `epoch`, `loss` and `*_accuracy` in percent ("" if not measured)."""
    accuracies = [name for name in history[0] if name.endswith("_accuracy")]
    panels = {"loss": ["loss"], "accuracy (%)": accuracies} if accuracies else {"loss": ["loss"]}
    drawn = figure(4.8 * len(panels), 3.8, layout="constrained")
    for axes, (label, names) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            points = [(row["epoch"], row[name]) for row in history if row[name] != ""]
            epochs, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(epochs, values, label=name.removesuffix("_accuracy"), marker=".")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    save(path, drawn)


def confusion_matrix(path: str | Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Draws counts (C, C), rows the true class, columns the answer, colored by the share of the row.

    Also writes the table of `confusions` under the same name with the ending `.csv`.
    """
    from matplotlib.colors import PowerNorm

    write_table(Path(path).with_suffix(".csv"), confusions(counts, classes), CONFUSIONS)
    side, few = min(len(classes), NUMBERED), len(classes) <= NUMBERED
    drawn = figure(2.2 + 0.8 * side, 1.8 + 0.7 * side, layout="constrained")
    axes = drawn.add_subplot()
    shares = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    # The square root makes rare confusions visible among many classes.
    shown = axes.imshow(shares, cmap="Blues", norm=PowerNorm(1 if few else 0.5, 0, 100))
    if few:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 50 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    else:
        drawn.colorbar(shown, ax=axes, label="share of the true class (%)", shrink=0.5)
        axes.tick_params(labelsize=8)
    labels = range(0, len(classes), -(-len(classes) // NAMES))
    names = drawable(classes)
    ticks = [_shortened(names[label], NAME_LETTERS) for label in labels]
    axes.set_xticks(labels, ticks, rotation=30 if few else 90, ha="right" if few else "center")
    axes.set_yticks(labels, ticks)
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_title(title, wrap=True)
    save(path, drawn)


def confusions(counts: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """Lists all confusions in counts (C, C), rows the true class, the most frequent first.

    Equal counts are sorted by `percent`, their share of the true class.
    """
    totals = counts.sum(1).tolist()
    wrong = [(row, column, int(counts[row, column])) for row, column in np.argwhere(counts).tolist() if row != column]
    wrong.sort(key=lambda one: (-one[2], totals[one[0]]))
    return [
        dict(zip(CONFUSIONS, (classes[row], classes[column], count, round(100 * count / totals[row], 2)), strict=True))
        for row, column, count in wrong
    ]
