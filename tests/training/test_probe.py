"""The linear probe learns what is there to be learned, the same each time."""

import torch

from utils.training.probe import fit_linear_probe


def test_probe_separates_what_is_separable_and_repeats():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 512, generator=rng) * 0.1
    features[torch.arange(60), labels] += 3
    head, losses = fit_linear_probe(features, labels, 3, epochs=60, lr=3e-3, batch_size=16, seed=0)
    again, _ = fit_linear_probe(features, labels, 3, epochs=60, lr=3e-3, batch_size=16, seed=0)
    assert (head(features).argmax(1) == labels).all() and losses[-1] < losses[0] / 4
    assert torch.equal(head.weight, again.weight)
