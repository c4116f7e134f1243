"""Confident answers become labels."""

import pytest
import torch

from utils.data.lists import UNKNOWN
from utils.training.self_training import confident_labels


def test_the_threshold_is_inclusive():
    found = torch.tensor([[0.95, 0.05, 0.0], [0.5, 0.25, 0.25], [0.1, 0.3, 0.6]], dtype=torch.float64)
    assert confident_labels(found, 0.5).tolist() == [0, 0, 2]
    assert confident_labels(found, 0.6).tolist() == [0, UNKNOWN, 2]
    assert confident_labels(found, 0.95).tolist() == [0, UNKNOWN, UNKNOWN]
    assert confident_labels(found, 0.951).tolist() == [UNKNOWN] * 3


@pytest.mark.parametrize("classes", [2, 7])
def test_a_higher_threshold_keeps_a_subset(classes):
    found = (4 * torch.randn(500, classes, generator=torch.Generator().manual_seed(classes))).softmax(1)
    before = confident_labels(found, 0.0)
    assert torch.equal(before, found.argmax(1))
    for confidence in (0.6, 0.8, 0.95, 0.999):
        labels = confident_labels(found, confidence)
        taken = labels != UNKNOWN
        assert taken.sum() < (before != UNKNOWN).sum()
        assert torch.equal(labels[taken], before[taken])
        before = labels
