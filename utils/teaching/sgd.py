"""The published student: a network with a bias-free head that takes a few SGD steps after every lesson (Wang & Vasconcelos, 2021)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from torch import Tensor

from models.resnet import Network
from utils.base import processes
from utils.base.errors import RunError
from utils.data.loading import ImageSet, to_float
from utils.teaching.pool import Pool
from utils.teaching.selector import Choice, Look, Seen, Survey
from utils.teaching.student import Student, StudentSettings, attend, margin_risk
from utils.training import evaluation


class TeachingSet:
    """The items taught so far, on the student's device.

    An attended explanation is a region of an image that is in the set anyway, so pictures are stored once and items point to them.

    Attributes:
        pictures: distinct pictures in [0, 1], (U, 3, s, s), or their feature maps (U, d, H, W) if the backbone is frozen.
        owner: picture of each item, (M,).
        weights: region of each item, (M, H, W).
        labels: class of each item, (M,).
    """

    def __init__(self, network: Network, image_size: int, device: str) -> None:
        self.network = network
        grid = (network.grid(image_size),) * 2
        shape = (network.num_features, *grid) if network.backbone_frozen else (3, image_size, image_size)
        self.pictures = torch.empty(0, *shape, device=device)
        self.owner = torch.empty(0, dtype=torch.long, device=device)
        self.weights = torch.empty(0, *grid, device=device)
        self.labels = torch.empty(0, dtype=torch.long, device=device)
        self._numbers: dict[tuple, int] = {}

    def add(self, key: tuple, picture: Callable[[], Tensor], weights: Tensor, label: int) -> None:
        """Adds an item. Calls `picture` (uint8 (3, s, s)) only for a new key."""
        device = self.pictures.device
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            image = to_float(picture()[None], device)
            if self.network.backbone_frozen:
                with torch.no_grad():
                    image = self.network.feature_map(image)
            # Concatenation loses the memory layout in which convolutions are fastest.
            self.pictures = torch.cat([self.pictures, image]).contiguous(memory_format=torch.channels_last)
        self.owner = torch.cat([self.owner, torch.tensor([self._numbers[key]], device=device)])
        self.weights = torch.cat([self.weights, weights[None].to(device)])
        self.labels = torch.cat([self.labels, torch.tensor([label], device=device)])

    def features(self) -> Tensor:
        """Features of every item, (M, d)."""
        feature_map = self.pictures if self.network.backbone_frozen else self.network.feature_map(self.pictures)
        return attend(feature_map[self.owner], self.weights)


class SGDStudent(Student):
    """Network and optimizer are carried over from lesson to lesson.

    Args:
        rows: rows of `pool` to learn from; all by default.
    """

    remedies = "--lr, --steps, --pretrained and --freeze-features"

    def __init__(
        self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings, rows: Tensor | None = None
    ) -> None:
        super().__init__(pool, test, explain, how, how.freeze_features)
        self.rows = torch.arange(len(pool)) if rows is None else rows
        self.labels, self.table = pool.images.labels[self.rows], pool.table[self.rows]
        self._learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.SGD(
            self._learning, how.lr, momentum=how.momentum, weight_decay=how.weight_decay, fused=True
        )
        self._taught = TeachingSet(self.network, how.image_size, how.device)

    def survey(self, explain: bool) -> Survey:
        def look() -> Seen:
            seen = self.look(explain)
            return seen._replace(images=Look(seen.images.logits[self.rows], seen.images.features[self.rows]))

        return Survey(self.labels, self.table, look)

    def add(self, choice: Choice) -> None:
        pool, whole = self.pool, torch.ones(self.grid, self.grid)
        for place, row in choice.items(self.labels, self.table, self.explain):
            number, label = int(self.rows[place]), int(self.labels[place])
            image = partial(pool.images.__getitem__, number)
            if row is None:
                self._taught.add(("image", number), image, whole, label)
            elif pool.view == "attention":
                self._taught.add(("image", number), image, pool.weights(row, self.grid), label)
            else:
                self._taught.add(("explanation", row), partial(pool.explained.__getitem__, row), whole, label)

    def learn(self) -> None:
        """Takes `steps` steps on the whole teaching set as one batch; batch norm keeps its statistics (evaluation mode)."""
        taught = self._taught
        # Frozen features do not change between steps, so they are pooled once.
        frozen = taught.features() if self.network.backbone_frozen else None
        for _ in range(self.how.steps):
            risk = margin_risk(self.network.head(taught.features() if frozen is None else frozen), taught.labels)
            if not math.isfinite(risk.item()):
                raise RunError(
                    f"The student's risk is {risk.item()} after {len(taught.labels)} items. Lower --lr or set --max-grad-norm."
                )
            self._optimizer.zero_grad()
            risk.backward()
            if self.how.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(self._learning, self.how.max_grad_norm)
            self._optimizer.step()
        processes.align(self.network)

    def accuracy(self) -> tuple[float, float]:
        """As in `Student`. Raises RunError if the network has diverged."""
        with torch.inference_mode():
            taught = evaluation.share_right(self.network.head(self._taught.features()), self._taught.labels)
        return taught, evaluation.share_right(evaluation.logits_of_list(self._test_maps), self.test.labels)

    def classifier(self) -> Network:
        """Returns the student itself, not a copy."""
        return self.network

    def untaught(self, rows: Tensor) -> Self:
        return type(self)(self.pool, self.test, self.explain, self.how, self.rows[rows])

    def state_dict(self) -> dict:
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
