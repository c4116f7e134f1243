"""KMaxGrad: the gradient of the pool's risk, measured through the kernel of the student (ours).

MaxGrad scores an example as if it changed the student only at x, so it prefers outliers. A linear head generalizes by
k(x, x') = <f(x), f(x')>. KMaxGrad measures how far a lesson, as a direction of the head, lowers the risk of the whole
pool. Related: omniscient teaching (Liu et al., ICML 2017), GradMatch (Killamsetty et al., ICML 2021).

    g(x) = softmax(z(x)) - onehot(c)    f~(x) = f(x) - mean of f over the pool    G = sum over the pool of g(x) f~(x)^T
    U(i; b) = g(x_i) f~(x_i)^T + g(E) f~(E)^T, E = E(x_i; c_i, b); the second term is 0 if E is missing
    score of a pair (i, j), c_i != c_j:  < U(i; c_j) + U(j; c_i), G >  /  || U(i; c_j) + U(j; c_i) ||

U(i; b) has rank 2, so it is never stored as a C x d matrix: < g f^T, g' f'^T > = <g, g'> <f, f'>.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor

from utils.teaching.selector import BLOCK as ROWS
from utils.teaching.selector import DOUBT, Choice, Look, Selector, Survey, candidates, left_classes

EXACT = 20_000  # up to this many remaining images, all pairs are scored
SHORTLIST = 4_000  # beyond, only this many images of each class, those with the largest own score
BLOCK = 1_024  # images of a group that are scored against another group at a time
TIE = 1e-10  # scores closer than this, relative to the larger, are equal up to rounding


def ratio(along: Tensor, square: Tensor) -> Tensor:
    """p / sqrt(q); 0 if q is 0 or, by rounding, negative."""
    return torch.where(square > 0, along / square.sqrt(), 0)


def ties(score, top: float):
    """True for scores that equal the largest up to rounding."""
    return score >= top - TIE * abs(top)


class Gradients(NamedTuple):
    """U of n images."""

    rows: Tensor  # of the pool, (n,)
    terms: list[tuple[Tensor, Tensor]]  # g (n, C) and f~ (n, d) of the images, and of their explanations if taught
    along: Tensor  # p = < U, G >, (n,)
    square: Tensor  # q = || U ||^2, (n,)

    def scores(self, block: slice, other: "Gradients") -> Tensor:
        """Scores of all pairs of a block of these images and n' others, (n, n')."""
        cross = sum((g[block] @ h.T) * (f[block] @ e.T) for g, f in self.terms for h, e in other.terms)
        square = self.square[block, None] + other.square + 2 * cross
        return ratio(self.along[block, None] + other.along, square)


class PoolGradient:
    """G of the whole pool, (C, d), and U of its images."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.images, self.explained = Look(survey.seen.logits, survey.seen.features), survey.seen.explained
        self.mean = self.images.features.mean(0, dtype=torch.float64)
        blocks = torch.arange(len(survey.labels)).split(ROWS)
        self.G = sum(g.T @ f for g, f in (self._term(self.images, rows, survey.labels[rows]) for rows in blocks))

    def _term(self, look: Look, numbers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """g (n, C) and f~ (n, d) of some pictures, float64."""
        g = look.logits[numbers].double().softmax(1)
        g[torch.arange(len(labels)), labels] -= 1
        return g, look.features[numbers].double() - self.mean

    def of(self, rows: Tensor, counter: int | None) -> Gradients:
        """U(i; counter) of images i; without explanations if `counter` is None."""
        survey, labels = self.survey, self.survey.labels[rows]
        terms = [self._term(self.images, rows, labels)]
        if counter is not None and self.explained is not None:
            numbers = survey.table[rows, counter]
            g, f = self._term(self.explained, numbers, labels)
            terms.append((g * (numbers >= 0)[:, None], f))
        zero = torch.zeros(())
        along = sum((((g @ self.G) * f).sum(1) for g, f in terms), zero)
        square = sum(((g * g).sum(1) * (f * f).sum(1) for g, f in terms), zero)
        square += 2 * sum(((g * h).sum(1) * (f * e).sum(1) for (g, f), (h, e) in combinations(terms, 2)), zero)
        return Gradients(rows, terms, along, square)

    def own(self, rows: Tensor, counter: int | None) -> Tensor:
        """Score < U, G > / || U || of each image without a partner, (n,)."""
        gradients = (self.of(block, counter) for block in rows.split(ROWS))
        return torch.cat([ratio(u.along, u.square) for u in gradients])

    def shortlist(self, rows: Tensor, counter: int | None, length: int) -> Tensor:
        """The rows with the largest own score, in list order."""
        if len(rows) <= length:
            return rows
        return rows[self.own(rows, counter).argsort(descending=True, stable=True)[:length].sort().values]


class KMaxGrad(Selector):
    """The pair with the largest score of all pairs of remaining images of different classes."""

    explains = True

    def choose(self, survey: Survey, remaining: Tensor) -> Choice:
        """Returns the best pair, larger own score first, and the best partner in every other class."""
        pool, labels = PoolGradient(survey), survey.labels
        score, *pair = best_pair(survey, _groups(pool, remaining))
        own = [pool.own(torch.tensor([i]), int(labels[j])).item() for i, j in (pair, pair[::-1])]
        image, partner = pair[::-1] if own[1] > own[0] and not ties(*own) else pair
        a, partners = int(labels[image]), {}
        any_pair = torch.ones(survey.num_classes, survey.num_classes, dtype=torch.bool)
        for b in labels.unique().tolist():
            if b != a:
                one, blocks = pool.of(torch.tensor([image]), b), candidates(labels, remaining, b).split(ROWS)
                _, *found = best_pair(survey, ((one, pool.of(block, a), any_pair) for block in blocks))
                partners[b] = sum(found) - image
        counter = int(labels[partner])
        return Choice(image, partner, counter, partners | {counter: partner}, score)


def _groups(pool: PoolGradient, remaining: Tensor) -> Iterator[tuple[Gradients, Gradients, Tensor]]:
    """Yields groups of images that contain all pairs, and the pairs of classes to score between them, bool (C, C).

    Two classes with explanations against each other form groups of their own, since U depends on the other class.
    """
    survey = pool.survey
    length = len(remaining) if remaining.sum() <= EXACT else SHORTLIST
    members = {c: candidates(survey.labels, remaining, c) for c in left_classes(survey.labels, remaining)}
    explained = torch.zeros(survey.num_classes, survey.num_classes, dtype=torch.bool)
    if pool.explained is not None:
        for c, rows in members.items():
            explained[c] = (survey.table[rows] >= 0).any(0)
    explained |= explained.T.clone()
    for a, b in combinations(members, 2):
        if explained[a, b]:
            one, two = (pool.of(pool.shortlist(members[c], r, length), r) for c, r in ((a, b), (b, a)))
            yield one, two, explained
    # All other pairs share groups of mixed classes. With hundreds of classes, one pair at a time would be slow.
    others = ~explained & ~torch.eye(survey.num_classes, dtype=torch.bool)
    if members and others.any():
        rows = torch.cat([pool.shortlist(of_class, None, length) for of_class in members.values()])
        groups = [pool.of(block, None) for block in rows.split(SHORTLIST)]
        for one, two in combinations_with_replacement(groups, 2):
            yield one, two, others


def best_pair(survey: Survey, groups: Iterable[tuple[Gradients, Gradients, Tensor]]) -> tuple[float, int, int]:
    """Score, less by DOUBT if doubtful, and rows of the best allowed pair. Ties go to the first in the list."""
    labels, found = survey.labels, []
    for one, two, allowed in groups:
        for start in range(0, len(one.rows), BLOCK):
            block = slice(start, start + BLOCK)
            mask = allowed[labels[one.rows[block]]][:, labels[two.rows]]
            if mask.any():
                scores = one.scores(block, two)
                loss = DOUBT * scores.abs() * survey.doubtful(one.rows[block], two.rows)
                scores = (scores - loss).masked_fill(~mask, -torch.inf)
                top = scores.max().item()
                i, j = ties(scores, top).nonzero().T
                pairs = torch.stack([one.rows[block][i], two.rows[j]], 1).sort(1).values
                found.append((top, *min(pairs.tolist())))
    top = max(found)[0]
    return min((pair for pair in found if ties(pair[0], top)), key=lambda pair: pair[1:])
