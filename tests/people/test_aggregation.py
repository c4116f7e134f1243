"""Labels from many answers: the majority, Dawid-Skene, one coin, and agreement."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest

from utils.people import aggregation
from utils.people.aggregation import (
    Aggregator,
    Crowd,
    Votes,
    aggregate,
    agreement,
    dawid_skene,
    fit_crowd,
    majority,
    one_coin,
    symmetric,
)
from utils.people.answers import Answer
from utils.people.teacher import Teacher

AGGREGATIONS = get_args(aggregation.Aggregation)
NOTHING = np.zeros((0, 4))  # no answers with known truth


def votes_of(rows):
    """Votes from (image, person, answer) of consecutive numbers."""
    image, person, answer = np.array(rows).T
    images, people = (list(map(str, range(column.max() + 1))) for column in (image, person))
    return Votes(images, people, image, person, answer)


def known_of(counts):
    """Answers with known truth from counts (P, C, C)."""
    rows = np.repeat(np.argwhere(counts), counts[counts > 0], axis=0)
    return np.hstack([rows, np.ones((len(rows), 1))])


def method_of(name, votes, classes=5, seed=0):
    """An aggregator; its teacher knows nothing."""
    rows = {image: row for row, image in enumerate(votes.images)}
    nothing = np.zeros((len(rows), 3), np.float16), np.zeros((classes, 3), np.float16), np.arange(classes)
    return Aggregator(name, seed, Teacher(rows, *nothing, np.zeros((classes, 3)), 1.0))


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
        first, second = (aggregate(votes, 5, NOTHING, method_of(method, votes, seed=3)) for votes in (one, other))
        assert first.label.tolist() == second.label.tolist() and first.certainty.tolist() == second.certainty.tolist()


def em_plainly(votes, known, classes, start, steps, prior=None):
    """Second implementation, by loops over a C x C matrix per person: ours with a prior, Dawid-Skene without.

    Returns the class probabilities after some steps, and everybody's confusion matrix for these.
    """
    posterior, everyone = [list(map(float, row)) for row in start], range(len(votes.people))
    answers = list(zip(votes.image.tolist(), votes.person.tolist(), votes.answer.tolist(), strict=True))
    cells = list(itertools.product(range(classes), repeat=2))
    for step in range(steps + 1):
        counts = [dict.fromkeys(cells, 0.0) for _ in everyone]
        for image, person, answer in answers:
            for c in range(classes):
                counts[person][c, answer] += posterior[image][c]
        for person, c, answer, weight in known:
            counts[int(person)][int(c), int(answer)] += weight
        base = {(c, r): 5.0 if c == r else 1.0 for c, r in cells}
        if prior is not None:
            off = min(1, 4 / (classes - 1))
            pooled = {(c, r): sum(one[c, r] for one in counts) + (5 if c == r else off) for c, r in cells}
            base = {(c, r): 20 * pooled[c, r] / sum(pooled[c, k] for k in range(classes)) for c, r in cells}
        theta = []
        for one in counts:
            total = [sum(one[c, k] + base[c, k] for k in range(classes)) for c in range(classes)]
            theta.append([[(one[c, r] + base[c, r]) / total[c] for r in range(classes)] for c in range(classes)])
        if step == steps:
            return np.array(posterior), theta
        shares = [1 + sum(row[c] for row in posterior) for c in range(classes)]
        for image in range(len(votes.images)):
            joint = shares if prior is None else list(prior[image])
            weight = 1 if prior is None else 0.8
            for _, person, answer in (one for one in answers if one[0] == image):
                joint = [joint[c] * theta[person][c][answer] ** weight for c in range(classes)]
            posterior[image] = [value / sum(joint) for value in joint]


@pytest.mark.parametrize("classes", [3, 8])
@pytest.mark.parametrize("most", [1, 100])
def test_em_against_plain_loops(classes, most):
    """With known answers, images without answers, and a person who only has known answers."""
    rng = np.random.default_rng(classes)
    _, votes = make_crowd(classes, 25, 5, 3, [0.9, 0.7, 0.5, 0.3, 0.1], classes)
    votes = Votes([*votes.images, "unanswered"], [*votes.people, "silent"], votes.image, votes.person, votes.answer)
    cells = rng.integers([6, classes, classes], size=(40, 3))
    known = np.column_stack([cells, rng.choice([0.5, 1.0], 40)])
    prior = rng.dirichlet(np.ones(classes), 26)
    crowd = Crowd(votes, known, classes)
    found = fit_crowd(crowd, prior, prior, most)
    assert (found.steps == 1) if most == 1 else (found.converged and 3 < found.steps < 100)
    posterior, theta = em_plainly(votes, known, classes, prior, found.steps, prior)
    assert found.posterior == pytest.approx(posterior, abs=1e-9)
    for person in range(6):
        assert found.people(person) == pytest.approx(np.array(theta[person]), abs=1e-9)
    assert found.posterior[25] == pytest.approx(prior[25])


def test_dawid_skene_against_plain_loops():
    _, votes = make_crowd(8, 40, 6, 3, [0.9, 0.8, 0.7, 0.4, 0.3, 0.2], 4)
    known = np.array([[0, 1, 1, 1.0], [0, 2, 1, 0.5], [5, 3, 0, 1.0]])
    found = dawid_skene(Crowd(votes, known, 4))
    shares = votes.counts(4) / 3
    posterior, theta = em_plainly(votes, known, 4, shares, found.steps)
    assert found.posterior == pytest.approx(posterior, abs=1e-9) and found.converged
    assert found.people(3) == pytest.approx(np.array(theta[3]), abs=1e-9)


def test_people_are_measured_by_hand():
    """Always right, always class 0, uniform, and right on two of four classes and guessing on the rest."""
    crowd = Crowd(votes_of([(0, person, 0) for person in range(4)]), NOTHING, 4)
    half = np.eye(4)
    half[2:, 2:] = 0.5
    people = [np.eye(4), np.eye(4)[[0] * 4], np.full((4, 4), 0.25), half]
    found = crowd.informative(people.__getitem__, np.full(4, 0.25))
    assert np.array(found) == pytest.approx(np.array([[100, 2], [25, 0], [25, 0], [75, 1.5]]), abs=1e-9)
    # Two classes of shares 3/4 and 1/4, one person right on 80 % of each: I = H(0.65) - H(0.8).
    crowd = Crowd(votes_of([(0, 0, 0)]), NOTHING, 2)
    ((accuracy, bits),) = crowd.informative(lambda person: symmetric(0.8, 2), np.array([0.75, 0.25]))
    entropy = [-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in (0.65, 0.8)]
    assert (accuracy, bits) == pytest.approx((80, entropy[0] - entropy[1]))


def test_dawid_skene_gives_what_crowd_kit_gives(monkeypatch):
    """Numbers of crowd-kit 1.4.2, DawidSkene(n_iter=5000, tol=1e-13), without a prior, and of krippendorff 0.9.0."""
    truth, votes = make_crowd(0, 400, 10, 3, (0.8,) * 10)
    for name, value in {"RIGHT": 1e-10, "WRONG": 1e-10, "TOLERANCE": 1e-9}.items():
        monkeypatch.setattr(aggregation, name, value)
    found = dawid_skene(Crowd(votes, NOTHING, 5))
    label = found.posterior.argmax(1)
    assert ((label == truth).sum(), (label * np.arange(400)).sum()) == (362, 160006)
    assert found.posterior.mean(0) == pytest.approx([0.235045, 0.183733, 0.158332, 0.217559, 0.205331], abs=2e-6)
    diagonal = [0.842142, 0.790085, 0.793277, 0.898035, 0.709431]
    assert np.diag(found.people(0)) == pytest.approx(diagonal, abs=2e-6)
    assert found.posterior.max(1).mean() == pytest.approx(0.961498, abs=2e-6)
    assert agreement(votes, 5)["alpha"] == pytest.approx(0.539009017, abs=1e-9)


def test_few_answers_do_not_mislead_dawid_skene(monkeypatch):
    """Thirty answers per person: without a prior, EM finds confusions that nobody has."""
    truth, votes = make_crowd(2, 200, 20, 3, [0.6] * 20)
    right = (aggregate(votes, 5, NOTHING, Aggregator("dawid_skene", 0)).label == truth).mean()
    monkeypatch.setattr(aggregation, "RIGHT", 0.01)
    monkeypatch.setattr(aggregation, "WRONG", 0.01)
    bare = (dawid_skene(Crowd(votes, NOTHING, 5)).posterior.argmax(1) == truth).mean()
    assert right > bare + 0.05


def test_many_answers_to_one_image_do_not_underflow():
    votes = votes_of([(image, person, image % 5) for image in range(5) for person in range(3000)])
    for method in AGGREGATIONS:
        found = aggregate(votes, 5, NOTHING, method_of(method, votes))
        assert found.label.tolist() == [0, 1, 2, 3, 4] and found.certainty == pytest.approx(1)
        assert np.isfinite(found.people).all()


def test_known_answers_help_every_method():
    truth, votes = make_crowd(5, 100, 12, 3, [0.9] * 4 + [0.2] * 8)
    known = known_of(np.stack([np.eye(5, dtype=int) * 18 + 1] * 4 + [np.full((5, 5), 4)] * 8))
    for method in AGGREGATIONS:
        right = [
            (aggregate(votes, 5, some, method_of(method, votes)).label == truth).mean() for some in (NOTHING, known)
        ]
        assert right[1] > right[0]


# ---------------------------------------------------------------- one coin


def test_a_step_of_one_coin_by_hand(monkeypatch):
    """Two people agree on the first image and disagree on the second. A tolerance of 1 ends EM after one step."""
    votes = votes_of([(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 2)])
    monkeypatch.setattr(aggregation, "TOLERANCE", 1.0)
    found = one_coin(votes, 3, np.array([[3.0, 1.0], [1.0, 1.0]]))
    # Shares of classes: (1 + 1, 1/2 + 1, 1/2 + 1) of 5. Accuracies: (3 + 1 + 1/2) of 6 and (1 + 1 + 1/2) of 4.
    # 0.4 x 0.75 x 0.625, twice 0.3 x 0.125 x 0.1875; 0.4 x 0.125 x 0.1875, 0.3 x 0.75 x 0.1875, 0.3 x 0.125 x 0.625
    assert found.posterior == pytest.approx(np.array([[40 / 43, 1.5 / 43, 1.5 / 43], [0.125, 0.5625, 0.3125]]))
    accuracies = (3 + 40 / 43 + 0.5625) / 6, (1 + 40 / 43 + 0.3125) / 4
    assert [found.people(person)[0, 0] for person in range(2)] == pytest.approx(accuracies)
    assert (found.steps, found.converged) == (1, True)


def one_coin_plainly(rows, classes, believed, steps):
    """Second implementation of EM, by loops over probabilities: posterior of each image and accuracy of each person."""
    answers = {}
    for image, person, answer in rows:
        answers.setdefault(image, []).append((person, answer))
    posterior = {i: [sum(a == j for _, a in own) / len(own) for j in range(classes)] for i, own in answers.items()}
    for step in range(steps + 1):
        shares = [1 + sum(posterior[i][j] for i in answers) for j in range(classes)]
        accuracy = []
        for person, (right, wrong) in enumerate(believed):
            own = [posterior[image][answer] for image, who, answer in rows if who == person]
            accuracy.append((right + sum(own)) / (right + wrong + len(own)))
        if step == steps:
            return [posterior[i] for i in sorted(answers)], accuracy
        for i, own in answers.items():
            chance = [
                [accuracy[p] if a == j else (1 - accuracy[p]) / (classes - 1) for p, a in own] for j in range(classes)
            ]
            joint = [share * math.prod(of_one) for share, of_one in zip(shares, chance, strict=True)]
            posterior[i] = [value / sum(joint) for value in joint]


def test_one_coin_against_plain_loops():
    """Until convergence, with known answers: 18 of 20 right, 10 of 20, 8 of 20."""
    truth, votes = make_crowd(4, 60, 6, 3, [0.9, 0.6, 0.3] * 2, classes=7)
    seen = np.zeros((6, 7, 7), dtype=int)
    seen[:, 0, 0], seen[:, 3, 3], seen[:, 3, 4] = 8, [10, 2, 0] * 2, [2, 10, 12] * 2
    rows = list(zip(votes.image.tolist(), votes.person.tolist(), votes.answer.tolist(), strict=True))
    believed = [(5 + 18, 1 + 2), (5 + 10, 1 + 10), (5 + 8, 1 + 12)] * 2
    found = one_coin(votes, 7, np.array(believed, float))
    posterior, accuracy = one_coin_plainly(rows, 7, believed, found.steps)
    assert found.posterior == pytest.approx(np.array(posterior)) and found.converged and found.steps > 3
    for person, one in enumerate(accuracy):
        assert found.people(person) == pytest.approx(symmetric(one, 7))
    labels = aggregate(votes, 7, known_of(seen), Aggregator("one_coin", 0))
    assert labels.label.tolist() == found.posterior.argmax(1).tolist() and (labels.label == truth).mean() > 0.5
    assert (labels.steps, labels.converged, labels.drawn) == (found.steps, True, 0)


@pytest.mark.parametrize("method", AGGREGATIONS)
def test_ties_are_drawn_fairly_and_by_the_seed(method):
    rows = [(image, person, (1, 4)[(image + person) % 2]) for image in range(2000) for person in range(2)]
    votes = votes_of(rows)
    found = [aggregate(votes, 5, NOTHING, method_of(method, votes, seed=seed)) for seed in (0, 0, 1)]
    assert found[0].drawn == 2000 and set(found[0].label) == {1, 4}
    # A teacher who knows nothing and people who never agree leave all classes equally likely.
    assert found[0].certainty == pytest.approx(0.2 if method == "teacher" else 0.5, abs=0.01)
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
