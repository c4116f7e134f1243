"""Which parts the results have; one more is one file and one line here."""

from collections.abc import Callable

from benchmarks.results import labels
from benchmarks.results.table import Table
from benchmarks.results.work import Work

Part = Callable[[Work], list[Table]]

PARTS: dict[str, Part] = {
    "labels": labels.tables,
}
