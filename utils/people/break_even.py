"""From which accuracy on people's labels pay: the classifier that learned from them beside those that needed nobody."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from utils.base import figures
from utils.people.study import EXPERT, ON_SIMCLR, SELF_TRAINED, accuracies

# What needs no people, as the sentences and the figure call it: the `labels` of its rows, and the colour of its line.
WITHOUT_PEOPLE = {
    "the expert's images alone": (EXPERT, "tab:red"),
    "self-training": (SELF_TRAINED, "tab:purple"),
    "SimCLR features": (EXPERT + ON_SIMCLR, "tab:orange"),
    "self-training on SimCLR features": (SELF_TRAINED + ON_SIMCLR, "tab:brown"),
}


def break_even(qualities: Sequence[float], right: Sequence[float], level: float) -> float | None:
    """The annotators' accuracy above which what a classifier learns from them is better than a level.

    Args:
        qualities: the annotators' accuracies, ascending, 0 .. 1.
        right: the classifier's accuracy in percent for each of them; between two of them a straight line is drawn.
        level: in percent.

    Returns:
        Where the line leaves the level for good; the lowest accuracy if it never is at it or below, None if it is there at the highest.
    """
    not_better = [place for place, value in enumerate(right) if value <= level]
    if not not_better:
        return qualities[0]
    last = not_better[-1]
    if last == len(right) - 1:
        return None
    share = (level - right[last]) / (right[last + 1] - right[last])
    return qualities[last] + share * (qualities[last + 1] - qualities[last])


@dataclass(frozen=True)
class Alternative:
    """A classifier that needs no people, beside those that do.

    Attributes:
        name: a key of `WITHOUT_PEOPLE`.
        right: its accuracy in percent, one per seed.
        pays_from: the break-even of the means over the seeds.
        by_seed: that of every seed alone: its annotators against its classifier without.
    """

    name: str
    right: list[float]
    pays_from: float | None
    by_seed: list[float | None]

    @property
    def labels(self) -> str:
        """What its rows call it."""
        return WITHOUT_PEOPLE[self.name][0]

    def range_of_seeds(self) -> tuple[float | None, float | None]:
        """The lowest and the highest break-even of single seeds; None, never, is above all others."""
        ordered = sorted(self.by_seed, key=lambda quality: math.inf if quality is None else quality)
        return ordered[0], ordered[-1]

    def sentence(self, lowest: float) -> str:
        """From which accuracy on annotators pay against it; `lowest` is the lowest that was measured."""
        against = f"Against {self.name} ({fmean(self.right):.1f} % right)"
        if self.pays_from is None:
            found = "annotators never pay, even if they are always right"
        elif self.pays_from <= lowest:
            found = f"annotators pay at every accuracy measured, from {100 * lowest:.0f} % on"
        else:
            found = f"annotators pay if they are right on more than {100 * self.pays_from:.0f} % of the images"
        features = "; other features learn there, so it compares these too" if self.labels.endswith(ON_SIMCLR) else ""
        return f"{against}, {found}{self._spread()}{features}."

    def _spread(self) -> str:
        """The range of the seeds, as words."""
        if len(self.by_seed) == 1:
            return ""
        first, last = ("never" if quality is None else f"{100 * quality:.0f} %" for quality in self.range_of_seeds())
        return f" (single seeds: {first})" if first == last else f" (single seeds: {first} to {last})"


@dataclass(frozen=True)
class Findings:
    """The rows of a study, ordered.

    Attributes:
        qualities: the annotators' accuracies, ascending, 0 .. 1; the last is 1.
        points: for each of them the classifier's accuracies in percent, one per seed.
        alternatives: what needs no people, as far as the study has it.
    """

    qualities: list[float]
    points: list[list[float]]
    alternatives: list[Alternative]

    def as_measured(self) -> dict[str, dict]:
        """The alternatives for a run record: means in percent, and the annotators' accuracy above which people pay (None: never)."""
        return {
            one.name: {
                "test_accuracy": round(fmean(one.right), 2),
                "people_pay_from": _rounded(one.pays_from),
                "by_seed": [_rounded(value) for value in one.by_seed],
            }
            for one in self.alternatives
        }


def _rounded(quality: float | None) -> float | None:
    return None if quality is None else round(quality, 3)


def findings(rows: Sequence[dict]) -> Findings:
    """What the rows of study_annotators.csv say.

    Args:
        rows: dicts with `labels`, `annotator_accuracy` ("" where there are no annotators) and `test_accuracy`; the seeds come in the same
            order everywhere.
    """
    qualities = sorted({row["annotator_accuracy"] for row in rows} - {""})
    points = [[row["test_accuracy"] for row in rows if row["annotator_accuracy"] == quality] for quality in qualities]
    found, by_labels = [], accuracies(rows)
    for name, (labels, _) in WITHOUT_PEOPLE.items():
        right = by_labels.get(labels)
        if right:
            by_seed = [
                break_even(qualities, curve, level)
                for curve, level in zip(zip(*points, strict=True), right, strict=True)
            ]
            found.append(
                Alternative(name, right, break_even(qualities, list(map(fmean, points)), fmean(right)), by_seed)
            )
    return Findings(qualities, points, found)


def annotator_study(path: str | Path, found: Findings, title: str) -> None:
    """Classifier accuracy against annotator accuracy: the mean over the seeds with every seed as a dot, and what needs no people as
    lines, with the range of their seeds as bands; crosses where the curve leaves them.

    Args:
        path: the PNG.
        found: what is drawn.
        title: how it was measured.
    """
    drawn = figures.figure(7.2, 4.8, layout="constrained")
    axes = drawn.add_subplot()
    means = [np.mean(values) for values in found.points]
    axes.plot(found.qualities, means, marker="o", color="tab:blue", label="expert's and annotators' labels")
    for quality, values in zip(found.qualities, found.points, strict=True):
        axes.scatter([quality] * len(values), values, s=8, color="tab:blue", alpha=0.5)
    for one in found.alternatives:
        colour, level = WITHOUT_PEOPLE[one.name][1], fmean(one.right)
        pays = "never" if one.pays_from is None else f"from {100 * one.pays_from:.0f} %"
        axes.axhline(level, color=colour, linestyle="--", linewidth=1, label=f"{one.name}; people pay {pays}")
        axes.axhspan(min(one.right), max(one.right), color=colour, alpha=0.08, linewidth=0)
        if one.pays_from is not None and one.pays_from > found.qualities[0]:
            axes.plot([one.pays_from], [level], marker="x", color=colour, linestyle="none")
    axes.axhline(float(means[-1]), color="tab:green", linestyle="--", linewidth=1, label="expert labels for all")
    axes.set(xlabel="annotators' accuracy", ylabel="classifier's test accuracy (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figures.save(path, drawn)
