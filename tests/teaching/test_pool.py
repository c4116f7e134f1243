"""Masks on the grid of whichever network looks: means over squares, each decoded once a grid."""

from functools import partial

import pytest
import torch
from PIL import Image

from utils.base.errors import InputError
from utils.data.images import whole_view
from utils.data.lists import Example, Explanation, write_explanations
from utils.data.loading import ImageSet
from utils.teaching import pool as module
from utils.teaching.pool import Pool

SIZE = 64


@pytest.fixture
def pool(tmp_path):
    """Two images of two classes; the first's mask is its top left 16 x 16 pixels and its right half, the second's is empty."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[:16, :16] = mask[:, 32:] = 255
    rows, explanations = [], []
    for label, pixels in enumerate((mask, torch.zeros_like(mask))):
        for folder in ("images", "x_img/0.05", "x_mask/0.05"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(tmp_path / folder / f"{label}.png")
        rows.append(Example(str(tmp_path / f"images/{label}.png"), label, label))
        explanations.append(Explanation(str(tmp_path / f"x_img/0.05/{label}.png"), label, 1 - label, label))
    write_explanations(tmp_path / "CE.txt", explanations)
    return Pool(ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE)), str(tmp_path / "CE.txt"), 2, "attention", SIZE)


def test_where_an_explanation_points_on_each_networks_grid(pool):
    assert pool.weights(0, 2).tolist() == [[0.25, 1], [0, 1]]
    assert pool.weights(0, 4).tolist() == [[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert torch.equal(pool.image_weights(0, 2), torch.stack([torch.ones(2, 2), pool.weights(0, 2)]))


def test_a_mask_is_decoded_once_a_grid(pool, monkeypatch):
    decoded = []
    monkeypatch.setattr(module, "mask_weights", lambda mask, grid: decoded.append(grid) or torch.ones(grid, grid))
    for grid in (2, 4, 2, 4, 4):
        pool.weights(0, grid)
    assert decoded == [2, 4]


def test_an_empty_mask_is_named(pool):
    with pytest.raises(InputError, match=r"CE\.txt \(masks\), line 2: the mask \S+x_mask/0\.05/1\.png is empty; explain anew\.$"):
        pool.weights(1, 2)
