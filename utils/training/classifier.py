"""Training of a classifier by SGD, and its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from models.resnet import Network
from utils.base import figures, processes, randomness
from utils.data import augment
from utils.data.loading import ImageSet, to_float
from utils.running import checks
from utils.running.resuming import Unfinished
from utils.training import evaluation
from utils.training.epochs import Recipe, check_loss, epoch_order, own_parts, run_epochs, write_history
from utils.training.features import FeatureMaps

EVAL_BATCH = 64


@dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """SGD with the learning rate divided by 10 after each milestone, and a test every `eval_every` epochs."""

    momentum: float
    weight_decay: float
    milestones: tuple[int, ...]
    eval_every: int


def random_load(images: ImageSet, recipe: Recipe, epoch: int, number: int) -> torch.Tensor:
    """Returns a random view of an image, uint8 (3, s, s); depends only on (seed, epoch, number)."""
    rng = randomness.generator(recipe.seed, epoch, number)
    return augment.random_view(images[number], recipe.image_size, recipe.crop_scale, rng)


def train_classifier(
    network: Network, train: ImageSet, test: ImageSet, recipe: ClassifierRecipe, unfinished: Unfinished | None = None
) -> list[dict]:
    """Trains a network in place on random crops and flips; if its backbone is frozen, only the head learns.

    `train` are labeled images in full view; `test` are images in test view, for the reported accuracy only. The network
    is left on the recipe's device in evaluation mode. Without `unfinished`, nothing is saved.

    Returns one dict per epoch: `epoch` (from 1), `lr`, `loss`, `train_accuracy` on the random views, and
    `test_accuracy`, both in percent ("" if not measured). The last epoch is always tested.
    """
    network.to(recipe.device)
    learner = processes.replicated(network)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decay = recipe.weight_decay
    optimizer = torch.optim.SGD(trainable, recipe.lr, recipe.momentum, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), gamma=0.1)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    test_maps = test_view(network, test, recipe)
    history: list[dict] = []
    for epoch, progress in run_epochs("training", train, recipe, parts, history, unfinished):
        row = {"epoch": epoch, "lr": optimizer.param_groups[0]["lr"]}
        row |= _classifier_epoch(learner, train, recipe, epoch, optimizer, progress)
        schedule.step()
        processes.align(network)  # batch-norm statistics differ between ranks
        row["test_accuracy"] = ""
        if test.num_known and (epoch % recipe.eval_every == 0 or epoch == recipe.epochs):
            row["test_accuracy"] = round(evaluation.accuracy(evaluation.predict(test_maps), test.labels), 3)
        history.append(row)
        progress.set_postfix(loss=f"{row['loss']:.3f}", test=row["test_accuracy"])
    network.eval()
    return history


def _classifier_epoch(
    network: nn.Module, train: ImageSet, recipe: Recipe, epoch: int, optimizer, progress: tqdm
) -> dict:
    network.train()
    sums = torch.zeros(2, dtype=torch.float64)  # losses and correct answers
    load, order = partial(random_load, train, recipe, epoch), epoch_order(train, recipe, epoch)
    for pixels, parts in own_parts(load, order, recipe):
        labels, size = train.labels[parts[processes.rank()]].to(recipe.device), sum(map(len, parts))
        logits = network(to_float(pixels, recipe.device)).logits[: len(labels)]  # without padding
        loss = F.cross_entropy(logits, labels, reduction="sum")
        check_loss(loss.item(), epoch, recipe.lr)
        optimizer.zero_grad()
        # DistributedDataParallel averages over the ranks; this gives the gradient of the mean over the whole batch.
        (loss / size * processes.count()).backward()
        optimizer.step()
        sums += torch.tensor([loss.item(), (logits.argmax(1) == labels).sum().item()])
        progress.update(size)
    loss, correct = (processes.merged(sums, recipe.device) / len(train)).tolist()
    return {"loss": round(loss, 6), "train_accuracy": round(100 * correct, 3)}


def test_view(network: Network, test: ImageSet, recipe: Recipe) -> FeatureMaps:
    return FeatureMaps(network, test, EVAL_BATCH, recipe.workers, recipe.device)


def report_classifier(
    out: str, stem: str, network: Network, test: ImageSet, classes: Sequence[str], history: list[dict], recipe: Recipe
) -> dict:
    """Writes the table and curves of a training and, if test labels are known, the confusion matrix of the test list.

    Returns the final loss and accuracies in percent, with warnings.
    """
    answers = evaluation.predict(test_view(network, test, recipe))
    counts = evaluation.confusion(answers, test.labels, len(classes))
    measured = {name: history[-1][name] for name in ("loss", "train_accuracy")}
    write_history(Path(out), stem, history)
    if counts.any():
        correct = measured["test_accuracy"] = round(evaluation.accuracy(answers, test.labels), 3)
        path = Path(out, f"{stem}_confusion.png")
        if processes.is_first():
            figures.confusion_matrix(path, counts, classes, f"test list: {correct:.1f} % correct")
        processes.say(f"Test accuracy {correct:.2f} %. Confusion matrix: {path}")
    warnings = [checks.incomplete_test_list(test, classes), checks.one_answer(counts, classes, test.source)]
    return checks.with_warnings(measured, warnings)
