"""Base class of students, the margin risk, and attention pooling."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Self

import torch
from torch import Tensor

from models.resnet import Arch, Network, build
from models.weights import Normalize, load_backbone
from utils.base import processes
from utils.data.loading import ImageSet, batches
from utils.teaching.pool import Pool
from utils.teaching.selector import Choice, Look, Seen, Survey
from utils.training.features import BUDGET, FeatureMaps


@dataclass(frozen=True)
class StudentSettings:
    """Settings of a student, described in the scripts' `Config`."""

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
    normalize: Normalize = "auto"


def margin_risk(logits: Tensor, labels: Tensor) -> Tensor:
    """R(L) = mean over (x, c) of sum over k != c of exp(-1/2 <f(x), W_c - W_k>).

    Takes logits z = W f of a bias-free head, (N, C), and labels c, (N,). <f, W_c - W_k> = z_c - z_k.
    """
    margins = logits.gather(1, labels[:, None]) - logits  # (N, C), 0 at k = c
    wrong = torch.ones_like(margins).scatter(1, labels[:, None], 0)  # (N, C)
    return (torch.exp(-margins / 2) * wrong).sum(1).mean()


def soft_margin_risk(logits: Tensor, targets: Tensor) -> Tensor:
    """R(L) for class probabilities Q instead of classes: mean of sum_c Q(c) sum_{k != c} exp((z_k - z_c) / 2).

    Takes logits z, (N, C), and Q, (N, C).
    """
    # sum_{k != c} exp((z_k - z_c) / 2) = exp(-z_c / 2) sum_k exp(z_k / 2) - 1
    return (torch.exp(logits / 2).sum(1) * (targets * torch.exp(-logits / 2)).sum(1) - targets.sum(1)).mean()


def attend(feature_map: Tensor, weights: Tensor) -> Tensor:
    """Pools a feature map F, (N, d, H, W), over regions: f_E = sum of w F / sum of w over the positions.

    Weights w >= 0, not all 0, are (N, ..., H, W): any number of regions per image. Returns (N, ..., d). Equal weights
    give global average pooling.
    """
    positions = weights.flatten(-2)  # (N, ..., H W)
    shares = positions / positions.sum(-1, keepdim=True)
    regions = shares.reshape(len(shares), -1, shares.shape[-1])  # (N, R, H W)
    pooled = regions @ feature_map.flatten(2).transpose(1, 2)  # (N, R, H W) @ (N, H W, d) -> (N, R, d)
    return pooled.reshape(*weights.shape[:-2], feature_map.shape[1])


def make_network(how: StudentSettings, num_classes: int, freeze_features: bool = False) -> Network:
    """Returns a network with pretrained features and a random, bias-free head drawn by the seed.

    It is in evaluation mode even when it learns: small batches, half of them masked images, would ruin the batch-norm
    statistics.
    """
    torch.manual_seed(how.seed)
    network = build(how.arch, num_classes, bias=False)
    load_backbone(network, how.pretrained, how.normalize)
    if freeze_features:
        network.freeze_backbone()
    return network.to(how.device).eval()


class Student(ABC):
    """Base class of students. Features are computed when they are first needed.

    `explain` is true if explanations are taught, `freeze_features` if only the head learns. `test` is in test view.
    """

    remedies = "--pretrained and --selection"  # settings to try if the student learns nothing
    map_budget = BUDGET  # bytes of a frozen backbone's feature maps to keep for the next pass

    def __init__(self, pool: Pool, test: ImageSet, explain: bool, how: StudentSettings, freeze_features: bool) -> None:
        self.pool, self.test, self.explain, self.how = pool, test, explain, how
        self.labels, self.table = pool.images.labels, pool.table
        self.network = make_network(how, self.num_classes, freeze_features)
        self.grid = self.network.grid(how.image_size)
        self._image_maps = self._maps(pool.images)
        self._picture_maps = self._maps(pool.explained)
        self._test_maps = self._maps(test)

    @property
    def num_classes(self) -> int:
        return self.table.shape[1]

    @abstractmethod
    def survey(self, explain: bool) -> Survey:
        """Returns how it sees its pool now, without augmentation; with explanations if `explain`."""

    @abstractmethod
    def add(self, choice: Choice) -> None:
        """Adds x_i, x_j and, if explanations are taught, E(x_i; a, b), E(x_j; b, a) to its teaching set."""

    @abstractmethod
    def learn(self) -> None:
        """Learns the teaching set. Raises RunError if the risk diverges."""

    @abstractmethod
    def accuracy(self) -> tuple[float, float]:
        """Returns its accuracy on the teaching set and on the test list, in percent."""

    @abstractmethod
    def classifier(self) -> Network:
        """Returns a network that gives the student's answers."""

    @abstractmethod
    def untaught(self, rows: Tensor) -> Self:
        """Returns an untaught student of the same kind that has only some rows of this pool."""

    @abstractmethod
    def state_dict(self) -> dict:
        """Everything except the teaching set that an interrupted course needs to continue."""

    @abstractmethod
    def load_state_dict(self, state: dict) -> None:
        """Restores `state_dict`, after the lessons so far were added."""

    def _maps(self, images: ImageSet) -> FeatureMaps:
        how = self.how
        return FeatureMaps(self.network, images, how.batch_size, how.workers, how.device, self.map_budget)

    @torch.inference_mode()
    def look(self, explain: bool) -> Seen:
        """Passes the whole pool through the network; explanations too if `explain` and the pool has any."""
        pool = self.pool
        explain = explain and len(pool.explained) > 0
        attending = explain and pool.view == "attention"
        images, explained = self._blank(len(pool)), self._blank(len(pool.explained) if explain else 0)
        load = partial(pool.image_weights, grid=self.grid)  # masks are decoded ahead, like images
        masks = batches(load, self._image_maps.groups(), self.how.workers) if attending else repeat((None, None))
        for (numbers, feature_map), (_, weights) in zip(self._image_maps, masks, strict=False):
            self._fill(images, numbers, feature_map.mean((2, 3)))
            if weights is not None:
                self._fill(explained, pool.table[numbers], attend(feature_map, weights.to(self.how.device)))
        if explain and not attending:
            for numbers, feature_map in self._picture_maps:
                self._fill(explained, numbers, feature_map.mean((2, 3)))
        codewords = self.network.fc.weight.detach().cpu().clone()
        return Seen(*self._merged(images), codewords, self._merged(explained) if explain else None)

    def _blank(self, count: int) -> Look:
        """Returns zeros, because `_merged` sums over the ranks."""
        return Look(torch.zeros(count, self.num_classes), torch.zeros(count, self.network.num_features))

    def _merged(self, look: Look) -> Look:
        return Look(*(processes.merged(values, self.how.device) for values in look))

    def _fill(self, look: Look, rows: Tensor | list[int], features: Tensor) -> None:
        """Stores features and their logits in their rows, except row -1."""
        rows = torch.as_tensor(rows)
        for whole, part in zip(look, (self.network.fc(features), features), strict=True):
            whole[rows[rows >= 0]] = part.cpu()[rows >= 0]
