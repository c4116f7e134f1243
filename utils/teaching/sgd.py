"""The student as released: a network with a bias-free head that takes some SGD steps after every lesson (Wang & Vasconcelos, 2021)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from models.resnet import Network, build
from models.weights import load_backbone
from utils.base import processes
from utils.base.errors import RunError
from utils.data.loading import ImageSet, to_float
from utils.teaching.choice import Choice, Survey
from utils.teaching.maxgrad import margin_risk
from utils.teaching.pool import Pool
from utils.teaching.student import Sight, StudentSettings, attend
from utils.training import evaluation


def make_network(
    arch: str, num_classes: int, pretrained: str, seed: int, device: str, freeze_features: bool = False
) -> Network:
    """A network that knows generic features and nothing of the classes: W is drawn by `seed`.

    It stays in evaluation mode even while it learns: batches of 4 to 80 images, half of them masked, would ruin the batch-norm
    statistics that came with its features.

    Args:
        arch: a name of `models.resnet.ARCHITECTURES`.
        num_classes: C.
        pretrained: as in `models.weights.load_backbone`.
        seed: of the head's initialisation (and of all weights where `pretrained` is `none`).
        device: where it lives.
        freeze_features: whether only its head will learn.
    """
    torch.manual_seed(seed)
    network = build(arch, num_classes, bias=False)
    load_backbone(network, pretrained)
    if freeze_features:
        network.freeze_backbone()
    return network.to(device).eval()


def take_steps(
    logits: Callable[[], Tensor], labels: Tensor, optimizer: torch.optim.Optimizer, how: StudentSettings
) -> None:
    """Lowers the risk of a teaching set, as one batch, by `how.steps` steps.

    Args:
        logits: gives those of all items as they are now, (M, C).
        labels: their classes, (M,).
        optimizer: of what learns.
        how: settings.

    Raises:
        RunError: the risk is no longer a finite number.
    """
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for _ in range(how.steps):
        risk = margin_risk(logits(), labels)
        if not math.isfinite(risk.item()):
            raise RunError(
                f"The student's risk became {risk.item()} with {len(labels)} items taught; lower --lr or set --max-grad-norm."
            )
        optimizer.zero_grad()
        risk.backward()
        if how.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(learning, how.max_grad_norm)
        optimizer.step()


@dataclass
class TeachingSet:
    """What the student has been taught, on its device.

    An attended explanation is a region of an image that is in the set anyway, so images are held once and items point to them.

    Attributes:
        network: who learns.
        images: distinct pictures in [0, 1], (U, 3, s, s); or, where the network's backbone is frozen, what it made of them once
            and for all: feature maps (U, d, H, W).
        owner: for each item the picture it looks at, (M,).
        weights: where it looks, (M, H, W).
        labels: its class, (M,).
    """

    network: Network
    images: Tensor
    owner: Tensor
    weights: Tensor
    labels: Tensor
    _numbers: dict = field(default_factory=dict)

    @classmethod
    def empty(cls, network: Network, image_size: int, device: str) -> "TeachingSet":
        empty = torch.empty(0, device=device)
        indices = torch.empty(0, dtype=torch.long, device=device)
        grid = (network.grid(image_size),) * 2
        shape = (network.num_features, *grid) if network.backbone_frozen else (3, image_size, image_size)
        return cls(network, empty.view(0, *shape), indices, empty.view(0, *grid), indices)

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, key: tuple, picture: Callable[[], Tensor], weights: Tensor, label: int) -> None:
        """Adds an item; `picture` (uint8 (3, s, s)) is called only if no item with this key is there yet."""
        device = self.images.device
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            image = to_float(picture()[None], device)
            if self.network.backbone_frozen:
                with torch.no_grad():
                    image = self.network.feature_map(image)
            # Joining loses the layout that convolutions are fastest in.
            self.images = torch.cat([self.images, image]).contiguous(memory_format=torch.channels_last)
        self.owner = torch.cat([self.owner, torch.tensor([self._numbers[key]], device=device)])
        self.weights = torch.cat([self.weights, weights[None].to(device)])
        self.labels = torch.cat([self.labels, torch.tensor([label], device=device)])

    def features(self) -> Tensor:
        """What the student sees in every item, (M, d)."""
        feature_map = self.images if self.network.backbone_frozen else self.network.feature_map(self.images)
        return attend(feature_map[self.owner], self.weights)


class SGDStudent:
    """As `student.Student`: network and optimizer are carried over from lesson to lesson.

    Args:
        pool: what can be taught.
        test: the test list in test view, only measured.
        explain: whether explanations are taught.
        how: settings.
        rows: the rows of `pool` that are its pool; None: all.
    """

    remedies = "--lr, --steps, --pretrained and --freeze-features"

    def __init__(
        self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings, rows: Tensor | None = None
    ) -> None:
        self.explain, self.keeps_features = explain, how.freeze_features
        self.rows = torch.arange(len(pool)) if rows is None else rows
        self.labels, self.table = pool.images.labels[self.rows], pool.table[self.rows]
        self._pool, self._test, self._how = pool, test, how
        num_classes = pool.table.shape[1]
        self._network = make_network(how.arch, num_classes, how.pretrained, how.seed, how.device, how.freeze_features)
        learning = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.SGD(
            learning, how.lr, momentum=how.momentum, weight_decay=how.weight_decay, fused=True
        )
        self._taught = TeachingSet.empty(self._network, how.image_size, how.device)
        self._sight = Sight(self._network, pool, test, how)

    def survey(self, explain: bool) -> Survey:
        """As in `Student`."""
        return self._sight.survey(explain).part(self.rows)

    def add(self, choice: Choice) -> None:
        """As in `Student`."""
        pool, labels = self._pool, self._pool.images.labels.tolist()
        grid = self._network.grid(self._how.image_size)
        whole = torch.ones(grid, grid)
        image, partner = self.rows[[choice.image, choice.partner]].tolist()
        pair = ((image, partner), (partner, image))
        for number, _ in pair:
            self._taught.add(("image", number), partial(pool.images.__getitem__, number), whole, labels[number])
        for number, other in pair if self.explain else ():
            row = int(pool.table[number, labels[other]])
            if row < 0:
                continue
            if pool.view == "attention":
                self._taught.add(
                    ("image", number), partial(pool.images.__getitem__, number), pool.weights(row, grid), labels[number]
                )
            else:
                self._taught.add(("explanation", row), partial(pool.explained.__getitem__, row), whole, labels[number])

    def learn(self) -> None:
        """Trains on the whole teaching set as one batch, `steps` times; batch norm keeps its statistics (evaluation mode).

        Raises:
            RunError: the risk is no longer a finite number.
        """
        network, taught = self._network.eval(), self._taught
        # Frozen features stay what they are from step to step, so they are pooled once.
        frozen = taught.features() if network.backbone_frozen else None
        take_steps(
            lambda: network.head(taught.features() if frozen is None else frozen),
            taught.labels,
            self._optimizer,
            self._how,
        )
        processes.align(network)

    def accuracies(self) -> tuple[float, float]:
        """As in `Student`.

        Raises:
            RunError: the network has diverged.
        """
        with torch.inference_mode():
            taught = evaluation.share_right(self._network.head(self._taught.features()), self._taught.labels)
        return taught, evaluation.share_right(evaluation.logits_of_list(self._sight.test), self._test.labels)

    def network(self) -> Network:
        """The student itself, not a copy."""
        return self._network

    def anew(self, rows: Tensor) -> "SGDStudent":
        """As in `Student`."""
        return SGDStudent(self._pool, self._test, self.explain, self._how, self.rows[rows])

    def state_dict(self) -> dict:
        """Network and optimizer."""
        return {"network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """As in `Student`."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
