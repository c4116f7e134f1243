"""The contact sheet: some images of a list, each with its maps and its explanation against the strongest wrong class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from utils.base import figures

SHEET_ROWS = 12


@dataclass(frozen=True)
class SheetRow:
    """One image of the contact sheet."""

    image: Tensor  # uint8 (3, s, s)
    panels: list[tuple[Tensor, str]]  # the explainer's maps (H, W) with their titles
    machine: Tensor  # E, uint8 (3, s, s)
    people: Tensor  # red border, uint8 (3, s, s)
    label: int
    counter: int


def contact_sheet(path: str | Path, rows: Sequence[SheetRow], classes: Sequence[str]) -> None:
    """Draws one image per row: the image, the maps of the explainer, E, and the red border."""
    names, lines = figures.drawable(classes), []
    for row in rows:
        title = f"a = {names[row.label]}\nb = {names[row.counter]}"
        lines.append(
            [(row.image, title), *row.panels, (row.machine, "E (machine)"), (row.people, "red border (people)")]
        )
    figures.tiles(path, lines)


def spread(total: int, wanted: int) -> list[int]:
    """Returns up to `wanted` numbers, evenly spread over 0 .. total - 1, ascending."""
    return sorted({round(place * (total - 1) / max(1, wanted - 1)) for place in range(wanted)})
