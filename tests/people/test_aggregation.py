"""Labels from many answers: the majority, Dawid-Skene, one coin, and agreement."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest
from scipy.special import logsumexp

from utils.people import aggregation
from utils.people.aggregation import (
    AGGREGATIONS,
    Aggregation,
    Votes,
    aggregate,
    agreement,
    dawid_skene,
    majority,
    one_coin,
    prior_counts,
)
from utils.people.answers import Answer

NOTHING = np.zeros((0, 3), dtype=np.int64)  # no answers with known truth


def votes_of(rows):
    """Votes from (image, person, answer) of consecutive numbers."""
    image, person, answer = np.array(rows).T
    return Votes(
        [str(i) for i in range(image.max() + 1)], [str(p) for p in range(person.max() + 1)], image, person, answer
    )


def known_of(counts):
    """Answers with known truth from counts (P, C, C)."""
    return np.repeat(np.argwhere(counts), counts[counts > 0], axis=0)


def make_crowd(seed, images, people, per_image, accuracies, classes=5):
    """True classes and answers from NumPy's legacy generator, whose numbers never change."""
    rng = np.random.RandomState(seed)
    truth, rows = rng.randint(0, classes, images), []
    for image in range(images):
        for person in rng.permutation(people)[:per_image]:
            right = rng.random_sample() < accuracies[person]
            rows.append(
                (image, person, truth[image] if right else (truth[image] + 1 + rng.randint(0, classes - 1)) % classes)
            )
    return truth, votes_of(rows)


def test_every_aggregation_has_a_name():
    assert get_args(Aggregation) == tuple(AGGREGATIONS)


def test_majority_by_hand():
    votes = votes_of(
        [(0, 0, 2), (0, 1, 2), (0, 2, 4), (1, 0, 1), (1, 1, 3), (2, 2, 0), (3, 0, 4), (3, 1, 0), (3, 2, 3)]
    )
    found = majority(votes, 5, np.array([0.5, 0.9, 0.8]), 0)
    assert found.label.tolist() == [2, 3, 0, 0]  # most, trusted more, alone, trusted most
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


# From crowd-kit 1.4.2 (DawidSkene(n_iter=5000, tol=1e-13); its M-step has no prior, only a floor of 1e-10),
# krippendorff 0.9.0 and NumPy 2.4.6, for `make_crowd` with these arguments: number of right labels; sum of image number
# x label; class shares; diagonal of the first person's confusion matrix; mean probability of the label; alpha.
CROWD_KIT = {
    (0, 400, 10, 3, (0.8,) * 10): (
        362,
        160006,
        [0.235045, 0.183733, 0.158332, 0.217559, 0.205331],
        [0.842142, 0.790085, 0.793277, 0.898035, 0.709431],
        0.961498,
        0.539009017,
    ),
    (1, 400, 12, 5, (0.9,) * 4 + (0.5,) * 4 + (0.2,) * 4): (
        332,
        155114,
        [0.244811, 0.166666, 0.23066, 0.149511, 0.208352],
        [0.970689, 0.749547, 0.841979, 0.912576, 0.967855],
        0.945734,
        0.147445527,
    ),
    (6, 120, 8, 8, (0.7,) * 8): (
        115,
        14946,
        [0.150943, 0.207499, 0.266521, 0.158409, 0.216628],
        [0.723673, 0.558481, 0.562854, 0.631238, 0.807831],
        0.998053,
        0.390421366,
    ),
}


@pytest.mark.parametrize("arguments", CROWD_KIT, ids=["good", "mixed", "everybody"])
def test_dawid_skene_gives_what_crowd_kit_gives(arguments):
    right, checksum, prior, diagonal, certainty, alpha = CROWD_KIT[arguments]
    truth, votes = make_crowd(*arguments)
    nothing = np.full((len(votes.people), 5, 5), 1e-10)
    found = dawid_skene(votes, nothing, per_class=1e-10, tolerance=1e-9)
    label = found.posterior.argmax(1)
    assert ((label == truth).sum(), (label * np.arange(len(label))).sum()) == (right, checksum)
    assert found.prior == pytest.approx(prior, abs=2e-6) and np.diag(found.people[0]) == pytest.approx(
        diagonal, abs=2e-6
    )
    assert found.posterior.max(1).mean() == pytest.approx(certainty, abs=2e-6)
    assert agreement(votes, 5)["alpha"] == pytest.approx(alpha, abs=1e-9)


def test_dawid_skene_beats_the_majority_if_many_are_bad():
    truth, votes = make_crowd(0, 400, 12, 5, [0.9] * 4 + [0.2] * 8)
    plain = majority(votes, 5, np.ones(12), 0).label
    found = dawid_skene(votes, np.tile(prior_counts(5), (12, 1, 1)))
    assert found.converged and (np.diff(found.objective) >= -1e-9).all()  # EM climbs
    assert (found.posterior.argmax(1) == truth).mean() > (plain == truth).mean() + 0.1
    accuracy = np.trace(found.people, axis1=1, axis2=2) / 5
    assert accuracy[:4].min() > accuracy[4:].max()


def test_known_answers_help_every_method():
    truth, votes = make_crowd(5, 100, 12, 3, [0.9] * 4 + [0.2] * 8)
    known = known_of(np.stack([np.eye(5, dtype=int) * 18 + 1] * 4 + [np.full((5, 5), 4)] * 8))
    for method in AGGREGATIONS:
        right = [(aggregate(votes, 5, method, some, 0).label == truth).mean() for some in (NOTHING, known)]
        assert right[1] > right[0]


def test_few_answers_do_not_mislead_dawid_skene():
    """Thirty answers per person: without a prior, EM finds confusions that nobody has."""
    truth, votes = make_crowd(2, 200, 20, 3, [0.6] * 20)
    right = (aggregate(votes, 5, "dawid_skene", NOTHING, 0).label == truth).mean()
    bare = (dawid_skene(votes, np.full((20, 5, 5), 0.01), 0.01).posterior.argmax(1) == truth).mean()
    assert right > bare + 0.05


def test_many_answers_to_one_image_do_not_underflow():
    votes = votes_of([(image, person, image % 5) for image in range(5) for person in range(3000)])
    for found in (
        dawid_skene(votes, np.tile(prior_counts(5), (3000, 1, 1))),
        one_coin(votes, 5, np.tile([5.0, 1.0], (3000, 1))),
    ):
        assert found.posterior.argmax(1).tolist() == [0, 1, 2, 3, 4] and np.isfinite(found.objective).all()


def test_people_are_weighted_by_known_answers_to_the_last_bit():
    rng = np.random.RandomState(7)
    _, votes = make_crowd(7, 80, 6, 2, [0.7] * 6)
    seen = rng.poisson(rng.uniform(0, 3, (6, 1, 1)), (6, 5, 5))
    believed = prior_counts(5) + seen
    trust = np.array([believed[person].diagonal().sum() / believed[person].sum() for person in range(6)])
    right = [seen[person].diagonal().sum() for person in range(6)]
    coins = np.array([[5.0 + good, 1.0 + seen[person].sum() - good] for person, good in enumerate(right)])
    plain = majority(votes, 5, trust, 3)
    models = {"dawid_skene": dawid_skene(votes, believed).posterior, "one_coin": one_coin(votes, 5, coins).posterior}
    labels = {method: aggregate(votes, 5, method, known_of(seen), 3) for method in AGGREGATIONS}
    assert (labels["majority"].label == plain.label).all() and labels["majority"].drawn == plain.drawn
    assert (plain.label != majority(votes, 5, np.ones(6), 3).label).any()  # it does count
    for method, posterior in models.items():
        assert (labels[method].label == posterior.argmax(1)).all() and (
            labels[method].certainty == posterior.max(1)
        ).all()


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
    assert labels.label.tolist() == found.posterior.argmax(1).tolist() and labels.certainty == pytest.approx(
        found.posterior.max(1)
    )
    assert (labels.steps, labels.converged, labels.drawn) == (len(found.objective), True, 0) and (
        labels.label == truth
    ).mean() > 0.5


def test_one_coin_beats_the_others_on_a_mixed_crowd_with_many_classes():
    """A confusion matrix has 2,450 parameters, and a person answers 150 times."""
    truth, votes = make_crowd(0, 1000, 20, 3, [(0.9, 0.6, 0.3)[person % 3] for person in range(20)], classes=50)
    right = {method: (aggregate(votes, 50, method, NOTHING, 0).label == truth).mean() for method in AGGREGATIONS}
    assert right["one_coin"] > right["majority"] + 0.02 and right["one_coin"] > right["dawid_skene"] + 0.02


def test_one_coin_is_the_majority_if_each_person_answers_one_image():
    rng = np.random.RandomState(0)
    pairs = [(rng.randint(0, 6), rng.randint(0, 6)) for _ in range(200)]
    answers = [
        (one, other, one)[image % 3 :] + (one, other, one)[: image % 3] for image, (one, other) in enumerate(pairs)
    ]
    votes = votes_of(
        [
            (image, 3 * image + place, answer)
            for image, three in enumerate(answers)
            for place, answer in enumerate(three)
        ]
    )
    labels = aggregate(votes, 6, "one_coin", NOTHING, 0)
    assert labels.label.tolist() == [one for one, _ in pairs] == majority(votes, 6, np.ones(600), 0).label.tolist()
    unanimous = np.array([one == other for one, other in pairs])
    assert labels.certainty[unanimous].min() > labels.certainty[~unanimous].max() > 0.5


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
    assert found["raw"] == pytest.approx(np.mean([np.mean(equal) for equal in pairs]))


def test_undefined_agreement_is_none():
    assert agreement(votes_of([(0, 0, 1), (1, 1, 2)]), 5) == {"raw": None, "alpha": None}
    assert agreement(votes_of([(0, 0, 1), (0, 1, 1)]), 5) == {
        "raw": 1.0,
        "alpha": None,
    }  # one class only: no chance to disagree
    _, votes = make_crowd(3, 4000, 3, 3, [0.2] * 3)
    assert abs(agreement(votes, 5)["alpha"]) < 0.03  # guessing
