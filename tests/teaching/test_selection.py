"""Selections: psi against autograd, choices and baselines by hand."""

import math

import pytest
import torch

from utils.base.randomness import generator
from utils.teaching.cmaxgrad import combine_scores
from utils.teaching.maxgrad import log_psi, pair_by_score, strongest_first
from utils.teaching.maxherding import MaxHerding, coverage
from utils.teaching.random_pairs import Balanced, RandomPairs
from utils.teaching.selector import Look, Seen, Survey, next_classes
from utils.teaching.student import margin_risk, soft_margin_risk


def example(seed=0, count=6, classes=4, size=8):
    rng = torch.Generator().manual_seed(seed)
    W = torch.randn(classes, size, generator=rng, dtype=torch.float64)
    f = torch.randn(count, size, generator=rng, dtype=torch.float64)
    return f, W, torch.randint(0, classes, (count,), generator=rng)


def plain_risk(f, W, c):
    """Risk of one example, term by term."""
    return sum(torch.exp(-0.5 * torch.dot(f, W[c] - W[k])) for k in range(len(W)) if k != c)


def test_risk_against_loops():
    f, W, labels = example()
    expected = sum(plain_risk(f[n], W, labels[n].item()) for n in range(len(f))) / len(f)
    torch.testing.assert_close(margin_risk(f @ W.T, labels), expected)


def test_the_risk_of_class_probabilities():
    """Against three loops, also with logits of large scale; and against the risk of classes."""
    rng = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(7, 4, generator=rng, dtype=torch.float64)
    targets = torch.rand(7, 4, generator=rng, dtype=torch.float64).softmax(1)
    total = 0.0
    for z, q in zip(logits.tolist(), targets.tolist(), strict=True):
        for c in range(4):
            for k in range(4):
                total += q[c] * math.exp((z[k] - z[c]) / 2) if k != c else 0
    torch.testing.assert_close(soft_margin_risk(logits, targets).item(), total / 7)
    labels = torch.tensor([0, 3, 1, 2, 2, 0, 1])
    certain = torch.nn.functional.one_hot(labels, 4).double()
    torch.testing.assert_close(soft_margin_risk(logits, certain), margin_risk(logits, labels))


def test_psi_is_the_squared_gradient_of_the_risk():
    f, W, labels = example()
    for n in range(len(f)):
        features = f[n].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(plain_risk(features, W, labels[n].item()), features)
        # psi leaves out the factor 1/2 of the exponent: psi = || 2 dR/df ||^2
        expected = (2 * gradient).square().sum().log()
        torch.testing.assert_close(log_psi(f[n : n + 1] @ W.T, labels[n : n + 1], W)[0], expected)


def test_psi_by_hand():
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    z = torch.tensor([[0.0, 2.0]])  # true class 0, margin -2: e^1 (1, -1), squared norm 2 e^2
    assert log_psi(z, torch.tensor([0]), W).item() == pytest.approx(math.log(2) + 2)


def test_margins_that_would_overflow_keep_their_order():
    W = torch.eye(3)
    z = torch.tensor([[-5000.0, 5000.0, 0.0], [-6000.0, 6000.0, 0.0]])
    scores = log_psi(z, torch.tensor([0, 0]), W)
    assert torch.isfinite(scores).all() and scores[1] > scores[0]
    assert scores[0].item() == pytest.approx(10000 + math.log(2))


def paired(scores, logits, labels, remaining=None):
    """`pair_by_score` without explanations."""
    survey = Survey(labels, torch.full(logits.shape, -1), lambda: Seen(logits, logits, logits, None))
    return pair_by_score(survey, scores, torch.tensor(remaining or [True] * len(labels)))


def test_ties_go_to_the_first_image():
    labels, scores = torch.tensor([1, 0, 0, 1]), torch.tensor([1.0, 2.0, 2.0, 1.0])
    choice = paired(scores, torch.zeros(4, 2), labels)
    assert (choice.image, choice.partner) == (1, 0)


def test_combined_score_by_hand():
    image, explained = torch.tensor([3.0]).double().log(), torch.tensor([[1.0, 5.0]]).double().log()
    for alpha, expected in ((0.25, 0.25 * 3 + 0.75 * 5), (0, 5), (1, 3)):
        s = combine_scores(image, explained, torch.tensor([0]), alpha)
        assert s[0, 0] == -math.inf and s[0, 1].exp().item() == pytest.approx(expected)


def test_the_counter_class_of_a_right_answer_is_the_strongest_wrong_class():
    labels = torch.tensor([0, 1, 2, 2])
    logits = torch.tensor([[9.0, 1.0, 5.0]] * 4)
    scores = torch.tensor([3.0, 0.0, 1.0, 2.0])
    choice = paired(scores, logits, labels)
    assert (choice.image, choice.counter, choice.partner) == (0, 2, 3)
    assert choice.partners == {1: 1, 2: 3}
    # A class without remaining images gives way to the next strongest.
    labels, logits, scores = labels[:3], logits[:3], scores[:3]
    choice = paired(scores, logits, labels, [True, True, False])
    assert (choice.counter, choice.partner) == (1, 1)
    assert choice.partners[2] == 2  # people who answer 2 still see an image of class 2


def test_partners_with_a_trusted_explanation_are_preferred():
    """Against loops over scores, not their logarithms."""
    rng, labels = generator(0), torch.arange(300) % 30
    scores, logits = 1 + 0.03 * torch.rand(300, generator=rng), torch.randn(300, 30, generator=rng)
    table = torch.arange(9000).reshape(300, 30).scatter(1, labels[:, None], -1)
    trusted = torch.rand(9000, generator=rng) < 0.3
    survey = Survey(labels, table, lambda: Seen(logits, logits, logits, Look(logits, logits)), trusted)
    choice = pair_by_score(survey, scores.double().log(), torch.ones(300, dtype=torch.bool))
    i, a = choice.image, labels[choice.image]
    best = {b: max(range(b, 300, 30), key=lambda j: scores[j]) for b in choice.partners}
    for b, first in best.items():
        near = [j for j in range(b, 300, 30) if scores[j] >= 0.99 * scores[first]]
        sure = [j for j in near if trusted[table[i, b]] or trusted[table[j, a]]]
        assert choice.partners[b] == max(sure or [first], key=lambda j: scores[j])
    assert choice.partners != best


@pytest.mark.parametrize("noise", [1e-16, -1e-16, 3e-16])
def test_untaught_classes_tie_despite_rounding(noise):
    """Rounding must not choose the counter class. Label 2 is the lowest of three."""
    labels = torch.arange(5)
    logits = torch.tensor(
        [[0.9, -0.4, 0.6160328584440373, 0.6160328584440373, 0.6160328584440373 + noise]] * 5, dtype=torch.double
    )
    assert paired(torch.ones(5), logits, labels).counter == 2
    assert strongest_first(logits[0]) == [0, 2, 3, 4, 1]
    assert strongest_first(torch.zeros(3)) == [0, 1, 2]
    assert strongest_first(torch.tensor([1.0, 2.0, 3.0, 2.0 + 1e-3])) == [2, 3, 1, 0]


def angles(*degrees):
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def test_coverage_by_hand():
    """Three directions 0, 60 and 180 degrees: squared distances 1, 3 and 4 (2 - 2 cos), so the median is 3."""
    near, far, across = (math.exp(-square / 3) for square in (1, 3, 4))
    features = angles(0, 60, 180) * torch.tensor([[1.0], [5.0], [0.2]])  # lengths do not matter
    one = [(1 + near + across) / 3, (near + 1 + far) / 3, (across + far + 1) / 3]
    assert coverage(features, torch.tensor([False] * 3)).tolist() == pytest.approx(one)
    with_first = [one[0], (1 + 1 + far) / 3, (1 + near + 1) / 3]
    assert coverage(features, torch.tensor([True, False, False])).tolist() == pytest.approx(with_first)


def test_maxherding_covers_the_middle_first_and_then_the_rest():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    features = angles(0, 10, 20, 100, 110, 0, 30, 60)
    seen = Seen(torch.zeros(8, 2), features, torch.zeros(2, 2), None)
    survey = Survey(labels, torch.full((8, 2), -1), lambda: seen)
    first, second, third = course_of(MaxHerding(generator(0), 0.5), survey)
    assert (first.image, first.partner, first.partners) == (2, 6, {1: 6})  # the median directions
    assert second.image in (3, 4) and second.partner in (5, 7)
    assert first.score < second.score < third.score <= 1


def test_one_image_of_a_class_and_equal_images():
    assert coverage(angles(30), torch.tensor([False])).tolist() == [1]
    assert coverage(angles(30, 30, 30), torch.tensor([False] * 3)).tolist() == pytest.approx([1, 1, 1])


def blind(labels, classes):
    """A survey that must not be looked at."""
    return Survey(labels, torch.full((len(labels), classes), -1), None)


def course_of(selector, survey):
    """The choices of a whole course."""
    remaining, choices = torch.ones(len(survey.labels), dtype=torch.bool), []
    while len(survey.labels[remaining].unique()) > 1:
        choice = selector.choose(survey, remaining)
        own, other = survey.labels[[choice.image, choice.partner]].tolist()
        assert own != other == choice.counter and choice.partners[other] == choice.partner
        assert remaining[choice.image] and remaining[choice.partner]
        assert set(choice.partners) == set(survey.labels.tolist()) - {own}
        assert all(survey.labels[row] == r for r, row in choice.partners.items())
        choices.append(choice)
        remaining[[choice.image, choice.partner]] = False
    return choices


@pytest.mark.parametrize("kind", [RandomPairs, Balanced])
def test_random_pairs_cover_the_pool_and_depend_on_the_seed(kind):
    survey = blind(torch.tensor([0] * 5 + [1] * 5 + [2] * 2), 3)
    images = [[choice.image for choice in course_of(kind(generator(seed), 0.5), survey)] for seed in (3, 3, 4)]
    assert images[0] == images[1] != images[2] and len(images[0]) >= 4


def test_balanced_takes_classes_in_turn():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
    choices = course_of(Balanced(generator(0), 0.5), blind(labels, 3))
    # 0 1 | 2 0 | 1 2 | 0 2, and then only class 0 is left.
    assert [labels[[choice.image, choice.partner]].tolist() for choice in choices] == [[0, 1], [2, 0], [1, 2], [0, 2]]
    assert next_classes(torch.tensor([0, 2, 2]), torch.ones(3, dtype=torch.bool)) == [0, 2]
