"""Machine students taught picture by picture what a person was shown: what each would answer then.

They are the students of `utils.teaching.students` on features that are frozen, without a pool to choose from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from utils.teaching.choice import logits_of
from utils.teaching.exemplar import evidence
from utils.teaching.optimal import learn_head
from utils.teaching.sgd import take_steps
from utils.teaching.student import StudentSettings
from utils.teaching.students import StudentKind


@dataclass(frozen=True)
class Taught:
    """A person's lessons, in order.

    Attributes:
        features: of each lesson the items it teaches, standardised as the optimal student's, (k, d): the picture, and its attended
            explanation where that is taught.
        labels: the class of each lesson, (L,).
    """

    features: Sequence[Tensor]
    labels: Tensor

    def items(self) -> tuple[Tensor, Tensor]:
        """All items, float64 (M, d), and their classes (M,)."""
        counts = torch.tensor([len(some) for some in self.features])
        return torch.cat(list(self.features)).double(), self.labels.repeat_interleave(counts)


@dataclass(frozen=True)
class Schooling:
    """What all students of a comparison have in common.

    Attributes:
        num_classes: C.
        how: settings of the students.
        head: the head that the student of SGD begins with, (C, d).
        mean, scale: what standardised the features, float64 (d,) and a number: the student of SGD sees them as they were.
    """

    num_classes: int
    how: StudentSettings
    head: Tensor
    mean: Tensor
    scale: float


Pupil = Callable[[Taught, Tensor, Schooling], Tensor]  # from lessons and features (T, d) to strengths, float64 (T, C)


def optimal(taught: Taught, seen: Tensor, school: Schooling) -> Tensor:
    """The optimal student's logits."""
    return logits_of(seen, learn_head(*taught.items(), school.num_classes, school.how.ridge))


def exemplar(taught: Taught, seen: Tensor, school: Schooling) -> Tensor:
    """The exemplar student's log sums of similarity."""
    return evidence(seen, *taught.items(), school.num_classes, school.how.beta)


def sgd(taught: Taught, seen: Tensor, school: Schooling) -> Tensor:
    """The released student's logits, its features frozen: some steps on all that was taught, after every lesson."""
    how = school.how
    head = nn.Linear(school.head.shape[1], school.num_classes, bias=False)
    head.load_state_dict({"weight": school.head})
    optimizer = torch.optim.SGD(head.parameters(), how.lr, momentum=how.momentum, weight_decay=how.weight_decay)

    def raw(features: Tensor) -> Tensor:
        return (features * school.scale + school.mean).float()

    for lesson in range(1, len(taught.features) + 1):
        features, labels = Taught(taught.features[:lesson], taught.labels[:lesson]).items()
        take_steps(partial(head, raw(features)), labels, optimizer, how)
    return logits_of(raw(seen), head.weight.detach())


PUPILS: dict[StudentKind, Pupil] = {"optimal": optimal, "sgd": sgd, "exemplar": exemplar}
