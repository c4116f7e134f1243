"""Parts of every training: order of an epoch, this rank's part of each batch, resuming, progress, history."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from utils.base import figures, processes, randomness
from utils.base.errors import RunError
from utils.base.files import write_table
from utils.data.loading import ImageSet, batches, in_batches
from utils.running.resuming import Unfinished

SHUFFLE = 2**31  # in place of an image number: the order of an epoch is independent of the views of its images


@dataclass(frozen=True)
class Recipe:
    epochs: int
    batch_size: int
    lr: float
    image_size: int
    crop_scale: float
    seed: int
    workers: int
    device: str


def epoch_order(images: ImageSet, recipe: Recipe, epoch: int) -> list[int]:
    """Returns all image numbers in random order; depends only on (seed, epoch)."""
    return torch.randperm(len(images), generator=randomness.generator(recipe.seed, epoch, SHUFFLE)).tolist()


def check_loss(loss: float, epoch: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise RunError(f"The loss became {loss} in epoch {epoch}. Lower --lr (now {lr}).")


def own_parts(
    load: Callable[[int], Tensor], order: list[int], recipe: Recipe, smallest: int = 1
) -> Iterator[tuple[Tensor, list[list[int]]]]:
    """Yields, for every batch of an epoch, this rank's pixels and the image numbers of every rank.

    Shorter parts are padded with the first image of the batch. `smallest` as in `in_batches`.
    """
    rank, count = processes.rank(), processes.count()
    whole = in_batches(order, recipe.batch_size, smallest)
    dealt = [[batch[start::count] for start in range(count)] for batch in whole]
    padded = [parts[rank] + parts[0][:1] * (len(parts[0]) - len(parts[rank])) for parts in dealt]
    for parts, (_, pixels) in zip(dealt, batches(load, padded, recipe.workers), strict=True):
        yield pixels, parts


def run_epochs(
    title: str, images: ImageSet, recipe: Recipe, parts: dict, history: list[dict], unfinished: Unfinished | None
) -> Iterator[tuple[int, tqdm]]:
    """Yields every epoch (from 1) and the progress bar, which counts images. The caller appends a row to `history`.

    A resumed run gets the state of `parts` (network, optimizer, schedule) and its history back, and begins with the
    next epoch.
    """
    if unfinished and unfinished.state:
        for name, part in parts.items():
            part.load_state_dict(unfinished.state[name])
        history += unfinished.state["history"]
    total, done = recipe.epochs * len(images), len(history) * len(images)
    with tqdm(total=total, initial=done, desc=title, unit="image", disable=not processes.is_first()) as progress:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            yield epoch, progress
            if unfinished:
                unfinished.save_when_due(
                    lambda: {name: part.state_dict() for name, part in parts.items()} | {"history": history}
                )


@processes.first_only
def write_history(folder: Path, stem: str, history: Sequence[dict]) -> None:
    """Writes the epochs of a training as `<stem>.csv` and `<stem>_curves.png`."""
    write_table(folder / f"{stem}.csv", history)
    figures.training_curves(folder / f"{stem}_curves.png", history)
    print(f"Loss {history[-1]['loss']:.3f} in the last epoch. Curves: {folder / stem}_curves.png")
