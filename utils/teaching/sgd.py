"""The published student: a few SGD steps after every lesson (Wang & Vasconcelos, ICCV 2021)."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from models.resnet import Network
from utils.base import processes
from utils.base.errors import RunError
from utils.data.loading import ImageSet, to_float
from utils.teaching.pool import Pool
from utils.teaching.selector import Choice, Seen, Survey
from utils.teaching.student import Student, StudentSettings, attend, margin_risk
from utils.training import evaluation


class SGDStudent(Student):
    """Network and optimizer are carried over from lesson to lesson. `rows` of the pool to learn from; default: all."""

    remedies = "--lr, --steps, --pretrained and --freeze-features"

    def __init__(
        self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings, rows: Tensor | None = None
    ) -> None:
        super().__init__(pool, test, explain, how, how.freeze_features)
        self.rows = torch.arange(len(pool)) if rows is None else rows
        self.labels, self.table = pool.images.labels[self.rows], pool.table[self.rows]
        self._learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        decay = how.weight_decay
        self._optimizer = torch.optim.SGD(self._learning, how.lr, how.momentum, weight_decay=decay, fused=True)
        # In the attention view, an image and its explanations share one stored picture.
        self._pictures: dict[tuple, Tensor] = {}
        self._items: list[tuple[tuple, Tensor, int]] = []  # key of the picture, region, class

    def survey(self, explain: bool) -> Survey:
        def look() -> Seen:
            seen = self.look(explain)
            return seen._replace(logits=seen.logits[self.rows], features=seen.features[self.rows])

        return Survey(self.labels, self.table, look, self.pool.outlined)

    def add(self, choice: Choice) -> None:
        for place, row in choice.items(self.labels, self.table, self.explain):
            images: ImageSet = self.pool.images
            number, region = int(self.rows[place]), torch.ones(self.grid, self.grid)
            if row is not None and self.pool.view == "attention":
                region = self.pool.weights(row, self.grid)
            elif row is not None:
                images, number = self.pool.explained, row
            key = images is self.pool.explained, number
            if key not in self._pictures:
                picture = to_float(images[number][None], self.how.device)
                if self.network.backbone_frozen:
                    with torch.no_grad():
                        picture = self.network.feature_map(picture)
                self._pictures[key] = picture
            self._items.append((key, region, int(self.labels[place])))

    def _teaching_set(self) -> tuple[Callable[[], Tensor], Tensor]:
        """Returns a function that computes the features of all items (M, d), and their classes (M,)."""
        network, device, place = self.network, self.how.device, {key: n for n, key in enumerate(self._pictures)}
        keys, regions, labels = zip(*self._items, strict=True)
        # torch.cat loses the channels-last layout, in which convolutions are fastest.
        pictures = torch.cat(list(self._pictures.values())).contiguous(memory_format=torch.channels_last)
        owner = torch.tensor([place[key] for key in keys], device=device)
        weights = torch.stack(regions).to(device)

        def features() -> Tensor:
            return attend((pictures if network.backbone_frozen else network.feature_map(pictures))[owner], weights)

        frozen = features() if network.backbone_frozen else None
        return lambda: features() if frozen is None else frozen, torch.tensor(labels, device=device)

    def learn(self) -> None:
        """Takes `steps` steps on the whole teaching set as one batch; batch norm is in evaluation mode."""
        features, labels = self._teaching_set()
        for _ in range(self.how.steps):
            risk = margin_risk(self.network.fc(features()), labels)
            if not math.isfinite(risk.item()):
                problem = f"The student's risk is {risk.item()} after {len(labels)} items"
                raise RunError(f"{problem}. Lower --lr or set --max-grad-norm.")
            self._optimizer.zero_grad()
            risk.backward()
            if self.how.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(self._learning, self.how.max_grad_norm)
            self._optimizer.step()
        processes.align(self.network)

    def accuracy(self) -> tuple[float, float]:
        with torch.inference_mode():
            features, labels = self._teaching_set()
            taught = evaluation.share_right(self.network.fc(features()), labels)
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
