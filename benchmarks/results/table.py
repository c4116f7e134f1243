"""A table of results: its rows, what they are, and its figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.base.files import write_table


@dataclass(frozen=True)
class Table:
    """One table of the results, with its figure.

    Attributes:
        name: stem of its CSV and its figure.
        title: its heading on the page.
        text: Markdown: what the rows are, seeds, controls.
        command: the command that makes it alone.
        rows: the same keys in each; str, int, float (rounded already) or "". No rows: what it is of was not
            there, as `text` says.
        draw: writes its figure, a PNG, to a path.
    """

    name: str
    title: str
    text: str
    command: str
    rows: Sequence[dict]
    draw: Callable[[Path], None]

    @classmethod
    def empty(cls, name: str, title: str, reason: str, command: str) -> "Table":
        """A table of what was not there, as `reason`, a sentence, tells."""
        return cls(name, title, reason, command, [], lambda path: None)

    def write(self, folder: Path) -> None:
        """Writes `<name>.csv` and `<name>.png` into a folder; without rows it removes those of an earlier run."""
        csv, figure = folder / f"{self.name}.csv", folder / f"{self.name}.png"
        if self.rows:
            write_table(csv, self.rows)
            self.draw(figure)
        else:
            csv.unlink(missing_ok=True)
            figure.unlink(missing_ok=True)
