"""The exemplar student: it remembers what it was taught and answers by likeness, psychology's generalized context model.

Nosofsky, "Attention, Similarity, and the Identification-Categorization Relationship", Journal of Experimental Psychology: General 115
(1986): people store the examples of a category, and p(c) grows with the summed similarity to those of class c. Similarity is here
exp(beta cos) of frozen, centred features; Nosofsky fits beta (his c), attention to the dimensions and biases to each experiment, while
beta is a setting here, and dimensions count alike.

    p(c | x) ~ sum over the items taught of class c of exp(beta cos(x, x_i))

It has no linear head, so what selections ask of one is defined by what it predicts, z_c = log of that sum. MaxGrad and CMaxGrad take the
gradient of the risk by the prediction: with codewords e_c, the unit vectors, <z, e_c - e_k> = z_c - z_k is the margin, and psi follows as
written. KMaxGrad's kernel is that of the unit features, cos, which exp(beta cos) is to first order but for a constant.
"""

from typing import NoReturn

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.base.errors import InputError
from utils.teaching.choice import BLOCK, Look, Survey
from utils.teaching.frozen import FrozenStudent

# z of a class of which nothing was taught: its share is 0 beside any other's, exp(-beta) at the least, but margins remain numbers.
UNSEEN = -1e4


def evidence(features: Tensor, exemplars: Tensor, labels: Tensor, num_classes: int, beta: float) -> Tensor:
    """z_c = log of the sum over the exemplars of class c of exp(beta cos(x, x_i)); softmax of it is p(c | x).

    Args:
        features: of the images that are looked at, (N, d).
        exemplars: features of the items that were taught, (M, d).
        labels: their classes, (M,).
        num_classes: C.
        beta: how fast likeness falls with the angle, above 0 and not above 1000.

    Returns:
        float64 (N, C); UNSEEN for classes without an exemplar. A feature of length 0 is at a right angle to all others.
    """
    memory = F.normalize(exemplars.double(), dim=1)
    return torch.cat(
        [
            _evidence(F.normalize(some.double(), dim=1) @ memory.T, labels, num_classes, beta)
            for some in features.split(BLOCK)
        ]
    )


def _evidence(cosines: Tensor, labels: Tensor, num_classes: int, beta: float) -> Tensor:
    found = torch.full((len(cosines), num_classes), UNSEEN, dtype=torch.float64)
    for c in labels.unique().tolist():
        found[:, c] = (beta * cosines[:, labels == c]).logsumexp(1)
    return found


class ExemplarStudent(FrozenStudent):
    """As `student.Student`: frozen features, and a memory of all that was taught; attended explanations are further exemplars."""

    has_network = False
    remedies = "--pretrained, --beta and --selection"

    def _evidence(self, features: Tensor) -> Tensor:
        exemplars, labels = self._teaching_set() if self._taught else (features[:0], self.labels[:0])
        return evidence(features, exemplars, labels, self.table.shape[1], self._how.beta)

    def strengths(self, features: Tensor) -> Tensor:
        """p(c | x); all alike before the first lesson."""
        return self._evidence(features).softmax(1)

    def survey(self, explain: bool) -> Survey:
        """As in `Student`: logits z, codewords the unit vectors (C, C), features of length 1."""
        seen = self.features
        images = self._look(seen.images)
        explained = self._look(seen.explained) if explain and len(seen.explained) else None
        codewords = torch.eye(self.table.shape[1], dtype=torch.float64)
        return Survey(seen.labels, seen.table, images.logits, codewords, images.features, explained)

    def _look(self, features: Tensor) -> Look:
        return Look(self._evidence(features), F.normalize(features, dim=1))

    def learn(self) -> None:
        """As in `Student`: to have seen is to have learned."""

    def network(self) -> NoReturn:
        """As in `Student`.

        Raises:
            InputError: always, since no checkpoint of a network with a linear head gives its answers.
        """
        raise InputError(
            "--student exemplar answers by likeness and is no network that could be saved; teach --student optimal or sgd."
        )

    def state_dict(self) -> dict:
        """Nothing: all that it knows is its teaching set."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """As in `Student`."""
