"""Which pair to teach next: CMaxGrad (Wang & Vasconcelos, ICCV 2021), MaxGrad and random."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

Selection = Literal["CMaxGrad", "MaxGrad", "random"]


@dataclass(frozen=True)
class Choice:
    """One lesson's images, as rows of the pool.

    Attributes:
        image: i.
        partner: j, of class `counter`.
        counter: b, what the student takes i for, or the strongest wrong class that still has an image.
        partners: for every wrong class r, the row of the image shown beside i when the answer is r.
        score: log of the score of i; None where nothing was scored.
    """

    image: int
    partner: int
    counter: int
    partners: dict[int, int]
    score: float | None


def combine_scores(log_psi: Tensor, log_psi_explained: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """log s(i, b), s(i, b) = alpha psi(x_i, c_i) + (1 - alpha) psi(E(x_i; c_i, b), c_i).

    Args:
        log_psi: of the images, (N,).
        log_psi_explained: of the explanations against every class b, (N, C); the column of the true class is ignored.
        labels: c_i, (N,).
        alpha: weight of the image, 0 .. 1.

    Returns:
        (N, C), -inf at b = c_i.
    """
    image = log_psi[:, None] + _log(alpha)
    scores = torch.logaddexp(image.expand_as(log_psi_explained), log_psi_explained + _log(1 - alpha))
    return scores.scatter(1, labels[:, None], -torch.inf)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def choose(scores: Tensor, logits: Tensor, labels: Tensor, remaining: Tensor) -> Choice | None:
    """The pair of the largest score (method of CMaxGrad; with scores that do not depend on b, of MaxGrad).

    Ties go to the image that stands first in the list.

    Args:
        scores: log s(i, b), (N, C).
        logits: the student's, (N, C).
        labels: c_i, (N,).
        remaining: which rows may still be chosen, bool (N,).

    Returns:
        The choice, or None where no image of another class remains to pair with.
    """
    best = scores.amax(1)  # (N,)
    image = _argmax(best, remaining)
    if image is None:
        return None
    own = labels[image].item()
    by_strength = [b for b in logits[image].argsort(descending=True, stable=True).tolist() if b != own]
    # A wrong answer is the largest logit, so it comes first here; after a right answer the strongest wrong class does.
    partners = {b: _best_of_class(best, labels, remaining, b) for b in by_strength}
    available = [b for b in by_strength if (remaining & (labels == b)).any()]
    if not available:
        return None
    counter = available[0]
    return Choice(image, partners[counter], counter, dict(sorted(partners.items())), best[image].item())


def _argmax(values: Tensor, allowed: Tensor) -> int | None:
    """Row of the largest value among the allowed ones, the first of equals; None where none is allowed."""
    rows = allowed.nonzero()[:, 0]
    return rows[values[rows].argmax()].item() if len(rows) else None


def _best_of_class(best: Tensor, labels: Tensor, remaining: Tensor, label: int) -> int:
    """The best remaining image of a class; of all its images where every one is taught already, since people must see one."""
    members = labels == label
    row = _argmax(best, members & remaining)
    return row if row is not None else _argmax(best, members)


def choose_random(labels: Tensor, remaining: Tensor, num_classes: int, rng: Generator) -> Choice | None:
    """A random remaining image, a random other class that has one left, and a random image of it; arguments as in `choose`."""
    available = [b for b in range(num_classes) if (remaining & (labels == b)).any()]
    if len(available) < 2:
        return None
    image = _pick(remaining, rng)
    own = labels[image].item()
    others = [b for b in available if b != own]
    counter = others[torch.randint(len(others), (), generator=rng).item()]
    partners = {}
    for b in range(num_classes):
        if b != own:
            members = labels == b
            partners[b] = _pick(members & remaining if b in available else members, rng)
    return Choice(image, partners[counter], counter, partners, None)


def _pick(allowed: Tensor, rng: Generator) -> int:
    rows = allowed.nonzero()[:, 0]
    return rows[torch.randint(len(rows), (), generator=rng)].item()
