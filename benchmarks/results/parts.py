"""Which parts the results have; one more is one file and one line here."""

from collections.abc import Callable, Iterable

from benchmarks.results import courses, explanations, labels
from benchmarks.results.table import Table
from benchmarks.results.work import Work

Part = Callable[[Work], Iterable[Table]]  # each table is written as it comes

PARTS: dict[str, Part] = {
    "courses": courses.tables,
    "explanations": explanations.tables,
    "labels": labels.tables,
}
