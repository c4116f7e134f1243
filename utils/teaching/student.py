"""Who is taught: what the teaching loop asks of a student, and how every student sees images and explanations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Protocol

import torch
from torch import Tensor

from models.resnet import Arch, Network
from utils.base import processes
from utils.data.loading import ImageSet, batches
from utils.teaching.choice import Choice, Look, Survey
from utils.teaching.pool import Pool
from utils.training.features import HELD_BUDGET, FeatureMaps


@dataclass(frozen=True)
class StudentSettings:
    """Settings of a student.

    Attributes:
        arch: of its network, a name of `models.resnet.ARCHITECTURES`.
        pretrained: its generic features, as in `models.weights.load_backbone`.
        ridge: lambda, the weight of ||W||^2 beside the risk (optimal).
        freeze_features: whether only its head learns (sgd; the optimal student's features never change).
        steps: SGD steps per lesson (sgd).
        lr, momentum, weight_decay: of SGD (sgd). Momentum is carried over from lesson to lesson.
        max_grad_norm: a gradient longer than this is scaled down to it (one hard item can make it e^10 times as long as the others);
            0: never (sgd).
        image_size: side of the images in pixels.
        batch_size: images per forward pass over the pool and the test list.
        seed: of the head's initialisation (and of all weights where `pretrained` is `none`).
        workers: threads that load.
        device: where it lives.
    """

    arch: Arch
    pretrained: str
    ridge: float
    freeze_features: bool
    steps: int
    lr: float
    momentum: float
    weight_decay: float
    max_grad_norm: float
    image_size: int
    batch_size: int
    seed: int
    workers: int
    device: str


class Student(Protocol):
    """A student with its pool and its test list. It is made as `STUDENTS[name](pool, test, explain, how)`, and looks at nothing before it
    is asked to.

    Attributes:
        labels: the classes of its pool, (N,).
        table: rows of the pool's explanations, (N, C), -1 where there is none.
        explain: whether explanations are taught.
        keeps_features: whether its features stay what they are, and only its head learns.
        remedies: the settings that may help where it learns nothing, in words.
    """

    labels: Tensor
    table: Tensor
    explain: bool
    keeps_features: bool
    remedies: str

    def survey(self, explain: bool) -> Survey:
        """How it sees its pool now, in evaluation mode on the deterministic view; with the explanations if `explain`."""
        ...

    def add(self, choice: Choice) -> None:
        """Takes x_i, x_j and, where explanations are taught, E(x_i; a, b), E(x_j; b, a) into its teaching set, in this order."""
        ...

    def learn(self) -> None:
        """Learns the teaching set.

        Raises:
            RunError: its risk is no longer a finite number.
        """
        ...

    def accuracies(self) -> tuple[float, float]:
        """How right it is now on its teaching set and on the test list, in percent."""
        ...

    def network(self) -> Network:
        """Itself as a classifier.

        Raises:
            InputError: it is none.
        """
        ...

    def anew(self, rows: Tensor) -> "Student":
        """An untaught student of the same kind, whose pool is some rows of this one's."""
        ...

    def state_dict(self) -> dict:
        """Tensors and plain values from which an interrupted course goes on, the teaching set excepted."""
        ...

    def load_state_dict(self, state: dict) -> None:
        """Takes up what `state_dict` gave, after the lessons until then have been added."""
        ...


def attend(feature_map: Tensor, weights: Tensor) -> Tensor:
    """Pools a feature map over the region that a person would look at: f_E = sum of w F / sum of w over the positions.

    With equal weights this is global average pooling, so plain images and attended explanations share one path.

    Args:
        feature_map: F, (N, d, H, W).
        weights: w >= 0, not all 0, (N, ..., H, W): any number of regions per image.

    Returns:
        Features, (N, ..., d).
    """
    positions = weights.flatten(-2)  # (N, ..., H W)
    shares = positions / positions.sum(-1, keepdim=True)
    regions = shares.reshape(len(shares), -1, shares.shape[-1])  # (N, R, H W)
    pooled = regions @ feature_map.flatten(2).transpose(1, 2)  # (N, R, H W) @ (N, H W, d) -> (N, R, d)
    return pooled.reshape(*weights.shape[:-2], feature_map.shape[1])


class Sight:
    """The lists of a course as a network sees them.

    Args:
        network: the network.
        pool: images and explanations.
        test: the test list.
        how: settings.
        budget: bytes of feature maps of a frozen network that may be held for the next look at a list.

    Attributes:
        test: the test list's feature maps.
    """

    def __init__(
        self, network: Network, pool: Pool, test: ImageSet, how: StudentSettings, budget: int = HELD_BUDGET
    ) -> None:
        def look(images: ImageSet) -> FeatureMaps:
            return FeatureMaps(network, images, how.batch_size, how.workers, how.device, budget)

        self.test = look(test)
        self._pool, self._network, self._device = pool, network, how.device
        self._grid = network.grid(how.image_size)
        self._images = look(pool.images)
        self._pictures = look(pool.explained) if pool.explained and pool.view == "image" else None

    @torch.inference_mode()
    def survey(self, explain: bool) -> Survey:
        """The whole pool through the network and its head; with the explanations if `explain` and the pool has any."""
        pool = self._pool
        explain = explain and len(pool.explained) > 0
        attending = explain and not self._pictures
        images, attended = self._blank(len(pool)), self._blank(len(pool.rows) if attending else 0)
        # The images first: at their end they keep what they hold for the next look.
        for (numbers, feature_map), weights in zip(
            self._images, self._regions() if attending else repeat(None), strict=False
        ):
            self._note(images, numbers, feature_map.mean((2, 3)))
            if weights is not None:
                self._note(attended, pool.table[numbers], attend(feature_map, weights.to(self._device)))
        logits, features = self._merged(images)
        explained = self._merged(self._look_at(self._pictures) if self._pictures else attended) if explain else None
        codewords = self._network.linear_head.weight.detach().cpu().clone()
        return Survey(pool.images.labels, pool.table, logits, codewords, features, explained)

    def _regions(self) -> Iterator[Tensor]:
        """Where the explanations of the pool's images point, batch by batch, (B, C, H, W): masks are decoded ahead, as images are."""
        load = partial(self._pool.image_weights, grid=self._grid)
        return (weights for _, weights in batches(load, self._images.groups(), self._images.workers))

    def _look_at(self, pictures: FeatureMaps) -> Look:
        found = self._blank(len(self._pool.rows))
        for numbers, feature_map in pictures:
            self._note(found, numbers, feature_map.mean((2, 3)))
        return found

    def _blank(self, count: int) -> Look:
        """Logits and features, all 0: what other processes look at remains so."""
        return Look(
            torch.zeros(count, self._network.linear_head.out_features), torch.zeros(count, self._network.num_features)
        )

    def _note(self, found: Look, rows: Tensor | list[int], features: Tensor) -> None:
        """Puts features and their logits into their rows; of row -1, which is none, nothing is kept."""
        rows = torch.as_tensor(rows)
        for whole, part in zip(found, (self._network.head(features), features), strict=True):
            whole[rows[rows >= 0]] = part.cpu()[rows >= 0]

    def _merged(self, found: Look) -> Look:
        return Look(*(processes.merged(values, self._device) for values in found))
