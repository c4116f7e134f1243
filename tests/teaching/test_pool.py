"""Masks on the grid of whichever network looks: means over squares, each decoded once a grid."""

from functools import partial

import pytest
import torch
from PIL import Image

from utils.base.errors import InputError
from utils.data.images import to_tensor, whole_view
from utils.data.lists import Example, Explanation, write_explanations
from utils.data.loading import ImageSet
from utils.teaching import pool as module
from utils.teaching.course import people_rows
from utils.teaching.pool import Pool, match_explanations

SIZE = 64


@pytest.fixture
def pool(tmp_path):
    """Two images of two classes; the first's mask is its top left 16 x 16 pixels and its right half, the second's is empty."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[:16, :16] = mask[:, 32:] = 255
    rows, explanations = [], []
    for label, pixels in enumerate((mask, torch.zeros_like(mask))):
        name = f"{label}_groundtruth_{label}_counter_{1 - label}_index_{label}.png"
        for folder, file in (("images", f"{label}.png"), ("x_img/0.05", name), ("x_mask/0.05", name)):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(tmp_path / folder / file)
        rows.append(Example(str(tmp_path / f"images/{label}.png"), label, label))
        explanations.append(Explanation(str(tmp_path / "x_img/0.05" / name), label, 1 - label, label))
    write_explanations(tmp_path / "CE.txt", explanations)
    return Pool(
        ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE)),
        str(tmp_path / "CE.txt"),
        2,
        "attention",
        SIZE,
    )


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
    with pytest.raises(
        InputError,
        match=r"CE\.txt \(masks\), line 2: the mask \S+x_mask/0\.05/1_groundtruth_1_counter_0_index_1\.png is empty; explain anew\.$",
    ):
        pool.weights(1, 2)


def test_explanations_of_other_images_of_the_same_index_and_label_are_refused(tmp_path):
    """A list that is made anew numbers its images anew: x had index 0 when it was explained, and y has it now."""
    for name in ("y.jpg", "z.png"):
        (tmp_path / name).write_bytes(b"not decoded")
    now = ImageSet(
        [Example("./datasets/y.jpg", 0, 0), Example("./datasets/z.png", 1, 1)], "d_gt_tr.txt", tmp_path, to_tensor
    )
    names = ["x_groundtruth_0_counter_1_index_0.png", "z_groundtruth_1_counter_0_index_1.png"]
    rows = [Explanation(f"./d/x_img/0.05/{name}", label, 1 - label, label) for label, name in enumerate(names)]
    with pytest.raises(InputError) as refusal:
        match_explanations(now, rows, "CE.txt", 2)
    assert str(refusal.value) == (
        "CE.txt, line 1: ./d/x_img/0.05/x_groundtruth_0_counter_1_index_0.png is not named as an explanation of image 0, "
        "./datasets/y.jpg (line 1 of d_gt_tr.txt), is: y_groundtruth_0_counter_1_index_0.png; explain that list anew."
    )
    for folder in ("/elsewhere/", "./", "", "../a b/0.05/"):  # where the pictures lie does not count
        rows[0] = Explanation(f"{folder}y_groundtruth_0_counter_1_index_0.png", 0, 1, 0)
        assert match_explanations(now, rows, "CE.txt", 2).tolist() == [[-1, 0], [1, -1]]


def test_pictures_for_people_of_other_images_are_refused(tmp_path):
    listed = {name: [Explanation(f"./{name}_groundtruth_0_counter_1_index_0.png", 0, 1, 0)] for name in "xy"}
    write_explanations(tmp_path / "CE_HTML.txt", listed["x"])
    assert people_rows(str(tmp_path / "CE.txt"), listed["x"], 2) == listed["x"]
    with pytest.raises(
        InputError, match=r"CE_HTML\.txt lists other explanations than .*CE\.txt; explain the list anew\.$"
    ):
        people_rows(str(tmp_path / "CE.txt"), listed["y"], 2)
