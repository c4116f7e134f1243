"""Pre-training of SimCLR by Adam."""

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
from utils.training.epochs import Recipe, check_loss, epoch_order, own_parts, run_epochs

PAIR = 2  # smallest batch; NT-Xent contrasts the images of a batch


@dataclass(frozen=True)
class SimCLRRecipe(Recipe):
    """Adam on NT-Xent; a batch of B images has 2 B views."""

    temperature: float
    weight_decay: float


def simclr_load(images: ImageSet, recipe: Recipe, epoch: int, number: int) -> torch.Tensor:
    """Returns two independent random views of an image, uint8 (2, 3, s, s)."""
    rng = randomness.generator(recipe.seed, epoch, number)
    image = images[number]
    return torch.stack([augment.simclr_view(image, recipe.image_size, recipe.crop_scale, rng) for _ in range(2)])


def contrasting_batches(images: ImageSet, batch_size: int) -> list[int]:
    """Returns the batch sizes of an epoch; a single last image joins the batch before it."""
    if batch_size < PAIR:
        raise InputError(f"--batch-size {batch_size}: SimCLR contrasts the images of a batch. Pass {PAIR} or more.")
    return [len(batch) for batch in in_batches(range(len(images)), batch_size, PAIR)]


def train_simclr(model: SimCLR, images: ImageSet, recipe: SimCLRRecipe, unfinished: Unfinished) -> list[dict]:
    """Pre-trains SimCLR in place on images in full view; continues after the last epoch that `unfinished` has saved.

    Returns one dict per epoch: `epoch` and `loss`.
    """
    learner = processes.replicated(model.to(recipe.device).train())
    optimizer = torch.optim.Adam(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    parts = {"network": model, "optimizer": optimizer}
    history: list[dict] = []
    for epoch, progress in run_epochs("SimCLR", images, recipe, parts, history, unfinished):
        loss = _simclr_epoch(learner, images, recipe, epoch, optimizer, progress)
        history.append({"epoch": epoch, "loss": round(loss, 6)})
        progress.set_postfix(loss=f"{loss:.3f}")
    model.eval()
    return history


def _simclr_epoch(
    model: nn.Module, images: ImageSet, recipe: SimCLRRecipe, epoch: int, optimizer, progress: tqdm
) -> float:
    load, order = partial(simclr_load, images, recipe, epoch), epoch_order(images, recipe, epoch)
    total = 0.0
    for pixels, parts in own_parts(load, order, recipe, PAIR):
        size, views = sum(map(len, parts)), pixels.flatten(0, 1)  # (B, 2, 3, s, s) -> (2 B, 3, s, s)
        projections = model(to_float(views, recipe.device))
        loss = nt_xent(_whole_batch(projections, parts), recipe.temperature)
        check_loss(loss.item(), epoch, recipe.lr)
        optimizer.zero_grad()
        (loss * processes.count()).backward()  # see processes.gathered
        optimizer.step()
        total += loss.item() * size
        progress.update(size)
    return total / len(images)


def _whole_batch(projections: Tensor, parts: list[list[int]]) -> Tensor:
    """Gathers the projections of all ranks without padding, (2 N, 64), as `nt_xent` expects them."""
    pairs = processes.gathered(projections.unflatten(0, (-1, 2)))  # (B of all ranks, 2, 64)
    size = len(parts[0])
    counting = [rank * size + place for rank, numbers in enumerate(parts) for place in range(len(numbers))]
    return pairs[counting].transpose(0, 1).flatten(0, 1)
