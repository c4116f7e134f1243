"""The optimal student: it keeps its features and learns its head to the minimum of the risk after every lesson (ours).

MaxGrad and CMaxGrad are derived for a student that has learned what it was taught before the next example is chosen; some SGD steps are far
from that. There is no learning rate, no number of steps and no seed, and features are computed once, so that a course takes seconds.
"""

import copy

import torch
from torch import Tensor, nn

from models.resnet import Network
from utils.teaching.choice import Look, Survey, logits_of
from utils.teaching.frozen import Features, FrozenStudent
from utils.teaching.maxgrad import margin_risk

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


def through(seen: Features, codewords: Tensor, explain: bool) -> Survey:
    """A pool through a bias-free head (C, d), with the explanations if `explain`."""
    explained = Look(logits_of(seen.explained, codewords), seen.explained) if explain and len(seen.explained) else None
    return Survey(seen.labels, seen.table, logits_of(seen.images, codewords), codewords, seen.images, explained)


def raw_head(codewords: Tensor, seen: Features) -> nn.Linear:
    """The head on features as a network gives them that answers as codewords (C, d) do on standardised ones: centring becomes a bias."""
    weight = codewords / seen.scale
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": -(weight @ seen.mean)})
    return head


class OptimalStudent(FrozenStudent):
    """As `student.Student`: frozen features, and a head that is the minimum of the risk of all that was taught."""

    remedies = "--pretrained and --selection"

    def _begin(self) -> None:
        """Knows nothing, W = 0."""
        super()._begin()
        self._head = torch.zeros(self.table.shape[1], self._network.num_features, dtype=torch.float64)

    def strengths(self, features: Tensor) -> Tensor:
        """Its logits."""
        return logits_of(features, self._head)

    def survey(self, explain: bool) -> Survey:
        """As in `Student`."""
        return through(self.features, self._head, explain)

    def learn(self) -> None:
        """As in `Student`; it cannot diverge."""
        features, labels = self._teaching_set()
        self._head = learn_head(features, labels, self.table.shape[1], self._how.ridge)

    def network(self) -> Network:
        """A classifier of the same answers: that features are centred becomes a bias of its head, that they are scaled a factor."""
        network = copy.deepcopy(self._network)
        network.replace_head(raw_head(self._head, self.features))
        return network.to(self._how.device)

    def state_dict(self) -> dict:
        """The head."""
        return {"head": self._head}

    def load_state_dict(self, state: dict) -> None:
        """As in `Student`."""
        self._head = state["head"]
