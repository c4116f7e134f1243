"""Training a classifier by SGD, and SimCLR by Adam."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from models.resnet import ResNet18
from models.simclr import SimCLR, nt_xent
from utils import augment, evaluation, processes, randomness
from utils.errors import InputError, RunError
from utils.features import FeatureMaps
from utils.loading import ImageSet, batches, in_batches, to_float
from utils.resuming import Unfinished

EVAL_BATCH = 64
PAIR = 2  # images that NT-Xent needs in a batch: one alone has nothing to be told from
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


@dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """SGD; the learning rate is divided by 10 after each epoch in `milestones`, the test list measured every `eval_every` epochs."""

    momentum: float
    weight_decay: float
    milestones: tuple[int, ...]
    eval_every: int


@dataclass(frozen=True)
class SimCLRRecipe(Recipe):
    """Adam on NT-Xent at `temperature`; a batch of B images gives 2 B views."""

    temperature: float
    weight_decay: float


def _epoch_order(images: ImageSet, recipe: Recipe, epoch: int) -> list[int]:
    return torch.randperm(len(images), generator=randomness.generator(recipe.seed, epoch, SHUFFLE)).tolist()


def _check_loss(loss: float, epoch: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise RunError(f"The loss became {loss} in epoch {epoch}; lower --lr (now {lr}).")


def _random_load(images: ImageSet, recipe: Recipe, epoch: int, number: int) -> torch.Tensor:
    rng = randomness.generator(recipe.seed, epoch, number)
    return augment.random_view(images[number], recipe.image_size, recipe.crop_scale, rng)


@dataclass(frozen=True)
class _Part:
    """This process's part of a batch. Where the batch does not divide, the first image fills up parts to one size; it does not count."""

    numbers: list[int]  # that count
    pixels: Tensor  # of all, uint8
    parts: list[list[int]]  # the numbers that count in every process

    @property
    def batch_size(self) -> int:
        return sum(map(len, self.parts))


def _parts(load: Callable[[int], Tensor], order: list[int], recipe: Recipe, smallest: int = 1) -> Iterator[_Part]:
    """This process's part of every batch of an epoch; `smallest` as in `in_batches`."""
    dealt = [processes.parts_of(batch) for batch in in_batches(order, recipe.batch_size, smallest)]
    filled = [parts[processes.rank()] + parts[0][:1] * (len(parts[0]) - len(parts[processes.rank()])) for parts in dealt]
    for parts, (_, pixels) in zip(dealt, batches(load, filled, recipe.workers), strict=True):
        yield _Part(parts[processes.rank()], pixels, parts)


def _epochs_so_far(unfinished: Unfinished | None, parts: dict) -> list[dict]:
    """Puts the parts of a training (network, optimizer, schedule) where an unfinished run left them; returns its history."""
    if unfinished is None or unfinished.state is None:
        return []
    for name, part in parts.items():
        part.load_state_dict(unfinished.state[name])
    return unfinished.state["history"]


def _keep(unfinished: Unfinished | None, parts: dict, history: list[dict]) -> None:
    """Saves the parts and the history after an epoch, if saving is due."""
    if unfinished is None:
        return
    unfinished.save_when_due(lambda: {name: part.state_dict() for name, part in parts.items()} | {"history": history})


def train_classifier(
    network: ResNet18, train: ImageSet, test: ImageSet, recipe: ClassifierRecipe, unfinished: Unfinished | None = None
) -> list[dict]:
    """Trains by SGD on random crops and flips; a frozen backbone (`network.freeze_backbone`) leaves the head alone to learn.

    Args:
        network: trained in place, and left on the recipe's device in evaluation mode.
        train: labelled images in full view.
        test: labelled images in test view; only measured, never chosen by.
        recipe: how; the last epoch is always measured on the test list.
        unfinished: where the training stands; it goes on after the last epoch saved there. None: nothing is saved.

    Returns:
        One dict per epoch: `epoch` (from 1), `lr`, `loss`, `train_accuracy` on the random views as trained, and
        `test_accuracy` in percent ("" where not measured).

    Raises:
        RunError: the loss is no longer a finite number.
    """
    network.to(recipe.device)
    learner = processes.replicated(network)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), gamma=0.1)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    seen = test_view(network, test, recipe)
    history = _epochs_so_far(unfinished, parts)
    with _bar("training", train, recipe, history) as progress:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            row = {"epoch": epoch, "lr": optimizer.param_groups[0]["lr"]}
            row |= _classifier_epoch(learner, train, recipe, epoch, optimizer, progress)
            schedule.step()
            due = epoch % recipe.eval_every == 0 or epoch == recipe.epochs
            row["test_accuracy"] = round(evaluation.accuracy(evaluation.predict(seen), test.labels), 3) if due else ""
            history.append(row)
            _keep(unfinished, parts, history)
            progress.set_postfix(loss=f"{row['loss']:.3f}", test=row["test_accuracy"])
    network.eval()
    return history


def _bar(what: str, images: ImageSet, recipe: Recipe, history: list[dict]) -> tqdm:
    total, done = recipe.epochs * len(images), len(history) * len(images)
    return tqdm(total=total, initial=done, desc=what, unit="image", disable=not processes.is_first())


def _classifier_epoch(network: nn.Module, train: ImageSet, recipe: Recipe, epoch: int, optimizer, progress: tqdm) -> dict:
    """One pass over the training list; returns its mean loss and accuracy."""
    network.train()
    sums = torch.zeros(2, dtype=torch.float64)  # of the losses, of right answers
    for part in _parts(partial(_random_load, train, recipe, epoch), _epoch_order(train, recipe, epoch), recipe):
        labels = train.labels[part.numbers].to(recipe.device)
        logits = network(to_float(part.pixels, recipe.device)).logits[: len(labels)]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        _check_loss(loss.item(), epoch, recipe.lr)
        optimizer.zero_grad()
        # Gradients are averaged over the processes: so scaled, they are those of the mean over the whole batch.
        (loss / part.batch_size * processes.count()).backward()
        optimizer.step()
        sums += torch.tensor([loss.item(), (logits.argmax(1) == labels).sum().item()])
        progress.update(part.batch_size)
    loss, right = (processes.merged(sums, recipe.device) / len(train)).tolist()
    return {"loss": round(loss, 6), "train_accuracy": round(100 * right, 3)}


def test_view(network: ResNet18, test: ImageSet, recipe: Recipe) -> FeatureMaps:
    """How the network sees the test list."""
    return FeatureMaps(network, test, EVAL_BATCH, recipe.workers, recipe.device)


def _simclr_load(images: ImageSet, recipe: Recipe, epoch: int, number: int) -> torch.Tensor:
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
        raise InputError(f"--batch-size {batch_size}: SimCLR tells the images of a batch from each other; give {PAIR} or more.")
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
    history = _epochs_so_far(unfinished, parts)
    with _bar("SimCLR", images, recipe, history) as progress:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            loss = _simclr_epoch(learner, images, recipe, epoch, optimizer, progress)
            history.append({"epoch": epoch, "loss": round(loss, 6)})
            _keep(unfinished, parts, history)
            progress.set_postfix(loss=f"{history[-1]['loss']:.3f}")
    model.eval()
    return history


def _simclr_epoch(model: nn.Module, images: ImageSet, recipe: SimCLRRecipe, epoch: int, optimizer, progress: tqdm) -> float:
    """One pass over the images; returns its mean loss."""
    total = 0.0
    for part in _parts(partial(_simclr_load, images, recipe, epoch), _epoch_order(images, recipe, epoch), recipe, PAIR):
        projections = model(to_float(part.pixels.flatten(0, 1), recipe.device))  # (B, 2, 3, s, s) -> (2 B, 64), an image's views together
        loss = nt_xent(_whole_batch(projections, part), recipe.temperature)
        _check_loss(loss.item(), epoch, recipe.lr)
        optimizer.zero_grad()
        (loss * processes.count()).backward()  # see processes.gathered
        optimizer.step()
        total += loss.item() * part.batch_size
        progress.update(part.batch_size)
    return total / len(images)


def _whole_batch(projections: Tensor, part: _Part) -> Tensor:
    """The projections of the whole batch, of every process's images that count: (2 N, d), views i and N + i of one image."""
    pairs = processes.gathered(projections.unflatten(0, (-1, 2)))  # (B of all processes, 2, d)
    size = len(part.parts[0])
    counting = [process * size + place for process, numbers in enumerate(part.parts) for place in range(len(numbers))]
    return pairs[counting].transpose(0, 1).flatten(0, 1)
