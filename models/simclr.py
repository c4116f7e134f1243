"""SimCLR (Chen et al., ICML 2020): encoder, projection head and NT-Xent loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.resnet import build

PROJECTION = 64


class SimCLR(nn.Module):
    """An encoder with a projection head.

    The state dict has the layout of the public PyTorch releases: `encoder.*`, `projector.0.*` and `projector.2.*`.
    """

    def __init__(self, arch: str = "resnet18") -> None:
        super().__init__()
        self.encoder = build(arch, num_classes=0, normalize=False)
        features = self.encoder.num_features
        hidden, output = nn.Linear(features, features, bias=False), nn.Linear(features, PROJECTION, bias=False)
        self.projector = nn.Sequential(hidden, nn.ReLU(), output)

    def forward(self, images: Tensor) -> Tensor:
        """Returns projections (N, 64) of images (N, 3, h, w) in [0, 1]."""
        return self.projector(self.encoder(images).features)


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent, the normalized temperature-scaled cross entropy (Chen et al. 2020, equation 1).

    The mean over all 2 N views of -log(exp(sim(i, j) / tau) / sum over k != i of exp(sim(i, k) / tau)).

    Args:
        z: projections (2 N, d) of two views each of N images; rows i and N + i are the views of image i.
        temperature: tau > 0.
    """
    count = z.shape[0]
    z = F.normalize(z, dim=1)
    similarity = z @ z.T / temperature  # (2N, 2N)
    similarity = similarity.masked_fill(torch.eye(count, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(count, device=z.device).roll(count // 2)  # i -> N + i and back
    return F.cross_entropy(similarity, partner)
