"""Predictions of people's answers: AUC by pairs, folds, tables and calibrations by hand, and people who are a student."""

import itertools
import math

import numpy as np
import pytest
import torch

from utils.people import prediction
from utils.people.prediction import Asked, Calibration, auc_within_class, calibrate, cross_validated, folds_of
from utils.people.pupils import PUPILS, Schooling, Taught
from utils.teaching.student import StudentSettings

C, D = 3, 6


def asked_of(truth, response, person=None, image=None, classes=C):
    count = len(truth)
    person, image = (np.arange(count) if one is None else np.array(one) for one in (person, image))
    return Asked(person, image, np.array(truth), np.array(response), classes)


def test_auc_by_pairs():
    rng = np.random.default_rng(0)
    scores, right, truth = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.6, rng.integers(0, 3, 60)
    areas = []
    for c in range(3):
        here = [(s, r) for s, r, t in zip(scores, right, truth, strict=True) if t == c]
        pairs = [(a, b) for (a, ra), (b, rb) in itertools.product(here, here) if ra and not rb]
        areas.append(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs))
    assert auc_within_class(scores, right, truth) == pytest.approx(sum(areas) / 3)


def test_auc_looks_within_classes_only():
    """Scores that order the classes and nothing within them: 1/2. A class without wrong answers does not count."""
    truth, right = np.array([0, 0, 1, 1, 2]), np.array([True, False, True, False, True])
    assert auc_within_class(np.array([0.9, 0.9, 0.1, 0.1, 0.5]), right, truth) == 0.5
    assert auc_within_class(np.array([0.2, 0.1, 0.3, 0.4, 0.5]), right, truth) == 0.5  # 1 in class 0, 0 in class 1
    assert auc_within_class(np.ones(2), np.array([True, True]), np.array([0, 1])) == 0.5


def test_folds_share_no_person():
    person = np.repeat(np.arange(13), 4)
    folds = folds_of(person, 5, seed=3)
    members = [set(person[folds == fold]) for fold in range(5)]
    assert all(not a & b for a, b in itertools.combinations(members, 2)) and set().union(*members) == set(range(13))
    assert sorted(map(len, members)) == [2, 2, 3, 3, 3]
    assert (folds == folds_of(person, 5, 3)).all() and (folds != folds_of(person, 5, 4)).any()


def test_the_table_by_hand():
    """Class 0 was answered 0, 0, 1; one answer is added to every cell. What is predicted is not looked at."""
    asked = asked_of([0, 0, 0, 1, 0], [0, 0, 1, 2, 2])
    known = np.array([True, True, True, True, False])
    assert np.exp(prediction.table(asked, known, ~known))[0].tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert prediction.chance(asked, known, ~known)[0].tolist() == pytest.approx([math.log(1 / 3)] * 3)


def test_nobody_is_predicted_by_own_answers():
    """Of no predictor do the shares of a fold change with the answers in it."""
    rng = np.random.default_rng(1)
    person, image = np.repeat(np.arange(10), 6), rng.integers(0, 8, 60)
    truth, response, z = image % C, rng.integers(0, C, 60), rng.normal(size=(60, C))
    wanted = person < 2
    changed = np.where(wanted, (response + 1) % C, response)
    ways = [prediction.table, prediction.others, prediction.student(z), prediction.student_with_table(z)]
    for predict in ways:
        before, after = (
            predict(asked_of(truth, answers, person, image), ~wanted, wanted) for answers in (response, changed)
        )
        assert np.array_equal(before, after)
        assert np.exp(before).sum(1) == pytest.approx(np.ones(wanted.sum()))


def test_other_peoples_answers_count_where_pictures_differ():
    """All answer 1 to picture 0 and 2 to picture 3, both of class 0: that is learned, and the table alone cannot know it."""
    image = np.tile([0, 3], 20)
    asked = asked_of(np.zeros(40, int), np.where(image == 0, 1, 2), np.repeat(np.arange(20), 2), image)
    wanted = asked.person == 19
    shares = np.exp(prediction.others(asked, ~wanted, wanted))
    assert shares[0, 1] > 0.95 and shares[1, 2] > 0.95
    assert np.exp(prediction.table(asked, ~wanted, wanted)).max() < 0.6


def test_calibration_by_hand():
    z = np.log(np.array([[0.5, 0.25, 0.25]]))
    shares = np.exp(Calibration(1.0, 0.2).log_shares(z))[0]
    assert shares.tolist() == pytest.approx([0.4 + 0.2 / 3, 0.2 + 0.2 / 3, 0.2 + 0.2 / 3])
    prior = np.log(np.array([[0.2, 0.4, 0.4]]))
    assert np.exp(Calibration(1.0, 1e-12, 1.0).log_shares(z, prior))[0].tolist() == pytest.approx([1 / 3] * 3)
    assert np.exp(Calibration(1.0, 1e-12, 2.0).log_shares(z, prior))[0].tolist() == pytest.approx([0.2, 0.4, 0.4])


def drawn(shares, rng):
    return (rng.random((len(shares), 1)) > shares.cumsum(1)).sum(1).clip(max=shares.shape[1] - 1)


def test_calibration_finds_temperature_and_lapses():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(20_000, C)) * 4
    found = calibrate(z, drawn(np.exp(Calibration(2.0, 0.3).log_shares(z)), rng))
    assert found.temperature == pytest.approx(2.0, rel=0.1) and found.lapses == pytest.approx(0.3, abs=0.03)


def school_of(rng, lr):
    how = StudentSettings("resnet18", "none", 1e-3, True, 10, lr, 0.9, 1e-4, 0.0, 64, 4, 0, 0, "cpu", beta=5.0)
    return Schooling(C, how, torch.randn(C, D, generator=rng) / 10, torch.full((D,), 0.5, dtype=torch.float64), 2.0)


def simulated(people=60, lessons=12, questions=20):
    """People who remember: each answers as the exemplar student of his or her own lessons; and what each kind of student would say."""
    rng, draws = torch.Generator().manual_seed(5), np.random.default_rng(5)
    school = school_of(rng, lr=1e-4)
    centres = torch.randn(C, D, generator=rng)
    strengths, columns = {kind: [] for kind in PUPILS}, []
    for person in range(people):
        labels, truth = (torch.randint(C, (n,), generator=rng) for n in (lessons, questions))
        taught = Taught([centres[c][None] + 1.5 * torch.randn(1, D, generator=rng) for c in labels], labels)
        seen = centres[truth] + 1.5 * torch.randn(questions, D, generator=rng)
        for kind, pupil in PUPILS.items():
            strengths[kind].append(pupil(taught, seen, school))
        answers = drawn(strengths["exemplar"][-1].softmax(1).numpy(), draws)
        columns += [
            (person, len(columns) + n, int(t), int(a)) for n, (t, a) in enumerate(zip(truth, answers, strict=True))
        ]
    person, image, truth, response = np.array(columns).T
    return Asked(person, image, truth, response, C), {
        kind: torch.cat(found).numpy() for kind, found in strengths.items()
    }


def test_people_who_are_the_exemplar_student_are_predicted_best_by_it():
    """Alone and beside the table it beats the table and the other students; its calibration is what people are: as it says, no lapses."""
    asked, strengths = simulated()
    folds = folds_of(asked.person, 5, 0)
    alone = {kind: cross_validated(asked, folds, prediction.student(z)) for kind, z in strengths.items()}
    beside = {
        kind: cross_validated(asked, folds, prediction.student_with_table(z)).log_likelihood.mean()
        for kind, z in strengths.items()
    }
    likelihood, area = (
        {kind: getattr(found, name).mean() for kind, found in alone.items()} for name in ("log_likelihood", "auc")
    )
    table = cross_validated(asked, folds, prediction.table)
    for found in (likelihood, area, beside):
        assert max(found, key=found.get) == "exemplar"
    assert likelihood["exemplar"] > table.log_likelihood.mean() + 0.1 and area["exemplar"] > 0.65
    assert table.auc.tolist() == [0.5] * 5
    rows = np.arange(len(asked.truth))
    own = np.log(
        torch.from_numpy(strengths["exemplar"]).softmax(1).numpy()[rows, asked.response]
    ).mean()  # the likelihood of the truth
    assert likelihood["exemplar"] == pytest.approx(own, abs=0.02)
    found = calibrate(strengths["exemplar"], asked.response)
    assert found.temperature == pytest.approx(1, abs=0.15) and found.lapses < 0.1


def test_the_student_of_sgd_takes_its_steps_after_every_lesson():
    """Against steps written out, on features as they were before they were centred and scaled; attended explanations are items too."""
    rng = torch.Generator().manual_seed(7)
    school = school_of(rng, lr=1e-3)
    features, labels = [torch.randn(k, D, generator=rng) for k in (1, 2, 1)], torch.tensor([0, 2, 1])
    W, velocity, how = school.head.clone().double(), torch.zeros(C, D, dtype=torch.float64), school.how
    raw = [some.double() * 2.0 + 0.5 for some in features]
    for count in (1, 2, 3):
        items = [(f, int(c)) for some, c in zip(raw[:count], labels, strict=False) for f in some]
        for _ in range(how.steps):
            W = W.detach().requires_grad_()
            risk = sum(torch.exp(-0.5 * (f @ (W[c] - W[k]))) for f, c in items for k in range(C) if k != c) / len(items)
            (gradient,) = torch.autograd.grad(risk, W)
            velocity = how.momentum * velocity + gradient + how.weight_decay * W.detach()
            W = W.detach() - how.lr * velocity
    seen = torch.randn(4, D, generator=rng)
    expected = (seen.double() * 2.0 + 0.5) @ W.T
    torch.testing.assert_close(PUPILS["sgd"](Taught(features, labels), seen, school), expected, rtol=1e-3, atol=1e-4)
