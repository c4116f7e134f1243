"""Sanity checks, on both sides of each limit, with numbers computed by hand."""

import math

import numpy as np
import pytest
import torch

from utils.data.loading import ImageSet
from utils.running import checks

CLASSES = ("Monocle", "Spectacle", "Sash")
EQUAL = torch.arange(100) % 5  # labels of 100 images of five classes
NINE_TO_ONE = torch.tensor([0] * 90 + [1] * 10)


def test_warnings_are_appended():
    assert checks.constant_maps(0, 40) is None
    assert checks.constant_maps(12, 40).startswith("12 of 40 explanations have a constant map")
    assert checks.with_warnings({"loss": 1.0}, [None, None]) == {"loss": 1.0}
    once = checks.with_warnings({"loss": 1.0}, [None, "One."])
    assert once == {"loss": 1.0, "warnings": ["One."]}
    assert checks.with_warnings(once, ["Two."])["warnings"] == ["One.", "Two."]
    assert once["warnings"] == ["One."]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([2, 0, 1], None),
        ([2, -1, 1], "1 of 3 images of te.txt have unknown classes; accuracies leave them out."),
        ([1, 1], "te.txt has no image of Monocle, Sash: accuracy not measured."),
    ],
)
def test_unknown_and_missing_classes_of_a_test_list(labels, expected):
    test = ImageSet([], "te.txt", "", None)
    test.rows, test.labels = labels, torch.tensor(labels)
    assert checks.incomplete_test_list(test, CLASSES) == expected


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[0, 3, 0], [0, 2, 0], [0, 1, 0]], "answers Spectacle for every image of te.txt"),
        ([[1, 2, 0], [0, 2, 0], [0, 1, 0]], None),
        ([[0, 3, 0], [0, 0, 0], [0, 0, 0]], None),  # in a list of one class, one answer may be right
    ],
)
def test_one_answer_for_every_image(confusion, expected):
    found = checks.one_answer(np.array(confusion), CLASSES, "te.txt")
    assert found is None if expected is None else expected in found


def test_never_above_chance():
    """20 % + 3 x sqrt(0.2 x 0.8 / 100) = 32 %."""
    found = checks.never_above_chance([12.0, 31.9, 20.0], EQUAL, 5, "--lr and --steps")
    assert "31.9 % at best" in found and "up to 32.0 %" in found and found.endswith("--lr and --steps.")
    assert checks.never_above_chance([12.0, 32.1, 20.0], EQUAL, 5, "--lr") is None
    four = torch.arange(4) % 2  # so few that guessing could reach 100 %: the bound is 1 / C
    assert checks.never_above_chance([60.0], four, 2, "--lr") is None
    assert "up to 50.0 %" in checks.never_above_chance([50.0], four, 2, "--lr")


def test_chance_is_the_fraction_of_the_most_frequent_class():
    assert checks.chance(EQUAL, 5) == pytest.approx(1 / 5)
    assert checks.chance(NINE_TO_ONE, 2) == pytest.approx(0.9)
    assert checks.chance(torch.tensor([3, 3, 1, -1, -1, -1]), 4) == pytest.approx(2 / 3)  # of the known ones
    assert checks.chance(torch.tensor([1, 1, -1]), 4) == checks.chance(torch.tensor([-1]), 4) == 1 / 4


def test_unequal_classes():
    """At 90 : 10 of 100 images, three standard deviations are 3 x sqrt(0.9 x 0.1 / 100) = 9 %."""
    assert checks.never_above_chance([99.1], NINE_TO_ONE, 2, "--lr") is None
    assert "up to 99.0 %" in checks.never_above_chance([50.0, 98.9], NINE_TO_ONE, 2, "--lr")
    assert checks.never_above_chance([90.0], NINE_TO_ONE[::10], 2, "--lr") is not None
    assert checks.never_above_chance([100.0], NINE_TO_ONE[::10], 2, "--lr") is None
    # The loss of guessing is -0.9 log 0.9 - 0.1 log 0.1 = 0.3251.
    assert "not below that of guessing (0.325)" in checks.not_converged([0.6, 0.3252], NINE_TO_ONE)
    assert checks.not_converged([0.33, 0.3249, 0.3248], NINE_TO_ONE) is None


def test_a_probe_that_learned_nothing_or_has_not_converged():
    guessing = math.log(5) + 1e-12
    assert "learned nothing" in checks.not_converged([1.0, guessing], EQUAL)
    # The last tenth of 20 epochs is 2 epochs; 1 % of log 5 is 0.0161.
    assert "from 0.517 to 0.500" in checks.not_converged([1.6] * 17 + [0.517, 0.51, 0.5], EQUAL)
    assert checks.not_converged([1.6] * 17 + [0.516, 0.51, 0.5], EQUAL) is None
    assert "from 1.600 to 1.500" in checks.not_converged([1.6, 1.5], EQUAL)
    assert checks.not_converged([1.5], EQUAL) is None  # one epoch shows no trend


def test_simclr_without_contrast():
    # Batches of 2 and 3 images: (2 log 3 + 3 log 5) / 5 = 1.4051
    assert "(1.405)" in checks.no_contrast(1.4051, [2, 3])
    assert checks.no_contrast(1.40, [2, 3]) is None
