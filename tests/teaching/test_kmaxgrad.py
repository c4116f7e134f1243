"""KMaxGrad against a second implementation: C x d matrices, all pairs in Python loops, no blocks."""

import math

import pytest
import torch

from utils.base.randomness import generator
from utils.teaching import kmaxgrad
from utils.teaching.kmaxgrad import KMaxGrad
from utils.teaching.selector import Look, Seen, Survey


def survey_of(labels, table, logits, codewords, features, explained=None, outlined=None):
    return Survey(labels, table, lambda: Seen(logits, features, codewords, explained), outlined)


def problem(seed, count=18, classes=3, size=6, explained=True, missing=0, share=1.0):
    """A random survey without some of the explanations. A share of the others can be trusted."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    W = torch.randn(classes, size, generator=rng, dtype=torch.float64)
    f = torch.randn(count, size, generator=rng, dtype=torch.float64)
    if not explained:
        return survey_of(labels, torch.full((count, classes), -1), f @ W.T, W, f)
    wanted = [(n, b) for n in range(count) for b in range(classes) if b != labels[n]]
    wanted = [wanted[place] for place in torch.randperm(len(wanted), generator=rng).sort().values.tolist()][missing:]
    table = torch.full((count, classes), -1)
    for row, (n, b) in enumerate(wanted):
        table[n, b] = row
    e = f[[n for n, _ in wanted]] + torch.randn(len(wanted), size, generator=rng, dtype=torch.float64)
    return survey_of(labels, table, f @ W.T, W, f, Look(e @ W.T, e), torch.rand(len(e), generator=rng) < share)


class Plain:
    """The formulas, one matrix at a time."""

    def __init__(self, survey):
        self.outlined = survey.outlined
        self.seen, self.table, self.labels = survey.seen, survey.table, survey.labels.tolist()
        seen = self.seen
        self.mean = sum(seen.features) / len(seen.features)
        self.G = sum(self.gradient(seen.logits[n], seen.features[n], c) for n, c in enumerate(self.labels))

    def gradient(self, z, f, c):
        g = [math.exp(v) / sum(math.exp(w) for w in z.tolist()) - (k == c) for k, v in enumerate(z.tolist())]
        return torch.outer(torch.tensor(g, dtype=torch.float64), f - self.mean)

    def U(self, i, b):
        seen, row = self.seen, self.table[i, b]
        total = self.gradient(seen.logits[i], seen.features[i], self.labels[i])
        if row >= 0 and seen.explained:
            total = total + self.gradient(seen.explained.logits[row], seen.explained.features[row], self.labels[i])
        return total

    def score(self, matrix):
        return ((matrix * self.G).sum() / matrix.norm()).item()

    def pair(self, i, j):
        return self.score(self.U(i, self.labels[j]) + self.U(j, self.labels[i]))

    def own(self, i, b):
        return self.score(self.U(i, b))

    def sure(self, i, j):
        numbers = self.table[i, self.labels[j]], self.table[j, self.labels[i]]
        all_are = self.seen.explained is None or self.outlined.all()
        return all_are or any(number >= 0 and self.outlined[number] for number in numbers)

    def best(self, rows, partners_of=None):
        """(score, i, j) of the best pair of rows, or of the best partner of an image."""
        found = []
        for i in rows if partners_of is None else [partners_of]:
            for j in rows:
                if self.labels[i] != self.labels[j] and (partners_of is not None or i < j):
                    found.append((self.pair(i, j), i, j))
        top = max(score for score, _, _ in found)
        near = [pair for pair in found if pair[0] >= top - kmaxgrad.DOUBT * abs(top) and self.sure(*pair[1:])]
        return max(near or found, key=lambda pair: pair[0])


def check_a_course(survey, length, shortlist=None):
    """Compares pair after pair, with other logits each time. Returns the pairs."""
    pairs, remaining, rows = [], torch.ones(len(survey.labels), dtype=torch.bool), list(range(len(survey.labels)))
    selector = KMaxGrad(generator(0), 0.5)
    for _ in range(length):
        plain = Plain(survey)
        choice = selector.choose(survey, remaining)
        expected, i, j = plain.best(rows) if shortlist is None else shortlisted(plain, rows, shortlist)
        if plain.own(j, plain.labels[i]) > plain.own(i, plain.labels[j]):
            i, j = j, i
        assert (choice.image, choice.partner, choice.counter) == (i, j, plain.labels[j])
        loss = 0 if plain.sure(i, j) else kmaxgrad.DOUBT * abs(expected)
        assert choice.score == pytest.approx(expected - loss)
        for r, partner in choice.partners.items():
            of_class = [row for row in rows if plain.labels[row] == r]
            if r != choice.counter:
                assert partner == plain.best(of_class, partners_of=i)[2]
        assert set(choice.partners) == set(range(survey.num_classes)) - {plain.labels[i]}
        assert choice.partners[plain.labels[j]] == j
        remaining[[i, j]] = False
        rows = [row for row in rows if row not in (i, j)]
        survey = survey.through(survey.seen.codewords.roll(1, 0) * 0.7)
        pairs.append((i, j))
    return pairs


def shortlisted(plain, rows, length):
    """The best pair of the `length` images of largest own score of each class."""
    found = None
    for a in range(3):
        for b in range(a + 1, 3):
            some = []
            for own, other in ((a, b), (b, a)):
                members = [row for row in rows if plain.labels[row] == own]
                some += sorted(members, key=lambda row, other=other: -plain.own(row, other))[:length]
            best = plain.best(sorted(some))
            if found is None or best[0] > found[0]:
                found = best
    return found


@pytest.mark.parametrize("missing", [0, 9])
@pytest.mark.parametrize("explained", [True, False])
@pytest.mark.parametrize("block", [1_024, 4])
def test_a_course_against_a_plain_one(explained, block, missing, monkeypatch):
    monkeypatch.setattr(kmaxgrad, "BLOCK", block)
    monkeypatch.setattr(kmaxgrad, "ROWS", 5 if block == 4 else 8_192)
    check_a_course(problem(block + missing, explained=explained, missing=missing), length=5)


@pytest.mark.parametrize("block", [1_024, 4])
def test_classes_without_explanations_against_each_other(block, monkeypatch):
    """With many classes, each has explanations against a few only."""
    monkeypatch.setattr(kmaxgrad, "BLOCK", block)
    monkeypatch.setattr(kmaxgrad, "SHORTLIST", 7 if block == 4 else 4_000)
    survey = problem(5, count=20, classes=4)
    for a, b in ((0, 1), (1, 0), (2, 3), (3, 1)):
        survey.table[survey.labels == a, b] = -1
    check_a_course(survey, length=5)


def test_pairs_with_a_trusted_explanation_are_preferred(monkeypatch):
    """A wide limit shows the preference in small pools. Classes without explanations come in mixed groups."""
    monkeypatch.setattr(kmaxgrad, "BLOCK", 4)
    monkeypatch.setattr(kmaxgrad, "DOUBT", 0.2)
    for seed in range(4):
        published, preferred = (problem(seed, count=20, classes=4, missing=9, share=share) for share in (1, 0.2))
        for survey in (published, preferred):
            survey.table[survey.labels == 2, 0] = survey.table[survey.labels == 0, 2] = -1
        assert check_a_course(published, length=5) != check_a_course(preferred, length=5)


def test_beyond_the_limit_only_the_shortlist_is_scored(monkeypatch):
    monkeypatch.setattr(kmaxgrad, "EXACT", 5)
    monkeypatch.setattr(kmaxgrad, "SHORTLIST", 2)
    check_a_course(problem(3), length=4, shortlist=2)


def test_ties_go_to_the_first_in_the_list():
    """Every image is four times in the list; rounding differs between them."""
    survey = problem(1, count=18, explained=False)
    order = torch.arange(18).repeat(4)
    fourfold = survey_of(
        survey.labels[order],
        survey.table[order],
        survey.seen.logits[order],
        survey.seen.codewords,
        survey.seen.features[order],
    )
    one, many = (
        KMaxGrad(generator(0), 0.5).choose(s, torch.ones(len(s.labels), dtype=torch.bool)) for s in (survey, fourfold)
    )
    assert (one.image, one.partner, one.partners) == (many.image, many.partner, many.partners)


def test_a_pool_without_gradient_gives_a_pair():
    survey = survey_of(
        torch.tensor([0, 1, 1]), torch.full((3, 2), -1), torch.zeros(3, 2), torch.zeros(2, 4), torch.ones(3, 4)
    )
    choice = KMaxGrad(generator(0), 0.5).choose(survey, torch.ones(3, dtype=torch.bool))
    assert (choice.image, choice.partner, choice.score) == (0, 1, 0)
