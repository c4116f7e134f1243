"""Classes in turn and MaxHerding by hand, and the place where ties are counted."""

import math

import pytest
import torch

from utils.base.randomness import generator
from utils.teaching.balanced import Balanced
from utils.teaching.choice import Labels, Survey
from utils.teaching.maxherding import MaxHerding, coverage
from utils.teaching.pairing import next_classes
from utils.training.evaluation import share_right


def course_of(selector, labels, features, classes):
    """All pairs of a course, and the choices."""
    table = torch.full((len(labels), classes), -1)
    if selector.looks:
        seen = Survey(
            labels, table, torch.zeros(len(labels), classes), torch.zeros(classes, features.shape[1]), features
        )
    else:
        seen = Labels(labels, table)
    remaining, choices = torch.ones(len(labels), dtype=torch.bool), []
    while (choice := selector.choose(seen, remaining)) is not None:
        assert remaining[choice.image] and remaining[choice.partner]
        choices.append(choice)
        remaining[[choice.image, choice.partner]] = False
    return choices


def test_classes_come_in_turn_until_one_is_left():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
    choices = course_of(Balanced(generator(0), 0.5), labels, None, 3)
    # 0 1 | 2 0 | 1 2 | 0 2, and then of class 1 nothing is left, of class 2 nothing either
    assert [labels[[choice.image, choice.partner]].tolist() for choice in choices] == [[0, 1], [2, 0], [1, 2], [0, 2]]
    for choice in choices:
        assert choice.score is None and choice.partners[choice.counter] == choice.partner
        assert (
            all(labels[row] == r != labels[choice.image] for r, row in choice.partners.items())
            and len(choice.partners) == 2
        )
    other = course_of(Balanced(generator(1), 0.5), labels, None, 3)
    assert [choice.image for choice in choices] != [choice.image for choice in other]


def test_a_class_without_images_has_no_turn():
    assert next_classes(torch.tensor([0, 2, 2]), torch.ones(3, dtype=torch.bool), 3) == (0, 2)
    assert next_classes(torch.tensor([0, 2, 2]), torch.tensor([False, True, True]), 3) is None


def angles(*degrees):
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def test_coverage_by_hand():
    """Three directions 0, 60 and 180 degrees: squared distances 1, 3 and 4 (2 - 2 cos), so the median is 3."""
    near, far, across = (math.exp(-square / 3) for square in (1, 3, 4))
    features = angles(0, 60, 180) * torch.tensor([[1.0], [5.0], [0.2]])  # lengths do not matter
    alone = [(1 + near + across) / 3, (near + 1 + far) / 3, (across + far + 1) / 3]
    assert coverage(features, torch.tensor([False] * 3)).tolist() == pytest.approx(alone)
    with_first = [alone[0], (1 + 1 + far) / 3, (1 + near + 1) / 3]
    assert coverage(features, torch.tensor([True, False, False])).tolist() == pytest.approx(with_first)


def test_maxherding_takes_the_middle_first_and_then_what_is_not_covered():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    features = angles(0, 10, 20, 100, 110, 0, 30, 60)
    first, second, third = course_of(MaxHerding(generator(0), 0.5), labels, features, 2)
    assert (first.image, first.partner, first.partners) == (2, 6, {1: 6})  # the median directions
    assert second.image in (3, 4) and second.partner in (5, 7)
    assert first.score < second.score < third.score <= 1


def test_one_image_of_a_class_and_equal_images():
    assert coverage(angles(30), torch.tensor([False])).tolist() == [1]
    assert coverage(angles(30, 30, 30), torch.tensor([False] * 3)).tolist() == pytest.approx([1, 1, 1])


def test_an_image_whose_largest_logits_tie_counts_by_the_number_of_them():
    logits = torch.tensor(
        [[2.0, 2.0, 1.0], [2.0, 2.0 + 1e-9, 1.0], [1.0, 3.0, 1.0], [0.0, 0.0, 0.0], [5.0, 4.0, 5.0]],
        dtype=torch.float64,
    )
    labels = torch.tensor([0, 0, 0, 2, 1])
    assert share_right(logits, labels) == pytest.approx(100 * (1 / 2 + 1 / 2 + 0 + 1 / 3 + 0) / 5)


def test_without_ties_it_is_the_share_of_right_answers():
    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(1000, 7, generator=rng), torch.randint(7, (1000,), generator=rng)
    assert share_right(logits, labels) == 100 * (logits.argmax(1) == labels).double().mean().item()


def test_logits_that_are_not_numbers_are_right_about_nothing():
    assert share_right(torch.full((2, 3), torch.nan), torch.tensor([0, 1])) == 0
