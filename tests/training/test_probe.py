"""The linear probe learns separable classes and is repeatable."""

import torch

from utils.training.probe import ProbeSettings, fit_probe


def test_probe_separates_classes_and_repeats():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 512, generator=rng) * 0.1
    features[torch.arange(60), labels] += 3
    how = ProbeSettings(60, 16, 3e-3, batch_size=1, seed=0, workers=0, device="cpu")
    head, losses = fit_probe(features, labels, 3, how)
    again, _ = fit_probe(features, labels, 3, how)
    assert (head(features).argmax(1) == labels).all() and losses[-1] < losses[0] / 4
    assert torch.equal(head.weight, again.weight)
