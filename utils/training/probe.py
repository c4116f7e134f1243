"""Linear probe of the SimCLR variant: logistic regression on the features of a frozen encoder."""

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
    probe_epochs: int
    probe_batch_size: int  # features per step
    probe_lr: float
    batch_size: int  # images per forward pass
    seed: int
    workers: int
    device: str


def encode(encoder: Network, images: ImageSet, how: ProbeSettings) -> Tensor:
    """Returns the pooled features of a list, (N, d) on the encoder's device."""
    encoder.to(how.device)
    return FeatureMaps(encoder, images, how.batch_size, how.workers, how.device, budget=0).pooled().to(how.device)


def fit_probe(
    features: Tensor, labels: Tensor, num_classes: int, how: ProbeSettings, quiet: bool = False
) -> tuple[nn.Linear, list[float]]:
    """Fits multinomial logistic regression to features (N, d) and labels (N,) by Adam; `quiet` hides the progress bar.

    Returns the linear layer, on the device of the features, and the mean loss of every epoch.
    """
    generator = torch.Generator().manual_seed(how.seed)
    head = nn.Linear(features.shape[1], num_classes)
    bound = features.shape[1] ** -0.5
    with torch.no_grad():
        head.weight.uniform_(-bound, bound, generator=generator)
        head.bias.zero_()
    head = head.to(features.device)
    optimizer = torch.optim.Adam(head.parameters(), lr=how.probe_lr)
    losses = []
    for _ in trange(how.probe_epochs, desc="linear probe", unit="epoch", disable=quiet or not processes.is_first()):
        order, total = torch.randperm(len(features), generator=generator).to(features.device), 0.0
        for batch in order.split(how.probe_batch_size):
            loss = F.cross_entropy(head(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(features))
    if not math.isfinite(losses[-1]):
        advice = f"Lower --probe-lr (now {how.probe_lr}) or use another encoder."
        raise RunError(f"The loss of the linear probe became {losses[-1]}. {advice}")
    return head.requires_grad_(False), losses


def add_linear_probe(
    encoder: Network,
    train: ImageSet,
    test: ImageSet,
    classes: Sequence[str],
    path: Path,
    how: ProbeSettings,
    unfinished: Unfinished,
) -> dict:
    """Attaches a linear head, fitted to the features of `train`, to a frozen encoder and saves it at `path`.

    A resumed run takes the head that it has fitted. Returns the last loss and the accuracies in percent, with warnings.
    """
    if unfinished.state:
        head = nn.Linear(encoder.num_features, len(classes)).requires_grad_(False)
        head.load_state_dict(unfinished.state["head"])
        encoder.fc = head
        return unfinished.state["measured"]
    features, labels = encode(encoder, train, how), train.labels.to(how.device)
    head, losses = fit_probe(features, labels, len(classes), how)
    processes.align(head)  # every rank fits it, and rounding may differ
    encoder.fc = head
    train_accuracy = accuracy(head(features).argmax(1), labels)
    measured: dict = {"probe_loss": round(losses[-1], 6), "probe_train_accuracy": round(train_accuracy, 3)}
    if test.num_known:
        answers = head(encode(encoder, test, how)).argmax(1).cpu()
        measured["probe_test_accuracy"] = round(accuracy(answers, test.labels), 3)
    content = {"epoch": how.probe_epochs, "arch": "linear", "state_dict_m": head.state_dict(), "classes": list(classes)}
    save_checkpoint(path, content)
    processes.say(", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in measured.items()))
    warnings = [checks.not_converged(losses, train.labels), checks.incomplete_test_list(test, classes)]
    measured = checks.with_warnings(measured, warnings)
    unfinished.save({"head": head.state_dict(), "measured": measured})
    return measured
