"""STRICT and EXPLAIN against plain loops, and their linear SVM against its optimality conditions."""

import math

import numpy as np
import pytest
import torch

from utils.base.randomness import generator
from utils.teaching.explain import EXPLAIN
from utils.teaching.selector import Look, Seen, Survey
from utils.teaching.strict import ALPHA, HYPOTHESES, PENALTY, STRICT, hypotheses, linear_svm, standardized

CLASSES, EACH, WIDTH = 3, 6, 4


def survey_of(seed, explained=True):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    features = torch.randn(len(labels), WIDTH, generator=rng) + 1.2 * torch.eye(WIDTH)[labels]
    table = torch.full((len(labels), CLASSES), -1)
    table[torch.arange(len(labels)), (labels + 1) % CLASSES] = torch.randperm(len(labels), generator=rng)
    table[::2, :] = -1
    logits, others = (torch.randn(len(labels), CLASSES, generator=rng) for _ in range(2))
    seen = Seen(logits, features, torch.eye(CLASSES, WIDTH), Look(others, features) if explained else None)
    return Survey(labels, table, lambda: seen)


def plain_scores(survey, found, shown, explains):
    """Returns the scores and the images that every class's best hypothesis gets right, by the formulas."""
    x, labels = standardized(survey.seen.features), survey.labels.tolist()
    scores, clear = [0.0] * len(x), [True] * len(x)
    for c in range(CLASSES):
        t = [1 if label == c else -1 for label in labels]
        errors = [sum(np.sign(h @ one) != s for one, s in zip(x, t, strict=True)) / len(x) for h in found]

        def likelihood(h, i, t=t):
            return 1.0 if np.sign(h @ x[i]) == t[i] else 1 / (1 + math.exp(-ALPHA * t[i] * (h @ x[i])))

        for h, error in zip(found, errors, strict=True):
            belief = math.prod(likelihood(h, i) for i in shown)
            for i in range(len(x)):
                scores[i] += belief * error * likelihood(h, i)
        best = found[errors.index(min(errors))]
        clear = [kept and np.sign(best @ one) == s for kept, one, s in zip(clear, x, t, strict=True)]
    for i in range(len(x)) if explains else ():
        others = [j for j in range(len(x)) if labels[j] == labels[i] and j != i]
        distance = sum(np.mean((x[i] - x[j])[:-1] ** 2) for j in others) / len(others)
        shares = [survey.seen.explained.logits[row].double().softmax(0) for row in survey.table[i].tolist() if row >= 0]
        entropy = sum(-float((p * p.log()).sum()) for p in shares) / max(len(shares), 1)
        scores[i] /= (1 + math.exp(-distance)) * (1 + math.exp(-entropy))
    return scores, clear


@pytest.mark.parametrize("kind", [STRICT, EXPLAIN])
def test_a_course_against_plain_loops(kind):
    for seed in range(5):
        survey, selector = survey_of(seed), kind(generator(seed), 0.5)
        found = hypotheses(
            standardized(survey.seen.features), survey.labels.numpy(), np.random.default_rng(selector._seed)
        )
        assert found.shape == (HYPOTHESES, WIDTH + 1)
        remaining, shown = torch.ones(len(survey.labels), dtype=torch.bool), []
        while len(survey.labels[remaining].unique()) > 1:
            choice = selector.choose(survey, remaining)
            scores, clear = plain_scores(survey, found, shown, kind.explains)
            left = [i for i in range(len(scores)) if remaining[i] and clear[i]]
            if len({int(survey.labels[i]) for i in left}) < 2:
                left = remaining.nonzero()[:, 0].tolist()
            first = min(left, key=scores.__getitem__)
            second = min((i for i in left if survey.labels[i] != survey.labels[first]), key=scores.__getitem__)
            assert (choice.image, choice.partner) == (first, second)
            assert choice.score == pytest.approx(scores[first])
            assert choice.partners[choice.counter] == second and len(choice.partners) == CLASSES - 1
            remaining[[first, second]] = False
            shown += [first, second]
        assert len(shown) > CLASSES


def test_without_explanations_only_distances_count():
    survey, shown = survey_of(0, explained=False), np.zeros(CLASSES * EACH, dtype=bool)
    strict, explain = (kind(generator(0), 0.5) for kind in (STRICT, EXPLAIN))
    for one in (strict, explain):
        one.choose(survey, torch.from_numpy(~shown))
    ratio = explain.scores(survey, shown)[0] / strict.scores(survey, shown)[0]
    assert (0.25 < ratio).all() and (ratio < 0.5).all()


def test_a_linear_svm_is_optimal():
    rng = np.random.default_rng(0)
    x, positive = rng.normal(size=(60, 8)), rng.random(60) < 0.5
    h, t = linear_svm(x, positive), np.where(positive, 1, -1)
    slope = -2 * PENALTY * (t * np.maximum(0, 1 - t * (x @ h))) @ x
    active = np.abs(h) > 1e-6
    assert slope[active] == pytest.approx(-np.sign(h[active]), abs=1e-2)
    assert (np.abs(slope[~active]) <= 1 + 1e-2).all()
