"""Confident answers become labels."""

import torch

from utils.data.lists import UNKNOWN
from utils.training.self_training import confident_labels


def test_the_threshold_is_inclusive():
    found = torch.tensor([[0.95, 0.05, 0.0], [0.5, 0.25, 0.25], [0.1, 0.3, 0.6]], dtype=torch.float64)
    assert confident_labels(found, 0.5).tolist() == [0, 0, 2]
    assert confident_labels(found, 0.6).tolist() == [0, UNKNOWN, 2]
    assert confident_labels(found, 0.95).tolist() == [0, UNKNOWN, UNKNOWN]
    assert confident_labels(found, 0.951).tolist() == [UNKNOWN] * 3
