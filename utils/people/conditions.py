"""Compares teaching conditions: people's test accuracy, their time, and how many people a comparison needs."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist, mean, median, stdev, variance

from scipy import stats

from utils.people.answers import Answer
from utils.people.labelling import Person

# Standard deviation of people's test accuracies within a condition, in percentage points: pooled over the 10 conditions
# (403 people, 20 test pictures) of explain_teach. `label.py --answers results.json` prints those of an experiment.
SPREAD = 21.7
PERMUTATIONS = 9_999


def first_tests(answers: Sequence[Answer]) -> list[Answer]:
    """Leaves out extra lessons and what comes after them: only people below the pass mark get them."""
    state: dict[str, set[str]] = {}  # phases of each person so far
    found = []
    for answer in answers:
        phases = state.setdefault(answer.person, set())
        phases.add("extra" if answer.phase == "lesson" and "test" in phases else answer.phase)
        found += [] if "extra" in phases else [answer]
    return found


def compare_conditions(people: Sequence[Person], seed: int) -> dict[str, list[dict]]:
    """Returns tables of the conditions with two or more tested people and of their differences; {} without any.

    People below --min-accuracy count too: without the bad results, the comparison would be biased. So would it be with
    second tests (`first_tests`).
    """
    rows, samples = [], {}
    for name in sorted({person.group for person in people}):
        members = [person for person in people if person.group == name]
        right = [person.test_accuracy for person in members if person.test_accuracy is not None]
        if len(right) > 1:
            samples[name] = right
            row = {"condition": name, "people": len(members), "tested": len(right)} | _interval("test_accuracy", right)
            times = [person.seconds for person in members if person.seconds is not None]
            rows.append(row | {"standard_deviation": stdev(right), "seconds": median(times) if times else None})
    differences = [
        {"condition": one, "baseline": other}
        | _interval("difference", samples[one], samples[other])
        | {"p": _permutation_test(samples[one], samples[other], seed)}
        for one, other in combinations(samples, 2)
    ]
    return {"conditions": rows, "differences": differences} if differences else {}


def _interval(name: str, *samples: Sequence[float]) -> dict[str, float]:
    """Returns the mean of a sample, or the difference of the means of two (Welch), with its 95 % t interval."""
    value = mean(samples[0]) - sum(map(mean, samples[1:]))
    parts = [variance(sample) / len(sample) for sample in samples]
    squares = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    freedom = sum(parts) ** 2 / squares if squares else 1
    reach = float(stats.t.ppf(0.975, freedom)) * math.sqrt(sum(parts))
    return {name: value, "low": value - reach, "high": value + reach}


def _permutation_test(one: Sequence[float], other: Sequence[float], seed: int) -> float:
    """Returns the two-sided p value of the difference of two means."""
    how = {"n_resamples": PERMUTATIONS, "batch": 1000, "random_state": seed}
    return float(stats.permutation_test((one, other), lambda a, b, axis: a.mean(axis) - b.mean(axis), **how).pvalue)


def people_needed(points: float) -> int:
    """Returns how many people each of two conditions needs for a power of 80 % (two-sided t test at 5 %).

    n = 2 ((z_0.975 + z_0.8) SPREAD / points)^2 + z_0.975^2 / 4 (Guenther, The American Statistician 1981).
    """
    z, power = map(NormalDist().inv_cdf, (0.975, 0.8))
    return math.ceil(2 * ((z + power) * SPREAD / points) ** 2 + z**2 / 4)
