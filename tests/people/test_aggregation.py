"""Labels from many answers: the majority, Dawid-Skene, one coin, and agreement."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest
from scipy.special import logsumexp

from utils.people import aggregation
from utils.people.aggregation import Votes, aggregate, agreement, dawid_skene, majority, one_coin, prior_counts
from utils.people.answers import Answer

AGGREGATIONS = get_args(aggregation.Aggregation)
NOTHING = np.zeros((0, 3), dtype=np.int64)  # no answers with known truth


def votes_of(rows):
    """Votes from (image, person, answer) of consecutive numbers."""
    image, person, answer = np.array(rows).T
    images, people = (list(map(str, range(column.max() + 1))) for column in (image, person))
    return Votes(images, people, image, person, answer)


def known_of(counts):
    """Answers with known truth from counts (P, C, C)."""
    return np.repeat(np.argwhere(counts), counts[counts > 0], axis=0)


def make_crowd(seed, images, people, per_image, accuracies, classes=5):
    """True classes and answers from NumPy's legacy generator, whose numbers never change."""
    rng = np.random.RandomState(seed)
    truth, rows = rng.randint(0, classes, images), []
    for image in range(images):
        for person in rng.permutation(people)[:per_image]:
            wrong = rng.random_sample() >= accuracies[person] and 1 + rng.randint(0, classes - 1)
            rows.append((image, person, (truth[image] + wrong) % classes))
    return truth, votes_of(rows)


def test_majority_by_hand():
    rows = [(0, 0, 2), (0, 1, 2), (0, 2, 4), (1, 0, 1), (1, 1, 3), (2, 2, 0), (3, 0, 4), (3, 1, 0), (3, 2, 3)]
    found = majority(votes_of(rows), 5, np.array([0.5, 0.9, 0.8]), 0)
    assert found.label.tolist() == [2, 3, 0, 0]  # most answers, more trust, only answer, most trust
    assert found.certainty.tolist() == pytest.approx([2 / 3, 1 / 2, 1, 1 / 3]) and found.drawn == 0


def test_the_order_of_answers_does_not_matter():
    answers = [Answer(f"p{p}", "label", f"i{i}", (p * i) % 5, None, None) for i in range(30) for p in range(4)]
    one, other = Votes.of(answers), Votes.of(answers[::-1])
    for method in AGGREGATIONS:
        first, second = (aggregate(votes, 5, method, NOTHING, 3) for votes in (one, other))
        assert first.label.tolist() == second.label.tolist() and first.certainty.tolist() == second.certainty.tolist()


def test_an_em_step_adds_as_numpy_would_to_the_last_bit():
    """The order of additions is the order of the answers."""
    _, votes = make_crowd(9, 60, 7, 3, [0.8] * 7)
    order = np.random.RandomState(2).permutation(len(votes.image))
    votes = Votes(votes.images, votes.people, votes.image[order], votes.person[order], votes.answer[order])
    posterior = np.random.RandomState(0).dirichlet(np.ones(5), 60)
    believed = np.random.RandomState(1).random_sample((7, 5, 5)) + 0.1
    prior, confusion = aggregation.maximize(votes, posterior, believed, 1.0)
    answered = believed.transpose(0, 2, 1).copy()
    np.add.at(answered, (votes.person, votes.answer), posterior[votes.image])
    counts = answered.transpose(0, 2, 1)
    assert np.array_equal(confusion, counts / counts.sum(2, keepdims=True))
    joint = np.tile(np.log(prior), (60, 1))
    np.add.at(joint, votes.image, np.log(confusion)[votes.person, :, votes.answer])
    evidence = logsumexp(joint, axis=1, keepdims=True)
    assert np.array_equal(aggregation.expect(votes, prior, confusion)[0], np.exp(joint - evidence))


def test_dawid_skene_gives_what_crowd_kit_gives():
    """Numbers of crowd-kit 1.4.2, DawidSkene(n_iter=5000, tol=1e-13), without a prior, and of krippendorff 0.9.0."""
    truth, votes = make_crowd(0, 400, 10, 3, (0.8,) * 10)
    found = dawid_skene(votes, np.full((10, 5, 5), 1e-10), per_class=1e-10, tolerance=1e-9)
    label = found.posterior.argmax(1)
    assert ((label == truth).sum(), (label * np.arange(400)).sum()) == (362, 160006)
    assert found.prior == pytest.approx([0.235045, 0.183733, 0.158332, 0.217559, 0.205331], abs=2e-6)
    diagonal = [0.842142, 0.790085, 0.793277, 0.898035, 0.709431]
    assert np.diag(found.people[0]) == pytest.approx(diagonal, abs=2e-6)
    assert found.posterior.max(1).mean() == pytest.approx(0.961498, abs=2e-6)
    assert agreement(votes, 5)["alpha"] == pytest.approx(0.539009017, abs=1e-9)


def test_dawid_skene_beats_the_majority_if_many_are_bad():
    truth, votes = make_crowd(0, 400, 12, 5, [0.9] * 4 + [0.2] * 8)
    plain = majority(votes, 5, np.ones(12), 0).label
    found = dawid_skene(votes, np.tile(prior_counts(5), (12, 1, 1)))
    assert found.converged and (np.diff(found.objective) >= -1e-9).all()  # EM climbs
    assert (found.posterior.argmax(1) == truth).mean() > (plain == truth).mean() + 0.1
    accuracy = np.trace(found.people, axis1=1, axis2=2) / 5
    assert accuracy[:4].min() > accuracy[4:].max()


def test_few_answers_do_not_mislead_dawid_skene():
    """Thirty answers per person: without a prior, EM finds confusions that nobody has."""
    truth, votes = make_crowd(2, 200, 20, 3, [0.6] * 20)
    right = (aggregate(votes, 5, "dawid_skene", NOTHING, 0).label == truth).mean()
    bare = (dawid_skene(votes, np.full((20, 5, 5), 0.01), 0.01).posterior.argmax(1) == truth).mean()
    assert right > bare + 0.05


def test_many_answers_to_one_image_do_not_underflow():
    votes = votes_of([(image, person, image % 5) for image in range(5) for person in range(3000)])
    skene = dawid_skene(votes, np.tile(prior_counts(5), (3000, 1, 1)))
    for found in (skene, one_coin(votes, 5, np.tile([5.0, 1.0], (3000, 1)))):
        assert found.posterior.argmax(1).tolist() == [0, 1, 2, 3, 4] and np.isfinite(found.objective).all()


def test_known_answers_help_every_method():
    truth, votes = make_crowd(5, 100, 12, 3, [0.9] * 4 + [0.2] * 8)
    known = known_of(np.stack([np.eye(5, dtype=int) * 18 + 1] * 4 + [np.full((5, 5), 4)] * 8))
    for method in AGGREGATIONS:
        right = [(aggregate(votes, 5, method, some, 0).label == truth).mean() for some in (NOTHING, known)]
        assert right[1] > right[0]


# ---------------------------------------------------------------- one coin


def test_a_step_of_one_coin_by_hand():
    """Two people agree on the first image and disagree on the second. A tolerance of 1 ends EM after one step."""
    votes = votes_of([(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 2)])
    found = one_coin(votes, 3, np.array([[3.0, 1.0], [1.0, 1.0]]), per_class=1.0, tolerance=1.0)
    assert found.prior == pytest.approx([0.4, 0.3, 0.3])  # (1 + 1, 1/2 + 1, 1/2 + 1) of 5
    assert found.people == pytest.approx([0.75, 0.625])  # (3 + 1 + 1/2) of 6, (1 + 1 + 1/2) of 4
    # 0.4 x 0.75 x 0.625, twice 0.3 x 0.125 x 0.1875; 0.4 x 0.125 x 0.1875, 0.3 x 0.75 x 0.1875, 0.3 x 0.125 x 0.625
    assert found.posterior == pytest.approx(np.array([[40 / 43, 1.5 / 43, 1.5 / 43], [0.125, 0.5625, 0.3125]]))
    believed = math.log(0.4 * 0.3 * 0.3) + math.log(0.75**3 * 0.25 * 0.625 * 0.375)
    assert found.objective == pytest.approx([math.log(0.2015625) + math.log(0.075) + believed]) and found.converged


def one_coin_plainly(rows, classes, believed, steps):
    """Second implementation of EM, by loops over probabilities: posterior of each image and accuracy of each person."""
    answers = {}
    for image, person, answer in rows:
        answers.setdefault(image, []).append((person, answer))
    posterior = {i: [sum(a == j for _, a in own) / len(own) for j in range(classes)] for i, own in answers.items()}
    for _ in range(steps):
        shares = [1 + sum(posterior[i][j] for i in answers) for j in range(classes)]
        accuracy = []
        for person, (right, wrong) in enumerate(believed):
            own = [posterior[image][answer] for image, who, answer in rows if who == person]
            accuracy.append((right + sum(own)) / (right + wrong + len(own)))
        for i, own in answers.items():
            chance = [
                [accuracy[p] if a == j else (1 - accuracy[p]) / (classes - 1) for p, a in own] for j in range(classes)
            ]
            joint = [share * math.prod(of_one) for share, of_one in zip(shares, chance, strict=True)]
            posterior[i] = [value / sum(joint) for value in joint]
    return [posterior[i] for i in sorted(answers)], accuracy


def test_one_coin_against_plain_loops():
    """Until convergence, with known answers: 18 of 20 right, 10 of 20, 8 of 20."""
    truth, votes = make_crowd(4, 60, 6, 3, [0.9, 0.6, 0.3] * 2, classes=7)
    seen = np.zeros((6, 7, 7), dtype=int)
    seen[:, 0, 0], seen[:, 3, 3], seen[:, 3, 4] = 8, [10, 2, 0] * 2, [2, 10, 12] * 2
    rows = list(zip(votes.image.tolist(), votes.person.tolist(), votes.answer.tolist(), strict=True))
    believed = [(5 + 18, 1 + 2), (5 + 10, 1 + 10), (5 + 8, 1 + 12)] * 2
    found = one_coin(votes, 7, np.array(believed, float))
    posterior, accuracy = one_coin_plainly(rows, 7, believed, len(found.objective))
    assert found.posterior == pytest.approx(np.array(posterior)) and found.people == pytest.approx(np.array(accuracy))
    assert found.converged and 3 < len(found.objective) and (np.diff(found.objective) >= -1e-9).all()  # EM climbs
    labels = aggregate(votes, 7, "one_coin", known_of(seen), 0)
    assert labels.label.tolist() == found.posterior.argmax(1).tolist() and (labels.label == truth).mean() > 0.5
    assert (labels.steps, labels.converged, labels.drawn) == (len(found.objective), True, 0)


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_ties_are_drawn_fairly_and_by_the_seed(method):
    rows = [(image, person, (1, 4)[(image + person) % 2]) for image in range(2000) for person in range(2)]
    found = [aggregate(votes_of(rows), 5, method, NOTHING, seed) for seed in (0, 0, 1)]
    assert found[0].drawn == 2000 and set(found[0].label) == {1, 4}
    assert found[0].certainty == pytest.approx(np.full(2000, 0.5), abs=0.01)
    assert abs((found[0].label == 1).mean() - 0.5) < 4 * math.sqrt(0.25 / 2000)
    assert (found[0].label == found[1].label).all() and (found[0].label != found[2].label).any()


def test_agreement_by_hand():
    """The example of Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): four observers, twelve units."""
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    rows = [(unit, person, int(value) - 1) for unit, values in enumerate(units) for person, value in enumerate(values)]
    found = agreement(votes_of(rows), 5)
    assert found["alpha"] == pytest.approx(0.743, abs=5e-4)
    pairs = [[a == b for a, b in itertools.combinations(values, 2)] for values in units if len(values) > 1]
    assert found["agreement"] == pytest.approx(np.mean([np.mean(equal) for equal in pairs]))


def test_undefined_agreement_is_none():
    assert agreement(votes_of([(0, 0, 1), (1, 1, 2)]), 5) == {"agreement": None, "alpha": None}
    # Only one class: agreement by chance is perfect.
    assert agreement(votes_of([(0, 0, 1), (0, 1, 1)]), 5) == {"agreement": 1.0, "alpha": None}
