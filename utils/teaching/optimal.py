"""The optimal student: it keeps its features and learns its head to the minimum of the risk after every lesson (ours).

MaxGrad and CMaxGrad are derived for a student that has learned what it was taught before the next example is chosen; some SGD steps are far
from that. There is no learning rate, no number of steps and no seed, and features are computed once, so that a course takes seconds.
"""

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from models.resnet import Network
from utils.base.errors import InputError
from utils.data.loading import ImageSet
from utils.teaching.choice import Choice, Look, Survey, logits_of
from utils.teaching.maxgrad import margin_risk
from utils.teaching.pool import Pool
from utils.teaching.sgd import make_network
from utils.teaching.student import Sight, StudentSettings
from utils.training import evaluation

GRADIENT = 1e-7  # the head is learned when no entry of the gradient is larger; a looser one could let close scores change places


def learn_head(features: Tensor, labels: Tensor, num_classes: int, ridge: float) -> Tensor:
    """W = argmin of R + ridge ||W||^2 by L-BFGS with strong Wolfe line search from W = 0; the minimum is unique (R is convex).

    Args:
        features: of the items taught, float64 (M, d).
        labels: their classes, (M,).
        num_classes: C.
        ridge: lambda > 0.

    Returns:
        float64 (C, d).
    """
    # The minimum lies in the span of the features. In an orthonormal basis of it every step is the same, and takes a fraction of the time.
    basis, coordinates = torch.linalg.qr(features.T)  # (d, r), (r, M)
    W = torch.zeros(num_classes, len(coordinates), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [W],
        max_iter=1000,
        max_eval=5000,
        history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_grad=GRADIENT,
        tolerance_change=0,
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = margin_risk((W @ coordinates).T, labels) + ridge * W.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return W.detach() @ basis.T


@dataclass(frozen=True)
class Features:
    """What the optimal student sees, once and for all, in single precision.

    Attributes:
        labels, table: of the pool, as in `Labels`.
        images: of the pool, (N, d).
        explained: of its explanations, (M, d); M is 0 where none are taught.
        test: of the test list, (T, d).
        mean: of the pool's features before they were centred, float64 (d,).
        scale: mean norm of the pool's centred features, by which all are divided.
    """

    labels: Tensor
    table: Tensor
    images: Tensor
    explained: Tensor
    test: Tensor
    mean: Tensor
    scale: float

    @classmethod
    def standardised(cls, pool: Survey, test: Tensor) -> "Features":
        """From features as a network gives them."""
        explained = pool.explained.features if pool.explained else pool.features[:0]
        origin = torch.zeros(test.shape[1], dtype=torch.float64)
        return cls(pool.labels, pool.table, pool.features, explained, test, origin, 1.0).part(torch.arange(len(pool.labels)))

    def part(self, rows: Tensor) -> "Features":
        """For a pool of some of the images, centred and scaled by these."""
        images = self.images[rows]
        mean = images.mean(0, dtype=torch.float64)
        centred = (images - mean).float()
        scale = centred.norm(dim=1).double().mean().item() or 1.0

        def moved(features: Tensor) -> Tensor:
            return ((features - mean) / scale).float()

        seen = moved(images), moved(self.explained), moved(self.test)
        return Features(self.labels[rows], self.table[rows], *seen, self.mean + self.scale * mean, self.scale * scale)

    def through(self, codewords: Tensor, explain: bool) -> Survey:
        """The pool through a bias-free head (C, d), with the explanations if `explain`."""
        explained = Look(logits_of(self.explained, codewords), self.explained) if explain and len(self.explained) else None
        return Survey(self.labels, self.table, logits_of(self.images, codewords), codewords, self.images, explained)


class OptimalStudent:
    """As `student.Student`: frozen features, and a head that is the minimum of the risk of all that was taught.

    Args:
        pool: what can be taught.
        test: the test list in test view, only measured.
        explain: whether explanations are taught.
        how: settings.
    """

    keeps_features = True
    remedies = "--pretrained and --selection"

    def __init__(self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings) -> None:
        self.explain = explain
        self.labels, self.table = pool.images.labels, pool.table
        self._pool, self._test, self._how = pool, test, how
        self._network = make_network(how.arch, pool.table.shape[1], how.pretrained, how.seed, how.device, freeze_features=True)
        self._begin()

    def _begin(self) -> None:
        """Knows nothing, W = 0."""
        self._head = torch.zeros(self.table.shape[1], self._network.num_features, dtype=torch.float64)
        self._taught: list[tuple[Tensor, int]] = []

    @cached_property
    def _features(self) -> Features:
        """Computed when they are first needed.

        Raises:
            InputError: they are not finite.
        """
        sight = Sight(self._network, self._pool, self._test, self._how, budget=0)
        pool, test = sight.survey(self.explain), sight.test.pooled()
        explained = [pool.explained.features] if pool.explained else []
        if not all(features.isfinite().all() for features in (pool.features, test, *explained)):
            raise InputError(f"--pretrained {self._how.pretrained}: these weights make features that are not finite; give others.")
        return Features.standardised(pool, test)

    def survey(self, explain: bool) -> Survey:
        """As in `Student`."""
        return self._features.through(self._head, explain)

    def add(self, choice: Choice) -> None:
        """As in `Student`."""
        seen = self._features
        pair = ((choice.image, choice.partner), (choice.partner, choice.image))
        items = [(seen.images[number], self.labels[number]) for number, _ in pair]
        for number, other in pair if self.explain else ():
            row = self.table[number, self.labels[other]]
            if row >= 0:
                items.append((seen.explained[row], self.labels[number]))
        self._taught += [(features.double(), int(label)) for features, label in items]

    def learn(self) -> None:
        """As in `Student`; it cannot diverge."""
        features, labels = self._teaching_set()
        self._head = learn_head(features, labels, self.table.shape[1], self._how.ridge)

    def _teaching_set(self) -> tuple[Tensor, Tensor]:
        features, labels = zip(*self._taught, strict=True)
        return torch.stack(features), torch.tensor(labels)

    def accuracies(self) -> tuple[float, float]:
        """As in `Student`."""
        taught, labels = self._teaching_set()
        return (
            evaluation.share_right(taught @ self._head.T, labels),
            evaluation.share_right(logits_of(self._features.test, self._head), self._test.labels),
        )

    def network(self) -> Network:
        """A classifier of the same answers: that features are centred becomes a bias of its head, that they are scaled a factor."""
        network = copy.deepcopy(self._network)
        weight = self._head / self._features.scale
        head = nn.Linear(weight.shape[1], weight.shape[0])
        head.load_state_dict({"weight": weight, "bias": -(weight @ self._features.mean)})
        network.replace_head(head)
        return network.to(self._how.device)

    def anew(self, rows: Tensor) -> "OptimalStudent":
        """As in `Student`; features are not computed again."""
        other = copy.copy(self)
        other.labels, other.table, other._features = self.labels[rows], self.table[rows], self._features.part(rows)
        other._begin()
        return other

    def state_dict(self) -> dict:
        """The head."""
        return {"head": self._head}

    def load_state_dict(self, state: dict) -> None:
        """As in `Student`."""
        self._head = state["head"]
