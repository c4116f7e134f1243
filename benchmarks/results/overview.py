"""The tables of courses on one screen: of each dataset and student, how right the student is by which selection."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.results.curves import draw_bars
from benchmarks.results.table import Table

NAME, TITLE = "courses", "Courses at a glance"
TEXT = (
    "Of the tables below the means of all lessons and draws, test accuracy in percent, and how far the paper's selection and ours are "
    "ahead of random pairs, and ours of MaxHerding, draw by draw, with the standard deviation over the draws."
)
COMPARED = (
    ("KMaxGrad", "random"),
    ("KMaxGrad", "MaxHerding"),
    ("CMaxGrad", "random"),
)  # ours and the paper's, and with whom


@dataclass(frozen=True)
class Group:
    """Some rows of a table of courses that may be compared.

    Attributes:
        dataset, student, features, explanation: what was taught, to whom, on which features, with which explanations.
        rows: of the table: one of each selection, and that of the whole pool if it has one.
    """

    dataset: str
    student: str
    features: str
    explanation: str
    rows: Sequence[dict]


def overview(groups: Sequence[Group], command: str) -> Table:
    """The table that has a row for each group."""
    rows = [row(group) for group in groups]
    names = [", ".join((group.dataset, group.student, group.features, group.explanation)) for group in groups]
    selections = list(dict.fromkeys(one["selection"] for group in groups for one in group.rows))
    bars = {name: [found.get(name) or 0.0 for found in rows] for name in selections}
    draw = partial(draw_bars, names=names, bars=bars, label="student's test accuracy, mean of all lessons (%)")
    filled = [{column: found.get(column, "") for column in _columns(selections)} for found in rows]
    return Table(NAME, TITLE, TEXT, command, filled, draw)


def row(group: Group) -> dict:
    """A group as a row: the mean of each selection, and what those of `COMPARED` are ahead of others."""
    found = {
        "dataset": group.dataset,
        "student": group.student,
        "features": group.features,
        "explanation": group.explanation,
    }
    for one in group.rows:
        found[one["selection"]] = one["mean"]
        for name, other in COMPARED:
            if one["selection"] == name:
                found[f"{name} minus {other}"] = one[f"minus {other}"]
                found[f"sd of {name} minus {other}"] = one[f"sd of minus {other}"]
    return found


def _columns(selections: Sequence[str]) -> list[str]:
    differences = [
        column for name, other in COMPARED for column in (f"{name} minus {other}", f"sd of {name} minus {other}")
    ]
    return ["dataset", "student", "features", "explanation", *selections, *differences]
