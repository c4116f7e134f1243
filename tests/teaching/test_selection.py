"""CMaxGrad against a brute-force re-implementation that keeps sets and dictionaries."""

import math

import pytest
import torch

from utils.base.randomness import generator
from utils.teaching.choice import Labels
from utils.teaching.cmaxgrad import combine_scores
from utils.teaching.pairing import pair_by_score, strongest_first
from utils.teaching.random_pairs import RandomPairs


def brute_force(s, answers, classes, remaining):
    """One iteration of the method, by plain search over dictionaries.

    Args:
        s: {(i, b): score}.
        answers: {i: the student's logits as a list}.
        classes: {i: c_i}.
        remaining: set of i.

    Returns:
        (i, b, j), or None.
    """
    if not remaining:
        return None
    best = None
    for i in sorted(remaining):
        for b in sorted({b for (k, b) in s if k == i}):
            if best is None or s[i, b] > s[best]:
                best = (i, b)
    i = best[0]
    wrong = [b for b in range(len(answers[i])) if b != classes[i]]
    said = max(range(len(answers[i])), key=lambda c: answers[i][c])
    order = sorted(wrong, key=lambda c: -answers[i][c])
    if said != classes[i]:
        assert order[0] == said
    for b in order:
        candidates = [j for j in sorted(remaining) if classes[j] == b]
        if candidates:
            return i, b, max(candidates, key=lambda j: max(s[j, r] for (k, r) in s if k == j))
    return None


def random_problem(seed, count, num_classes, ties):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (count,), generator=rng)
    labels[:num_classes] = torch.arange(num_classes)
    image, explained = (
        torch.randn(count, generator=rng).double(),
        torch.randn(count, num_classes, generator=rng).double(),
    )
    if ties:
        image, explained = image.round(), explained.round()
    logits = torch.randn(count, num_classes, generator=rng)
    return labels, image, explained, logits


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_whole_course_against_brute_force(seed, ties):
    labels, image, explained, logits = random_problem(seed, 17, 4, ties)
    scores = combine_scores(image, explained, labels, 0.5)
    classes = dict(enumerate(labels.tolist()))
    # with ties the scores come from the product, since equal real numbers need not be equal floats after another formula
    s = {(i, b): scores[i, b].item() for i in classes for b in range(4) if b != classes[i]}
    remaining, mask = set(classes), torch.ones(17, dtype=torch.bool)
    for _ in range(12):
        logits = logits.roll(1, dims=0)  # another student each time
        expected = brute_force(s, {i: logits[i].tolist() for i in classes}, classes, remaining)
        found = pair_by_score(scores, logits, labels, mask)
        if expected is None:
            assert found is None
            break
        assert (found.image, found.counter, found.partner) == expected
        for taught in (found.image, found.partner):
            remaining.remove(taught)
            mask[taught] = False
    assert len(remaining) < 17


def test_combined_score_by_hand():
    s = combine_scores(
        torch.tensor([math.log(3.0)]).double(), torch.tensor([[0.0, math.log(5.0)]]).double(), torch.tensor([0]), 0.25
    )
    assert s[0, 0] == -math.inf
    assert s[0, 1].exp().item() == pytest.approx(0.25 * 3 + 0.75 * 5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_at_its_ends_leaves_one_term(alpha):
    labels, image, explained, _ = random_problem(0, 5, 3, False)
    scores = combine_scores(image, explained, labels, alpha)
    wrong = torch.ones_like(scores, dtype=torch.bool).scatter(1, labels[:, None], False)
    expected = image[:, None].expand_as(explained) if alpha == 1 else explained
    torch.testing.assert_close(scores[wrong], expected[wrong])


def test_a_student_that_is_right_is_countered_by_its_strongest_wrong_class():
    labels = torch.tensor([0, 1, 2, 2])
    logits = torch.tensor([[9.0, 1.0, 5.0]] * 4)
    scores = torch.tensor([[-math.inf, 3.0, 1.0], [0.0, -math.inf, 0.0], [1.0, 0.0, -math.inf], [2.0, 0.0, -math.inf]])
    choice = pair_by_score(scores, logits, labels, torch.ones(4, dtype=torch.bool))
    assert (choice.image, choice.counter, choice.partner) == (0, 2, 3)
    assert choice.partners == {1: 1, 2: 3}


@pytest.mark.parametrize("noise", [1e-16, -1e-16, 3e-16])
def test_classes_that_were_not_taught_tie_whatever_the_rounding(noise):
    """Their logits are equal by the method; the processor's rounding must not choose the counter class. Label 2 is the lowest of three."""
    labels = torch.arange(5)
    logits = torch.tensor(
        [[0.9, -0.4, 0.6160328584440373, 0.6160328584440373, 0.6160328584440373 + noise]] * 5, dtype=torch.double
    )
    scores = torch.full((5, 5), 1.0).fill_diagonal_(-math.inf)
    assert pair_by_score(scores, logits, labels, torch.ones(5, dtype=torch.bool)).counter == 2
    assert strongest_first(logits[0]) == [0, 2, 3, 4, 1]
    assert strongest_first(torch.zeros(3)) == [0, 1, 2]
    assert strongest_first(torch.tensor([1.0, 2.0, 3.0, 2.0 + 1e-3])) == [2, 3, 1, 0]  # further apart than by rounding


def test_an_exhausted_class_gives_way_to_the_next_strongest():
    labels = torch.tensor([0, 1, 2])
    logits = torch.tensor([[9.0, 1.0, 5.0]] * 3)
    scores = torch.tensor([[-math.inf, 3.0, 3.0], [0.0, -math.inf, 0.0], [1.0, 0.0, -math.inf]])
    choice = pair_by_score(scores, logits, labels, torch.tensor([True, True, False]))
    assert (choice.counter, choice.partner) == (1, 1)
    assert choice.partners[2] == 2  # people who answer 2 still see an image of it
    assert pair_by_score(scores, logits, labels, torch.tensor([True, False, False])) is None


def choose_random(labels, remaining, num_classes, rng):
    return RandomPairs(rng, 0.5).choose(Labels(labels, torch.full((len(labels), num_classes), -1)), remaining)


def test_random_pairs_are_of_two_classes_and_cover_the_pool():
    labels = torch.tensor([0] * 5 + [1] * 5 + [2] * 2)
    rng, remaining, seen = generator(3), torch.ones(12, dtype=torch.bool), []
    while (choice := choose_random(labels, remaining, 3, rng)) is not None:
        assert labels[choice.image] != labels[choice.partner] == choice.counter
        assert choice.partners[choice.counter] == choice.partner
        assert all(labels[row] == r for r, row in choice.partners.items())
        seen += [choice.image, choice.partner]
        remaining[[choice.image, choice.partner]] = False
    assert len(seen) == len(set(seen)) >= 8
    assert len(set(labels[remaining].tolist())) <= 1  # ends only when one class is left


def test_random_depends_on_its_seed():
    labels, remaining = torch.arange(20) % 4, torch.ones(20, dtype=torch.bool)
    picks = [
        [choose_random(labels, remaining, 4, generator(seed)).image for seed in seeds]
        for seeds in (range(9), range(9), range(9, 18))
    ]
    assert picks[0] == picks[1] != picks[2]
