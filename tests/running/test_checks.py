"""The rules that find worthless results, each on both sides of its limit, by numbers computed by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from utils.data.lists import Example
from utils.data.loading import ImageSet
from utils.running import checks

CLASSES = ("Monocle", "Spectacle", "Sash")
EQUAL = torch.arange(100) % 5  # labels of 100 images of five classes
NINE_TO_ONE = torch.tensor([0] * 90 + [1] * 10)


def test_warnings_are_added_only_where_there_are_any():
    assert checks.with_warnings({"loss": 1.0}, [None, None]) == {"loss": 1.0}
    once = checks.with_warnings({"loss": 1.0}, [None, "One."])
    assert once == {"loss": 1.0, "warnings": ["One."]}
    assert checks.with_warnings(once, ["Two."])["warnings"] == ["One.", "Two."]
    assert once["warnings"] == ["One."]
    assert checks.with_warnings(None, ["One."]) is None


def test_constant_maps_are_counted():
    assert checks.constant_maps(0, 40) is None
    assert checks.constant_maps(12, 40).startswith("12 of 40 explanations have a constant map")


def test_a_test_list_without_some_classes_names_them():
    test = SimpleNamespace(labels=torch.tensor([1, 1]), source="te.txt")
    assert checks.missing_classes(test, CLASSES).startswith("te.txt has no image of Monocle, Sash: ")
    test.labels = torch.tensor([2, 0, 1])
    assert checks.missing_classes(test, CLASSES) is None
    many = [f"c{number}" for number in range(200)]
    assert "no image of c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 and 187 more: the" in checks.missing_classes(
        test, many
    )


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([2, 0, 1], None),
        ([2, -1, 1], "The classes of 1 of 3 images of te.txt are unknown: test accuracies are of the others."),
        ([-1, -1], "The classes of all 2 images of te.txt are unknown: no test accuracy can be told."),
    ],
)
def test_a_test_list_whose_classes_are_unknown(labels, says):
    test = ImageSet([], "te.txt", "", None)
    test.rows, test.labels = labels, torch.tensor(labels)
    assert checks.unknown_classes(test) == says
    assert (checks.missing_classes(test, CLASSES) is None) == (labels != [2, -1, 1])


def test_pictures_that_a_list_names_again_are_counted():
    def said(*paths):
        return checks.repeated_images(
            SimpleNamespace(rows=[Example(path, 0, at) for at, path in enumerate(paths)], source="tr.txt")
        )

    assert said("a.png", "b.png") is None
    assert said("a.png", "b.png", "a.png").startswith(
        "tr.txt, line 3: a.png stands in line 1 too; a course may show it twice: remove"
    )
    assert said("a.png", "a.png", "b.png", "b.png", "a.png").startswith(
        "tr.txt, line 2: a.png stands in line 1 too, and 2 more are named"
    )


def test_a_confusion_matrix_of_more_numbers_than_answers():
    assert checks.too_few_answers(3, 60, 5) is None  # 20 numbers a person, 20 answers a person
    told = checks.too_few_answers(3, 59, 5)
    assert told.startswith(
        "--aggregation dawid_skene estimates 20 numbers of each person, who gave 19.7 answers on average, and"
    )
    assert (
        "may label worse than the majority unless people's errors are systematic; give one_coin, which estimates one, if they"
        in told
    )
    assert "estimates 9900 numbers of each person, who gave 170.0 answers" in checks.too_few_answers(20, 3400, 100)


def test_a_course_that_is_too_short_for_its_classes():
    assert checks.untaught_classes(3, 4, 5) is None  # three pairs could show five classes
    assert checks.untaught_classes(20, 37, 200).startswith("The course shows 37 of 200 classes")
    assert "raise --iterations to 100 or more" in checks.untaught_classes(20, 37, 200)
    assert "raise --iterations to 21 or more" in checks.untaught_classes(20, 40, 41)
    assert checks.untaught_classes(20, 39, 40) is None


@pytest.mark.parametrize(
    ("confusion", "says"),
    [
        ([[0, 3, 0], [0, 2, 0], [0, 1, 0]], "answers Spectacle to every image of te.txt"),
        ([[1, 2, 0], [0, 2, 0], [0, 1, 0]], None),
        ([[0, 3, 0], [0, 0, 0], [0, 0, 0]], None),  # a list of one class: one answer may be right
    ],
)
def test_one_answer_to_every_image(confusion, says):
    found = checks.one_answer(np.array(confusion), CLASSES, "te.txt")
    assert found is None if says is None else says in found


def test_a_classifier_that_guesses_on_its_training_list():
    assert "20.0 % of tr.txt, no more than guessing (20.0 %)" in checks.guesses(20.0, EQUAL, 5, "tr.txt")
    assert checks.guesses(20.1, EQUAL, 5, "tr.txt") is None


def test_chance_level_by_hand():
    assert checks.chance_level(1 / 5, 100) == pytest.approx(20 + 3 * 4)  # sqrt(0.2 * 0.8 / 100) = 0.04
    assert checks.chance_level(1 / 2, 225) == pytest.approx(50 + 3 * 100 / 30)


def test_accuracies_that_never_leave_chance():
    found = checks.never_above_chance([12.0, 31.9, 20.0], EQUAL, 5, "--lr and --steps")
    assert "31.9 % at best" in found and "may reach 32.0 %" in found and found.endswith("--lr and --steps.")
    assert checks.never_above_chance([12.0, 32.1, 20.0], EQUAL, 5, "--lr") is None
    # Of 4 images and 2 classes even all might be guessed: only what is no more than 1 / C is said.
    four = torch.arange(4) % 2
    assert checks.never_above_chance([60.0], four, 2, "--lr") is None
    assert "may reach 100.0 %" in checks.never_above_chance([50.0], four, 2, "--lr")


def test_chance_is_the_share_of_the_largest_class_where_classes_are_unequal():
    assert checks.chance(EQUAL, 5) == pytest.approx(1 / 5)
    assert checks.chance(NINE_TO_ONE, 2) == pytest.approx(0.9)
    assert checks.chance(torch.tensor([3, 3, 1, -1, -1, -1]), 4) == pytest.approx(2 / 3)  # of the known ones
    assert (
        checks.chance(torch.tensor([1, 1, -1]), 4) == checks.chance(torch.tensor([-1]), 4) == 1 / 4
    )  # nothing to tell apart


def test_unequal_classes_by_hand():
    """At 90 : 10 of 100 images, three standard deviations are 3 x sqrt(0.9 x 0.1 / 100) = 9 %."""
    said = "The classifier is right on 90.0 % of tr.txt, no more than guessing (90.0 %, the share of its largest class); train"
    assert checks.guesses(90.0, NINE_TO_ONE, 2, "tr.txt").startswith(said)
    assert checks.guesses(90.1, NINE_TO_ONE, 2, "tr.txt") is None
    assert checks.guesses(66.667, torch.tensor([0, 0, 1]), 2, "tr.txt") is not None  # rounded up
    assert checks.never_above_chance([99.1], NINE_TO_ONE, 2, "--lr") is None
    found = checks.never_above_chance([50.0, 98.9], NINE_TO_ONE, 2, "--lr")
    assert (
        "98.9 % at best, where guessing on 100 images of 2 classes, 90.0 % of them of one class, may reach 99.0 %; try"
        in found
    )
    found = checks.some_at_chance({"a": [90.0], "b": [99.5]}, NINE_TO_ONE, 2, "--lr")
    assert found.startswith(
        "No better than guessing on 100 images of 2 classes, 90.0 % of them of one class: a (90.0 % at best); a"
    )
    # Of ten images even all might be guessed: only what is no more than the share is said.
    assert checks.never_above_chance([90.0], NINE_TO_ONE[::10], 2, "--lr") is not None
    assert checks.never_above_chance([100.0], NINE_TO_ONE[::10], 2, "--lr") is None
    # The loss of guessing is -0.9 log 0.9 - 0.1 log 0.1 = 0.3251.
    assert "not below that of guessing (0.325)" in checks.not_converged([0.6, 0.3252], NINE_TO_ONE)
    assert checks.not_converged([0.33, 0.3249, 0.3248], NINE_TO_ONE) is None


def test_single_classifiers_that_guess_are_named():
    found = checks.some_at_chance({"a": [31.9, 20.0], "b": [32.1, 12.0], "c": [1.0]}, EQUAL, 5, "--lr")
    assert found.startswith(
        "No better than guessing on 100 images of 5 classes: a (31.9 % at best), c (1.0 % at best); "
    )
    assert checks.some_at_chance({"a": [32.1], "b": [40.0]}, EQUAL, 5, "--lr") is None
    assert (
        checks.some_at_chance({"a": [31.9], "b": [30.0]}, EQUAL, 5, "--lr") is None
    )  # `never_above_chance` tells of it
    assert checks.some_at_chance({"a": [0.0], "b": [9.0]}, EQUAL[:0], 5, "--lr") is None  # nothing was measured


def test_a_probe_that_has_not_learned_or_not_finished():
    guessing = math.log(5) + 1e-12
    assert "learned nothing" in checks.not_converged([1.0, guessing], EQUAL)
    # The last tenth of 20 epochs are 2: the third loss from behind counts, and 1 % of log 5 is 0.0161.
    assert "from 0.517 to 0.500" in checks.not_converged([1.6] * 17 + [0.517, 0.51, 0.5], EQUAL)
    assert checks.not_converged([1.6] * 17 + [0.516, 0.51, 0.5], EQUAL) is None
    assert "from 1.600 to 1.500" in checks.not_converged([1.6, 1.5], EQUAL)
    assert checks.not_converged([1.5], EQUAL) is None  # one epoch has no course


def test_simclr_that_tells_no_image_apart():
    # Batches of 2 and 3 images: (2 log 3 + 3 log 5) / 5 = 1.4051
    assert "(1.405)" in checks.no_contrast(1.4051, [2, 3])
    assert checks.no_contrast(1.40, [2, 3]) is None


@pytest.mark.parametrize(
    ("pretrained", "frozen", "said"), [("none", True, True), ("none", False, False), ("imagenet", True, False)]
)
def test_random_features_are_named_where_they_stay(pretrained, frozen, said):
    assert (checks.random_features(pretrained, frozen) is not None) == said
