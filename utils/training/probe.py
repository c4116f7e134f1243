"""The linear probe of the SimCLR variant: logistic regression on the features of a frozen encoder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from models.resnet import Network
from models.weights import save_checkpoint
from utils.base import processes
from utils.base.errors import RunError
from utils.data.loading import ImageSet
from utils.running import checks
from utils.running.resuming import Unfinished
from utils.training.evaluation import accuracy
from utils.training.features import FeatureMaps


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of the probe; `batch_size` counts images per forward pass, `probe_batch_size` features per step."""

    probe_epochs: int
    probe_batch_size: int
    probe_lr: float
    batch_size: int
    seed: int
    workers: int
    device: str


def encode(encoder: Network, images: ImageSet, how: ProbeSettings) -> Tensor:
    """Pooled features of a list, (N, d), on the encoder's device."""
    encoder.to(how.device)
    return FeatureMaps(encoder, images, how.batch_size, how.workers, how.device, budget=0).pooled().to(how.device)


def linear_head(weights: dict[str, Tensor]) -> nn.Linear:
    """The head that a probe found, from its state dict."""
    head = nn.Linear(weights["weight"].shape[1], len(weights["bias"]))
    head.load_state_dict(weights)
    return head.requires_grad_(False)


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    quiet: bool = False,
) -> tuple[nn.Linear, list[float]]:
    """Multinomial logistic regression on frozen features, by Adam.

    Args:
        features: (N, d).
        labels: (N,), integers in 0 .. C-1.
        num_classes: C.
        epochs: passes over the features.
        lr: Adam's learning rate.
        batch_size: features per step.
        seed: of the initialisation and of the order of the batches.
        quiet: shows no progress bar, for callers that have their own.

    Returns:
        The linear layer, on the device of the features, and the mean loss of every epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(features.shape[1], num_classes)
    bound = features.shape[1] ** -0.5
    with torch.no_grad():
        head.weight.uniform_(-bound, bound, generator=generator)
        head.bias.zero_()
    head = head.to(features.device)
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    losses = []
    for _ in trange(epochs, desc="linear probe", unit="epoch", disable=quiet or not processes.is_first()):
        total = 0.0
        for batch in torch.randperm(len(features), generator=generator).to(features.device).split(batch_size):
            loss = F.cross_entropy(head(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(features))
    return head.requires_grad_(False), losses


def fit_probe(
    features: Tensor, labels: Tensor, num_classes: int, how: ProbeSettings, quiet: bool = False
) -> tuple[nn.Linear, list[float]]:
    """Fits a linear head on features (N, d) with labels (N,); returns it and the loss of every epoch.

    Raises:
        RunError: the loss is no longer a finite number.
    """
    epochs, lr, batch_size = how.probe_epochs, how.probe_lr, how.probe_batch_size
    head, losses = fit_linear_probe(
        features, labels, num_classes, epochs=epochs, lr=lr, batch_size=batch_size, seed=how.seed, quiet=quiet
    )
    if not math.isfinite(losses[-1]):
        raise RunError(
            f"The linear probe's loss became {losses[-1]}; lower --probe-lr (now {how.probe_lr}) or replace the encoder."
        )
    return head, losses


def add_linear_probe(
    encoder: Network, train: ImageSet, test: ImageSet, classes: Sequence[str], path: Path, how: ProbeSettings
) -> dict:
    """Fits a linear head on the features of `train`, gives it to the encoder, and saves it.

    Args:
        encoder: a frozen encoder; the head becomes its own.
        train: labelled images, in the view that will be explained.
        test: images in the same view, only measured, as far as their classes are known.
        classes: class names in label order.
        path: where the head is saved, as a dict with `epoch`, `arch`, `state_dict_m`, `classes`.
        how: settings.

    Returns:
        What was measured: the last loss, accuracies in percent, and what speaks against them.

    Raises:
        RunError: the loss is no longer a finite number.
    """
    features, labels = encode(encoder, train, how), train.labels.to(how.device)
    head, losses = fit_probe(features, labels, len(classes), how)
    processes.align(head)  # each process fitted it, on other GPUs perhaps to other last digits
    encoder.replace_head(head)
    content = {"epoch": how.probe_epochs, "arch": "linear", "state_dict_m": head.state_dict(), "classes": list(classes)}
    right = {"probe_train_accuracy": accuracy(head(features).argmax(1), labels)}
    if test.num_known:
        right["probe_test_accuracy"] = accuracy(head(encode(encoder, test, how)).argmax(1).cpu(), test.labels)
    save_checkpoint(path, content)
    processes.say(
        f"Linear probe: {list(right.values())[-1]:.2f} % of the {'test' if test.num_known else 'training'} list."
    )
    doubts = [
        checks.not_converged(losses, train.labels),
        checks.incomplete_test_list(test, classes),
    ]
    measured = {"probe_loss": round(losses[-1], 6)} | {name: round(value, 3) for name, value in right.items()}
    return checks.with_warnings(measured, doubts)


def probe_once(
    encoder: Network,
    train: ImageSet,
    test: ImageSet,
    classes: Sequence[str],
    path: Path,
    how: ProbeSettings,
    unfinished: Unfinished,
) -> dict:
    """`add_linear_probe`, or, in a run that goes on after it, the head that it gave then; returns what was measured."""
    if unfinished.state and path.exists():
        encoder.replace_head(linear_head(unfinished.state["head"]))
    else:
        measured = add_linear_probe(encoder, train, test, classes, path, how)
        unfinished.state = {"head": encoder.head.state_dict(), "measured": measured}
        unfinished.save(unfinished.state)
    return unfinished.state["measured"]
