"""Pre-training SimCLR by Adam."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.simclr import SimCLR, nt_xent
from utils.base import processes, randomness
from utils.base.errors import InputError
from utils.data import augment
from utils.data.loading import ImageSet, in_batches, to_float
from utils.running.resuming import Unfinished
from utils.training.epochs import Part, Recipe, check_loss, epoch_order, epochs_so_far, keep, own_parts, progress_bar

PAIR = 2  # images that NT-Xent needs in a batch: one alone has nothing to be told from


@dataclass(frozen=True)
class SimCLRRecipe(Recipe):
    """Adam on NT-Xent at `temperature`; a batch of B images gives 2 B views."""

    temperature: float
    weight_decay: float


def simclr_load(images: ImageSet, recipe: Recipe, epoch: int, number: int) -> torch.Tensor:
    """Two independent random views of an image, stacked: uint8 (2, 3, s, s)."""
    rng = randomness.generator(recipe.seed, epoch, number)
    image = images[number]
    return torch.stack([augment.simclr_view(image, recipe.image_size, recipe.crop_scale, rng) for _ in range(2)])


def contrasting_batches(images: ImageSet, batch_size: int) -> list[int]:
    """The number of images in each batch of a pre-training epoch, 2 or more: a last image that is left alone joins the batch before it.

    Raises:
        InputError: there is nothing to contrast an image with.
    """
    if batch_size < PAIR:
        raise InputError(
            f"--batch-size {batch_size}: SimCLR tells the images of a batch from each other; give {PAIR} or more."
        )
    if len(images) < PAIR:
        raise InputError(f"{images.source} has one image, which SimCLR cannot tell from any other; add more.")
    return [len(batch) for batch in in_batches(range(len(images)), batch_size, PAIR)]


def train_simclr(model: SimCLR, images: ImageSet, recipe: SimCLRRecipe, unfinished: Unfinished) -> list[dict]:
    """Pre-trains SimCLR by Adam; labels are not used. The batches are those of `contrasting_batches`.

    Args:
        model: trained in place.
        images: the images in full view.
        recipe: how.
        unfinished: where the training stands; it goes on after the last epoch saved there.

    Returns:
        One dict per epoch: `epoch`, `loss`.

    Raises:
        RunError: the loss is no longer a finite number.
    """
    learner = processes.replicated(model.to(recipe.device).train())
    optimizer = torch.optim.Adam(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    parts = {"network": model, "optimizer": optimizer}
    history = epochs_so_far(unfinished, parts)
    with progress_bar("SimCLR", images, recipe, history) as progress:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            loss = _simclr_epoch(learner, images, recipe, epoch, optimizer, progress)
            history.append({"epoch": epoch, "loss": round(loss, 6)})
            keep(unfinished, parts, history)
            progress.set_postfix(loss=f"{history[-1]['loss']:.3f}")
    model.eval()
    return history


def _simclr_epoch(
    model: nn.Module, images: ImageSet, recipe: SimCLRRecipe, epoch: int, optimizer, progress: tqdm
) -> float:
    """One pass over the images; returns its mean loss."""
    total = 0.0
    for part in own_parts(
        partial(simclr_load, images, recipe, epoch), epoch_order(images, recipe, epoch), recipe, PAIR
    ):
        projections = model(
            to_float(part.pixels.flatten(0, 1), recipe.device)
        )  # (B, 2, 3, s, s) -> (2 B, 64), an image's views together
        loss = nt_xent(_whole_batch(projections, part), recipe.temperature)
        check_loss(loss.item(), epoch, recipe.lr)
        optimizer.zero_grad()
        (loss * processes.count()).backward()  # see processes.gathered
        optimizer.step()
        total += loss.item() * part.batch_size
        progress.update(part.batch_size)
    return total / len(images)


def _whole_batch(projections: Tensor, part: Part) -> Tensor:
    """The projections of the whole batch, of every process's images that count: (2 N, d), views i and N + i of one image."""
    pairs = processes.gathered(projections.unflatten(0, (-1, 2)))  # (B of all processes, 2, d)
    size = len(part.parts[0])
    counting = [process * size + place for process, numbers in enumerate(part.parts) for place in range(len(numbers))]
    return pairs[counting].transpose(0, 1).flatten(0, 1)
