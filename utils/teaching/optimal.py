"""The optimal student: fixed features, and a head trained to convergence after every lesson (ours).

MaxGrad and CMaxGrad are derived for a student that has fully learned the lessons so far. A few SGD steps do not achieve
that. This student has no learning rate, number of steps or seed. Features are computed once, so a course takes seconds.
"""

import copy
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from models.resnet import Network
from utils.base.errors import InputError
from utils.data.loading import ImageSet
from utils.teaching.pool import Pool
from utils.teaching.selector import Choice, Look, Seen, Survey, logits_of
from utils.teaching.student import Student, StudentSettings, margin_risk, soft_margin_risk
from utils.training import evaluation

GRADIENT = 1e-7  # largest entry of the gradient at convergence; a looser limit could swap close scores


def learn_head(features: Tensor, targets: Tensor, num_classes: int, ridge: float, gradient: float = GRADIENT) -> Tensor:
    """W = argmin of R + ridge ||W||^2, ridge > 0, by L-BFGS from W = 0. The minimum is unique.

    Takes features of the taught items, float64 (M, d), and their classes, (M,), or class probabilities, (M, C).
    Returns float64 (C, d).
    """
    risk = margin_risk if targets.ndim == 1 else soft_margin_risk
    # The minimum lies in the span of the features. An orthonormal basis of it gives the same steps, but faster.
    basis, coordinates = torch.linalg.qr(features.T)  # (d, r), (r, M)
    W = torch.zeros(num_classes, len(coordinates), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [W],
        max_iter=1000,
        max_eval=5000,
        history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_grad=gradient,
        tolerance_change=0,
    )

    def loss() -> Tensor:
        W.grad = None
        value = risk((W @ coordinates).T, targets) + ridge * W.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return W.detach() @ basis.T


class Features(NamedTuple):
    """Features of images (N, d), explanations (M, d) and test list (T, d), standardized by the images."""

    images: Tensor
    explained: Tensor
    test: Tensor
    mean: Tensor  # subtracted, float64 (d,)
    scale: float  # divisor

    def standardized(self, rows: Tensor) -> "Features":
        """Keeps some of the images; centers everything by their mean, then divides by their mean norm."""
        images = self.images[rows]
        mean = images.mean(0, dtype=torch.float64)
        centered = (images - mean).float()
        scale = centered.norm(dim=1).double().mean().item() or 1.0

        def moved(features: Tensor) -> Tensor:
            return ((features - mean) / scale).float()

        mean_of_all, scale_of_all = self.mean + self.scale * mean, self.scale * scale
        return Features(moved(images), moved(self.explained), moved(self.test), mean_of_all, scale_of_all)


class OptimalStudent(Student):
    """Fixed features, and the head that minimizes the risk on the teaching set; 0 before the first lesson."""

    map_budget = 0  # one pass is enough

    def __init__(self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings) -> None:
        super().__init__(pool, test, explain, how, freeze_features=True)
        self._forget()

    def _forget(self) -> None:
        self._taught: list[Tensor] = []
        self._classes: list[int] = []
        self._head = torch.zeros(self.num_classes, self.network.num_features, dtype=torch.float64)

    @cached_property
    def features(self) -> Features:
        """Features of pool and test list. Raises InputError if they are not finite."""
        pool = self.look(self.explain)
        explained = pool.explained.features if pool.explained else pool.features[:0]
        raw = Features(pool.features, explained, self._test_maps.pooled(), torch.zeros(1, dtype=torch.float64), 1.0)
        if not all(values.isfinite().all() for values in raw[:3]):
            raise InputError(f"The features of --pretrained {self.how.pretrained} are not finite. Use other weights.")
        return raw.standardized(torch.arange(len(self.labels)))

    def survey(self, explain: bool) -> Survey:
        head = self._head

        def look() -> Seen:
            images, explained = self.features.images, self.features.explained
            seen = Look(logits_of(explained, head), explained) if explain and len(explained) else None
            return Seen(logits_of(images, head), images, head, seen)

        return Survey(self.labels, self.table, look, self.pool.outlined)

    def add(self, choice: Choice) -> None:
        for number, row in choice.items(self.labels, self.table, self.explain):
            features = self.features.images[number] if row is None else self.features.explained[row]
            self._taught.append(features.double())
            self._classes.append(int(self.labels[number]))

    def learn(self) -> None:
        features, labels = torch.stack(self._taught), torch.tensor(self._classes)
        self._head = learn_head(features, labels, self.num_classes, self.how.ridge)

    def accuracy(self) -> tuple[float, float]:
        taught = logits_of(torch.stack(self._taught), self._head)
        test = logits_of(self.features.test, self._head)
        right = evaluation.share_right
        return right(taught, torch.tensor(self._classes)), right(test, self.test.labels)

    def classifier(self) -> Network:
        """Returns a network with raw features: the head's weight includes the scaling, its bias the centering."""
        weight = self._head / self.features.scale
        head = nn.Linear(weight.shape[1], weight.shape[0])
        head.load_state_dict({"weight": weight, "bias": -(weight @ self.features.mean)})
        network = copy.deepcopy(self.network)
        network.fc = head
        return network.to(self.how.device)

    def untaught(self, rows: Tensor) -> Self:
        """As in `Student`. The same features, standardized by these rows."""
        student = copy.copy(self)
        student.labels, student.table = self.labels[rows], self.table[rows]
        student.features = self.features.standardized(rows)
        student._forget()
        return student

    def state_dict(self) -> dict:
        return {"head": self._head}

    def load_state_dict(self, state: dict) -> None:
        self._head = state["head"]
