"""Margin risk and MaxGrad score (Wang, Nagrecha & Vasconcelos, CVPR 2021)."""

import torch
from torch import Tensor


def margin_risk(logits: Tensor, labels: Tensor) -> Tensor:
    """R(L) = mean over (x, c) of sum over k != c of exp(-1/2 <f(x), W_c - W_k>).

    Args:
        logits: z = W f of a bias-free head, (N, C), so that <f, W_c - W_k> = z_c - z_k.
        labels: c, (N,).

    Returns:
        A scalar.
    """
    margins = logits.gather(1, labels[:, None]) - logits  # (N, C), 0 at k = c
    wrong = torch.ones_like(margins).scatter(1, labels[:, None], 0)  # (N, C)
    return (torch.exp(-margins / 2) * wrong).sum(1).mean()


def log_psi(logits: Tensor, labels: Tensor, codewords: Tensor) -> Tensor:
    """Logarithm of the MaxGrad score psi(x, c) = || sum over k != c of exp(-1/2 <f(x), W_c - W_k>) (W_c - W_k) ||^2.

    psi grows exponentially with the margin, so the largest exponent is taken out before anything is added up: no margin
    overflows. All in float64.

    Args:
        logits: z = W f of a bias-free head, (N, C).
        labels: c, (N,).
        codewords: W, (C, d).

    Returns:
        log psi, float64 (N,); -inf where all codewords are equal.
    """
    z, W = logits.double(), codewords.double()
    exponents = (z - z.gather(1, labels[:, None])) / 2  # -1/2 <f, W_c - W_k>, (N, C)
    exponents = exponents.scatter(1, labels[:, None], -torch.inf)
    peak = exponents.amax(1, keepdim=True)  # (N, 1)
    weights = torch.exp(exponents - peak)  # e_k, 0 at c
    # sum_k e_k (W_c - W_k) = (sum_k e_k) W_c - sum_k e_k W_k, a combination of codewords
    weights = -weights.scatter(1, labels[:, None], -weights.sum(1, keepdim=True))  # (N, C)
    return 2 * peak[:, 0] + (weights @ W).square().sum(1).log()
