"""KMaxGrad: the gradient of the pool's risk, measured through the kernel of the student (ours).

MaxGrad takes the example with the longest functional gradient, as if teaching x changed the student only at x. It
chases outliers, which teach nothing about the rest. A linear head generalizes by k(x, x') = <f(x), f(x')>. KMaxGrad
measures how far a lesson, taken as a direction of the head, lowers the risk of the whole pool. Related: omniscient
teaching (Liu et al., ICML 2017), GradMatch (Killamsetty et al., ICML 2021).

    g(x) = softmax(z(x)) - onehot(c)    f~(x) = f(x) - mean of f over the pool    G = sum over the pool of g(x) f~(x)^T
    U(i; b) = g(x_i) f~(x_i)^T + g(E) f~(E)^T, E = E(x_i; c_i, b); the second term is 0 if E is missing
    score of a pair (i, j), c_i != c_j:  < U(i; c_j) + U(j; c_i), G >  /  || U(i; c_j) + U(j; c_i) ||

U(i; b) has rank 2, so no C x d matrix is computed for it: < g f^T, g' f'^T > = <g, g'> <f, f'>.
"""

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor

from utils.teaching.selector import BLOCK as ROWS
from utils.teaching.selector import Choice, Look, Selector, Survey, candidates, left_classes

EXACT = 20_000  # images up to which all pairs are scored
SHORTLIST = 4_000  # beyond, only so many images of a class take part, those of the largest own score
BLOCK = 1_024  # images of one group scored against all of another at a time
TIE = 1e-10  # scores that differ by less, relative to the larger, are equal up to rounding


class Gradients(NamedTuple):
    """Gradients U of n images, each a sum of one or two rank-one terms g f~^T: of the image, and of its explanation.

    Attributes:
        rows: of the pool, (n,).
        terms: residuals g (n, C) and centered features f~ (n, d) of each term; g is 0 for missing explanations.
        along: p = < U, G >, (n,).
        square: q = || U ||^2, (n,).
    """

    rows: Tensor
    terms: list[tuple[Tensor, Tensor]]
    along: Tensor
    square: Tensor

    def part(self, rows: slice) -> "Gradients":
        terms = [(g[rows], f[rows]) for g, f in self.terms]
        return Gradients(self.rows[rows], terms, self.along[rows], self.square[rows])

    def scores(self, other: "Gradients") -> Tensor:
        """Scores of every pair, (n, n')."""
        cross = sum((g @ h.T) * (f @ e.T) for g, f in self.terms for h, e in other.terms)
        return _ratio(self.along[:, None] + other.along, self.square[:, None] + other.square + 2 * cross)

    def own(self) -> Tensor:
        """Score of every image without a partner, (n,)."""
        return _ratio(self.along, self.square)


def _ratio(along: Tensor, square: Tensor) -> Tensor:
    """p / sqrt(q); 0 if q is 0, which rounding may turn negative."""
    return torch.where(square > 0, along / square.clamp(min=torch.finfo(square.dtype).tiny).sqrt(), 0)


def _ties(score: float | Tensor, top: float) -> bool | Tensor:
    """True for scores that are equal to the largest up to rounding."""
    return score >= top - TIE * abs(top)


class PoolGradient:
    """The gradient G of the whole pool, and the gradients U of its images."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.mean = survey.features.mean(0, dtype=torch.float64)
        images = Look(survey.logits, survey.features)
        blocks = (
            self._term(images, rows, survey.labels[rows]) for rows in torch.arange(len(survey.labels)).split(ROWS)
        )
        self.gradient = sum(g.T @ f for g, f in blocks)  # G, (C, d)

    def _term(self, look: Look, numbers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """g (n, C) and f~ (n, d) of some pictures, float64."""
        residuals = look.logits[numbers].double().softmax(1)
        residuals[torch.arange(len(labels)), labels] -= 1
        return residuals, look.features[numbers].double() - self.mean

    def of(self, rows: Tensor, counter: int | None) -> Gradients:
        """U(i; counter) of images i; without explanations if `counter` is None or explanations are not taught."""
        survey = self.survey
        labels = survey.labels[rows]
        terms = [self._term(Look(survey.logits, survey.features), rows, labels)]
        if counter is not None and survey.explained is not None:
            numbers = survey.table[rows, counter]
            g, f = self._term(survey.explained, numbers, labels)
            terms.append((g * (numbers >= 0)[:, None], f))
        along = sum(((g @ self.gradient) * f).sum(1) for g, f in terms)
        square = sum((g * g).sum(1) * (f * f).sum(1) for g, f in terms)
        if len(terms) == 2:
            (g, f), (h, e) = terms
            square = square + 2 * ((g * h).sum(1) * (f * e).sum(1))
        return Gradients(rows, terms, along, square)

    def shortlist(self, rows: Tensor, counter: int | None, length: int) -> Tensor:
        """The rows of the largest own score, in list order."""
        if len(rows) <= length:
            return rows
        own = torch.cat([self.of(block, counter).own() for block in rows.split(ROWS)])
        return rows[own.argsort(descending=True, stable=True)[:length].sort().values]


class KMaxGrad(Selector):
    """The pair with the largest score of all pairs of remaining images of different classes."""

    explains = True

    def choose(self, survey: Survey, remaining: Tensor) -> Choice | None:
        pool, found = PoolGradient(survey), []
        for one, two, allowed in _groups(pool, remaining):
            for start in range(0, len(one.rows), BLOCK):
                found += _best_pair(survey, one.part(slice(start, start + BLOCK)), two, allowed)
        if not found:
            return None
        top = max(found)[0]
        score, image, partner = min((pair for pair in found if _ties(pair[0], top)), key=lambda pair: pair[1:])
        pair = torch.tensor([image, partner])
        first, second = (pool.of(pair[[k]], int(survey.labels[pair[1 - k]])).own().item() for k in (0, 1))
        if second > first and not _ties(first, second):
            image, partner = partner, image
        counter = int(survey.labels[partner])
        partners = self._partners(pool, remaining, image) | {counter: partner}
        return Choice(image, partner, counter, partners, score)

    @staticmethod
    def _partners(pool: PoolGradient, remaining: Tensor, image: int) -> dict[int, int]:
        """For every wrong class the candidate that makes the best pair with an image."""
        labels, partners = pool.survey.labels, {}
        own = int(labels[image])
        for wrong in labels.unique().tolist():
            if wrong != own:
                rows = candidates(labels, remaining, wrong)
                alone = pool.of(torch.tensor([image]), wrong)
                scores = torch.cat([alone.scores(pool.of(block, own))[0] for block in rows.split(ROWS)])
                top = scores.max().item()
                partners[wrong] = int(rows[_ties(scores, top).nonzero()[0, 0]])
        return partners


def _groups(pool: PoolGradient, remaining: Tensor) -> Iterator[tuple[Gradients, Gradients, Tensor]]:
    """Yields groups of images that contain all pairs, and the pairs of classes to score between them, bool (C, C).

    Two classes with explanations against each other form two groups, since U depends on the other class. All other
    classes, which are most of them if there are many, form groups of any classes.
    """
    survey = pool.survey
    length = len(remaining) if remaining.sum() <= EXACT else SHORTLIST
    left = left_classes(survey.labels, remaining)
    members = {c: candidates(survey.labels, remaining, c) for c in left}
    explained = torch.zeros(survey.num_classes, survey.num_classes, dtype=torch.bool)
    if survey.explained is not None:
        for c, rows in members.items():
            explained[c] = (survey.table[rows] >= 0).any(0)
        explained |= explained.T.clone()
    for a, b in combinations(members, 2):
        if explained[a, b]:
            one, two = (pool.of(pool.shortlist(members[c], r, length), r) for c, r in ((a, b), (b, a)))
            yield one, two, explained
    others = ~explained & ~torch.eye(survey.num_classes, dtype=torch.bool)
    if members and others.any():
        rows = torch.cat([pool.shortlist(of_class, None, length) for of_class in members.values()])
        groups = [pool.of(block, None) for block in rows.split(SHORTLIST)]
        for one, two in combinations_with_replacement(groups, 2):
            yield one, two, others


def _best_pair(survey: Survey, one: Gradients, two: Gradients, allowed: Tensor) -> list[tuple[float, int, int]]:
    """Score and rows of the best allowed pair between two groups, if any; ties go to the first in the list."""
    mask = allowed[survey.labels[one.rows]][:, survey.labels[two.rows]]
    if not mask.any():
        return []
    scores = one.scores(two).masked_fill(~mask, -torch.inf)
    top = scores.max().item()
    i, j = _ties(scores, top).nonzero().T
    pairs = torch.stack([one.rows[i], two.rows[j]], 1).sort(1).values
    first, second = pairs[(pairs[:, 0] * len(survey.labels) + pairs[:, 1]).argmin()].tolist()
    return [(top, first, second)]
