"""The linear probe of the SimCLR variant: logistic regression on the features of a frozen encoder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from models.resnet import FEATURES, ResNet18
from models.simclr import fit_linear_probe
from utils import checkpoints, processes
from utils.errors import RunError
from utils.evaluation import accuracy
from utils.features import FeatureMaps
from utils.loading import ImageSet
from utils.resuming import Unfinished


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


def encode(encoder: ResNet18, images: ImageSet, how: ProbeSettings) -> Tensor:
    """Pooled features of a list, (N, 512), on the encoder's device."""
    encoder.to(how.device)
    return FeatureMaps(encoder, images, how.batch_size, how.workers, how.device, budget=0).pooled().to(how.device)


def linear_head(weights: dict[str, Tensor]) -> nn.Linear:
    """The head that a probe found, from its state dict."""
    head = nn.Linear(FEATURES, len(weights["bias"]))
    head.load_state_dict(weights)
    return head.requires_grad_(False)


def fit_probe(features: Tensor, labels: Tensor, num_classes: int, how: ProbeSettings, quiet: bool = False) -> tuple[nn.Linear, float]:
    """Fits a linear head on features (N, 512) with labels (N,); returns it and its last loss.

    Raises:
        RunError: the loss is no longer a finite number.
    """
    chosen = {"epochs": how.probe_epochs, "lr": how.probe_lr, "batch_size": how.probe_batch_size, "seed": how.seed}
    head, losses = fit_linear_probe(features, labels, num_classes, **chosen, quiet=quiet)
    if not math.isfinite(losses[-1]):
        raise RunError(f"The linear probe's loss became {losses[-1]}; lower --probe-lr (now {how.probe_lr}) or replace the encoder.")
    return head, losses[-1]


def add_linear_probe(encoder: ResNet18, train: ImageSet, test: ImageSet, classes: Sequence[str], path: Path, how: ProbeSettings) -> dict:
    """Fits a linear head on the features of `train`, gives it to the encoder, and saves it.

    Args:
        encoder: a frozen encoder; its `fc` becomes the head.
        train: labelled images, in the view that will be explained.
        test: labelled images in the same view, only measured.
        classes: class names in label order.
        path: where the head is saved, as a dict with `epoch`, `arch`, `state_dict_m`, `classes`.
        how: settings.

    Returns:
        What was measured: the last loss, accuracies in percent.

    Raises:
        RunError: the loss is no longer a finite number.
    """
    features, labels = encode(encoder, train, how), train.labels.to(how.device)
    head, loss = fit_probe(features, labels, len(classes), how)
    encoder.fc = head
    content = {"epoch": how.probe_epochs, "arch": "linear", "state_dict_m": head.state_dict(), "classes": list(classes)}
    right = {
        "probe_train_accuracy": accuracy(head(features).argmax(1), labels),
        "probe_test_accuracy": accuracy(head(encode(encoder, test, how)).argmax(1).cpu(), test.labels),
    }
    checkpoints.save(path, content)
    processes.say(f"Linear probe: {right['probe_test_accuracy']:.2f} % of the test list.")
    return {"probe_loss": round(loss, 6)} | {name: round(value, 3) for name, value in right.items()}


def probe_once(
    encoder: ResNet18, train: ImageSet, test: ImageSet, classes: Sequence[str], path: Path, how: ProbeSettings, unfinished: Unfinished
) -> dict:
    """`add_linear_probe`, or, in a run that goes on after it, the head that it gave then; returns what was measured."""
    if unfinished.state and path.exists():
        encoder.replace_head(linear_head(unfinished.state["head"]))
    else:
        measured = add_linear_probe(encoder, train, test, classes, path, how)
        unfinished.state = {"head": encoder.head.state_dict(), "measured": measured}
        unfinished.save(unfinished.state)
    return unfinished.state["measured"]
