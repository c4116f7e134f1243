"""What is said of real people: two tables and their figures, from what `people` measured."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.results import stages
from benchmarks.results.table import Table
from utils.base import figures
from utils.people.prediction import summary

TABLE_ROW, NETWORK = "confusion table", "network taught all images"
EVERYBODY, WHOLLY = "all", "shown every class"  # whose answers are predicted


def named(kind: str, attention: bool) -> str:
    """What a student is called in the tables."""
    return f"{kind}, attention" if attention else kind


PREDICTED = """How well the answers of real people are predicted after their own twenty lessons, by students who were taught exactly the
pictures that each person was shown, in order, and then asked the same questions. The people are those of the public logs of explain_teach
(Mac Aodha et al., CVPR 2018). Students see frozen features of the weights that the end of this page names: `optimal` learns its head to
the end, `sgd` takes the published steps after every lesson (its features frozen, unlike the released student's), `exemplar` is
psychology's generalized context model (Nosofsky, 1986; beta is 5 and not fitted). With `attention` each lesson also teaches the picture's
region that SCOUT's explanation against the likeliest wrong class points at, 5 % of it, by a network taught the whole training list.

- `student_right`: how often the student itself is right, in percent, on the questions that people were asked.
- `log_likelihood`: mean natural logarithm of the share given to what was answered; higher is better. Of a student it is
  (1 - lapses) softmax(z / temperature) + lapses / C, both numbers fitted to the people of the other four of five folds.
- `auc`: within class. Among the answers of a fold to pictures of one true class, the share of pairs of a right and a wrong answer in which
  the right one was given the larger share of its true class, ties counting half; the mean over the classes. What knows the class alone has
  0.5.
- `with_table`, `gain`: log-likelihood of the student's shares times a power of the confusion table's, fitted alike, and how much that is
  above the table alone, fold by fold. Of the others' answers `gain` is that of its own log-likelihood.
- `people`: all, or those alone who were shown every class: who never saw a class can hardly name it, and a student knows that.
- `_sd`: standard deviation over the five folds. No person is in two folds, and nothing is fitted to a person who is predicted."""

COURSES = """What people would reach after other courses of twenty pictures, if they answered as the predictor of the largest `with_table`
({best}): that student's shares times a power of the confusion table's, fitted to all answers. Beside it stands what those reached who did
take a course, on the twenty questions that each was asked. All in percent: `student` is the student's own accuracy on all questions that
people were asked, `predicted` that of people by the predictor, `reached` what they reached. Courses that are picked have ten pairs, and
come each from another random 80 % of the training list; `explain_1vall` and `strict_1vall` are the lists that the logs' authors chose by
EXPLAIN and by STRICT, the same for everybody, so there is no spread over lists. `_sd` is over courses, and of `reached` over people."""


def made(measured: Sequence[dict], said: Sequence[str]) -> list[Table]:
    """The tables.

    Args:
        measured: of each experiment, as `people` gives it.
        said: why others were left out.
    """
    predictions = [row for one in measured for row in prediction_rows(one)]
    courses = [row for one in measured for row in course_rows(one)]
    best = ", ".join(f"`{one['best']}` on {one['dataset']}" for one in measured)
    texts = (
        [PREDICTED, *map(_predicted, measured), *said],
        [COURSES.format(best=best or "none was measured"), *map(_carried, measured), *said],
    )
    contents = (
        ("people", "Do students answer as people do?", predictions, partial(draw_predictions, rows=predictions)),
        ("people_courses", "What would people reach?", courses, partial(draw_courses, rows=courses)),
    )
    return [
        Table(name, title, "\n\n".join(text), stages.command("people"), rows, draw)
        for (name, title, rows, draw), text in zip(contents, texts, strict=True)
    ]


def prediction_rows(measured: dict) -> list[dict]:
    """A row per predictor: means and standard deviations over folds."""
    tables = {row["people"]: row["log_likelihood"] for row in measured["predictions"] if row["predictor"] == TABLE_ROW}
    rows = []
    for one in measured["predictions"]:
        better = one["with_table"] or one["log_likelihood"]
        gain = (
            summary(np.subtract(better, tables[one["people"]]))
            if one["predictor"] not in (TABLE_ROW, "chance")
            else None
        )
        values = {
            "log_likelihood": summary(one["log_likelihood"]),
            "auc": summary(one["auc"]),
            "with_table": one["with_table"] and summary(one["with_table"]),
            "gain": gain,
        }
        row = {
            "dataset": measured["dataset"],
            "people": one["people"],
            "count": one["count"],
            "predictor": one["predictor"],
        }
        row |= {"student_right": _rounded(one["right"], 1)}
        for name, pair in values.items():
            row |= {name: _rounded(pair and pair[0], 4), f"{name}_sd": _rounded(pair and pair[1], 4)}
        rows.append(row)
    return rows


def course_rows(measured: dict) -> list[dict]:
    """A row per course: what the student reaches, what people would, what people did."""
    rows = []
    for one in measured["courses"]:
        row = {"dataset": measured["dataset"], "course": one["course"], "courses": len(one["student"])}
        for name in ("student", "predicted", "reached"):
            mean, deviation = summary(one[name]) if one[name] else (None, None)
            several = len(one[name]) > 1
            row |= {name: _rounded(mean, 1), f"{name}_sd": _rounded(deviation, 1) if several else ""}
        rows.append(row | {"people": len(one["reached"]) or ""})
    return rows


def _rounded(value: float | None, digits: int) -> float | str:
    return "" if value is None else round(value, digits)


def _predicted(measured: dict) -> str:
    """What the people of an experiment are, and how much the students know of their answers."""
    people = (
        f"{measured['people']} people gave {measured['answers']:,} answers, {measured['right']:.1f} % of them right"
    )
    said = [f"On {measured['dataset']} {people}."]
    aucs = {(one["people"], one["predictor"]): one["auc"] for one in measured["predictions"]}
    for name, of in ((EVERYBODY, "all people"), (WHOLLY, "people who were shown every class")):
        rows = [
            row
            for row in prediction_rows(measured)
            if row["with_table_sd"] != "" and row["people"] == name and row["predictor"] != NETWORK
        ]
        if rows:
            best = max(rows, key=lambda row: row["auc"])
            network = aucs[name, NETWORK]
            ahead, spread = summary(np.subtract(aucs[name, best["predictor"]], network))
            said.append(
                f"Of {of} ({best['count']}) the students' largest AUC within class is {best['auc']:.3f} ({best['predictor']}), against 0.5 "
                f"of what knows the class alone and {summary(network)[0]:.3f} of the network that was taught all images, which knows which "
                f"pictures are hard and nothing of who was shown what: {ahead:+.3f} fold by fold (standard deviation {spread:.3f}). Beside "
                f"the confusion table that student adds {best['gain']:+.4f} (standard deviation over folds {best['gain_sd']:.4f}) to the "
                "log-likelihood of an answer."
            )
    return " ".join([*said, "Were the answers wholly told by the lessons, the AUC would be 1."])


def _carried(measured: dict) -> str:
    """What the choice of lessons does for the student, and what for people, in one honest sentence."""
    first, *others = course_rows(measured)
    picked = [row for row in others if row["people"] == ""]
    best = max(picked, key=lambda row: row["student"])
    return (
        f"On {measured['dataset']}, from {first['course']} to {best['course']} the student goes from {first['student']:.1f} to "
        f"{best['student']:.1f} %, and people, if it stood for them, from {first['predicted']:.1f} to {best['predicted']:.1f} %. So the "
        "machine student's gain is not known to carry over to people: this is the prediction of a model that knows little of their "
        "answers, and nobody has taken these courses yet."
    )


def draw_predictions(path: Path, rows: Sequence[dict]) -> None:
    """AUC within class and log-likelihood by predictor, with their spread over folds."""
    rows = [row | {"predictor": f"{row['predictor']} ({row['people']})"} for row in rows]
    _bars(
        path,
        rows,
        "predictor",
        (("auc", "AUC within class", 0.5), ("log_likelihood", "log-likelihood of an answer", None)),
    )


def draw_courses(path: Path, rows: Sequence[dict]) -> None:
    """What people would reach, and did, and what the student reaches, by course."""
    panels = (
        ("predicted", "people, predicted (%)", None),
        ("reached", "people, measured (%)", None),
        ("student", "student (%)", None),
    )
    _bars(path, rows, "course", panels)


def _bars(path: Path, rows: Sequence[dict], name: str, panels: Sequence[tuple[str, str, float | None]]) -> None:
    """Points with their spread, a line per row and a panel per column; a dashed line where a column has a value that says nothing."""
    several = len({row["dataset"] for row in rows}) > 1
    names = [f"{row['dataset']}: {row[name]}" if several else row[name] for row in rows]
    drawn = figures.figure(3.2 + 3.2 * len(panels), 1.2 + 0.32 * len(rows), layout="constrained")
    for axes, (column, label, nothing) in zip(
        drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        there = [(place, row[column], row[f"{column}_sd"] or 0) for place, row in enumerate(rows) if row[column] != ""]
        if there:
            places, values, spread = zip(*there, strict=True)
            axes.errorbar(values, places, xerr=spread, fmt="o", capsize=3, color="black")
        if nothing is not None:
            axes.axvline(nothing, color="grey", linestyle="--", linewidth=1)
        axes.set(xlabel=label, yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
        axes.grid(alpha=0.3)
    figures.save(path, drawn)
