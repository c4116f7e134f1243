"""Risk and psi against loops and against torch.autograd."""

import math

import pytest
import torch

from utils.teaching.maxgrad import log_psi, margin_risk


def example(seed=0, count=6, classes=4, size=8):
    rng = torch.Generator().manual_seed(seed)
    W = torch.randn(classes, size, generator=rng, dtype=torch.float64)
    f = torch.randn(count, size, generator=rng, dtype=torch.float64)
    return f, W, torch.randint(0, classes, (count,), generator=rng)


def plain_risk(f, W, c):
    """Risk of one example, term by term."""
    return sum(torch.exp(-0.5 * torch.dot(f, W[c] - W[k])) for k in range(len(W)) if k != c)


def test_risk_against_loops():
    f, W, labels = example()
    expected = sum(plain_risk(f[n], W, labels[n].item()) for n in range(len(f))) / len(f)
    torch.testing.assert_close(margin_risk(f @ W.T, labels), expected)


def test_psi_is_the_squared_gradient_of_the_risk():
    f, W, labels = example()
    for n in range(len(f)):
        features = f[n].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(plain_risk(features, W, labels[n].item()), features)
        # the exponent's factor 1/2 is the constant that the score leaves out: psi = || 2 dR/df ||^2
        expected = (2 * gradient).square().sum().log()
        torch.testing.assert_close(log_psi(f[n : n + 1] @ W.T, labels[n : n + 1], W)[0], expected)


def test_psi_by_hand():
    W = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    z = torch.tensor([[0.0, 2.0]])  # true class 0, margin -2: e^1 (1, -1), squared norm 2 e^2
    assert log_psi(z, torch.tensor([0]), W).item() == pytest.approx(math.log(2) + 2)


def test_margins_that_would_overflow_keep_their_order():
    W = torch.eye(3)
    z = torch.tensor([[-5000.0, 5000.0, 0.0], [-6000.0, 6000.0, 0.0]])
    scores = log_psi(z, torch.tensor([0, 0]), W)
    assert torch.isfinite(scores).all() and scores[1] > scores[0]
    assert scores[0].item() == pytest.approx(10000 + math.log(2))
