"""What every training does epoch by epoch: its order, this process's part of each batch, what is kept of it, and its progress."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from utils.base import processes, randomness
from utils.base.errors import RunError
from utils.data.loading import ImageSet, batches, in_batches
from utils.running.resuming import Unfinished

SHUFFLE = 2**31  # a number that no image has: keeps the order of an epoch apart from the views of its images


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Attributes are the settings of the same names."""

    epochs: int
    batch_size: int
    lr: float
    image_size: int
    crop_scale: float
    seed: int
    workers: int
    device: str


def epoch_order(images: ImageSet, recipe: Recipe, epoch: int) -> list[int]:
    """The numbers of all images in the order of an epoch; depends on (seed, epoch) alone."""
    return torch.randperm(len(images), generator=randomness.generator(recipe.seed, epoch, SHUFFLE)).tolist()


def check_loss(loss: float, epoch: int, lr: float) -> None:
    """Raises RunError where the loss is no number any more."""
    if not math.isfinite(loss):
        raise RunError(f"The loss became {loss} in epoch {epoch}; lower --lr (now {lr}).")


@dataclass(frozen=True)
class Part:
    """This process's part of a batch. Where the batch does not divide, the first image fills up parts to one size; it does not count."""

    numbers: list[int]  # that count
    pixels: Tensor  # of all, uint8
    parts: list[list[int]]  # the numbers that count in every process

    @property
    def batch_size(self) -> int:
        return sum(map(len, self.parts))


def own_parts(load: Callable[[int], Tensor], order: list[int], recipe: Recipe, smallest: int = 1) -> Iterator[Part]:
    """This process's part of every batch of an epoch; `smallest` as in `in_batches`."""
    dealt = [processes.parts_of(batch) for batch in in_batches(order, recipe.batch_size, smallest)]
    filled = [
        parts[processes.rank()] + parts[0][:1] * (len(parts[0]) - len(parts[processes.rank()])) for parts in dealt
    ]
    for parts, (_, pixels) in zip(dealt, batches(load, filled, recipe.workers), strict=True):
        yield Part(parts[processes.rank()], pixels, parts)


def epochs_so_far(unfinished: Unfinished | None, parts: dict) -> list[dict]:
    """Puts the parts of a training (network, optimizer, schedule) where an unfinished run left them; returns its history."""
    if unfinished is None or unfinished.state is None:
        return []
    for name, part in parts.items():
        part.load_state_dict(unfinished.state[name])
    return unfinished.state["history"]


def keep(unfinished: Unfinished | None, parts: dict, history: list[dict]) -> None:
    """Saves the parts and the history after an epoch, if saving is due."""
    if unfinished is None:
        return
    unfinished.save_when_due(lambda: {name: part.state_dict() for name, part in parts.items()} | {"history": history})


def progress_bar(what: str, images: ImageSet, recipe: Recipe, history: list[dict]) -> tqdm:
    """A bar that counts the images of all epochs, those of earlier runs included; the first process's alone is shown."""
    total, done = recipe.epochs * len(images), len(history) * len(images)
    return tqdm(total=total, initial=done, desc=what, unit="image", disable=not processes.is_first())
