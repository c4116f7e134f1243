"""SimCLR (Chen et al., ICML 2020): encoder, projection head, NT-Xent loss, and the linear probe on the frozen encoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from models.resnet import FEATURES, ResNet18, locate_backbone, projection_beside, takes_unnormalised
from utils import checkpoints, processes
from utils.errors import InputError

PROJECTION = 64


class SimCLR(nn.Module):
    """A ResNet-18 encoder and its projection head.

    The state dict has the keys `encoder.*`, `projector.0.weight` and `projector.2.weight`, the layout of the public PyTorch
    releases: theirs load here and ours load there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ResNet18(num_classes=0, normalize=False)
        self.projector = nn.Sequential(
            nn.Linear(FEATURES, FEATURES, bias=False),
            nn.ReLU(),
            nn.Linear(FEATURES, PROJECTION, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Projections (N, 64) of images (N, 3, h, w) in [0, 1]."""
        return self.projector(self.encoder(images).features)


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent, the normalised temperature-scaled cross entropy (Chen et al. 2020, equation 1).

    Args:
        z: projections (2 N, d) of two views each of N >= 2 images; rows i and N + i are the views of image i.
        temperature: tau > 0, by which the cosine similarities are divided.

    Returns:
        The mean over all 2 N views of -log(exp(sim(i, j) / tau) / sum over k != i of exp(sim(i, k) / tau)), a scalar.

    Raises:
        ValueError: N is 1; the loss would be 0 whatever z is.
    """
    count = z.shape[0]
    if count < 4:
        raise ValueError("NT-Xent needs two images or more: one alone has nothing to be told from.")
    z = F.normalize(z, dim=1)
    similarity = z @ z.T / temperature  # (2N, 2N)
    similarity = similarity.masked_fill(torch.eye(count, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(count, device=z.device).roll(count // 2)  # i -> N + i and back
    return F.cross_entropy(similarity, partner)


def save_simclr(path: str, model: SimCLR) -> None:
    """Saves the bare state dict."""
    checkpoints.save(path, model.state_dict())


def load_encoder(path: str) -> ResNet18:
    """The frozen encoder of a SimCLR checkpoint, ours or a public one, whatever wraps it and however wide its projection is.

    Raises:
        InputError: the file is missing or is no ResNet-18 that was trained so (a classifier, another architecture).
    """
    source = f"--checkpoint {path}"
    content = checkpoints.read(path, "--checkpoint")
    found = locate_backbone(content, source)
    if not projection_beside(found):
        raise InputError(f"{source} lacks a projection, so its ResNet-18 is no SimCLR encoder; give a checkpoint of SimCLR.")
    encoder = ResNet18(num_classes=0, normalize=not takes_unnormalised(content, found))
    checkpoints.fit(encoder, found.weights, source)
    return encoder.eval().freeze_backbone()


def fit_linear_probe(
    features: Tensor, labels: Tensor, num_classes: int, *, epochs: int, lr: float, batch_size: int, seed: int, quiet: bool = False
) -> tuple[nn.Linear, list[float]]:
    """Multinomial logistic regression on frozen features, by Adam.

    Args:
        features: (N, 512).
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
    head = nn.Linear(FEATURES, num_classes)
    bound = FEATURES**-0.5
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
