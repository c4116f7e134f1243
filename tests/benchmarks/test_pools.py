"""What a choice costs, measured on random pools."""

import torch

from benchmarks.pools import CLASSES, FEATURES, measure, random_pool


def test_a_random_pool_is_a_survey():
    seen = random_pool(12, seed=3)
    assert seen.labels.tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1] and seen.features.shape == (12, FEATURES)
    assert (seen.table[torch.arange(12), seen.labels] == -1).all()
    assert seen.table[seen.table >= 0].tolist() == list(range(12 * (CLASSES - 1)))
    assert torch.allclose(seen.logits, seen.features @ seen.codewords.T)
    assert seen.explained.features.shape == (48, FEATURES) and torch.equal(
        random_pool(12, seed=3).features, seen.features
    )


def test_a_choice_is_measured():
    seconds, before, peak = measure("KMaxGrad", 40, seed=0)
    assert seconds > 0 and 0 < before <= peak < 16
