"""Batches and random views: the same pixels with any number of threads, decoded once within the RAM budget."""

import numpy as np
import pytest
import torch
from PIL import Image

from utils.base.errors import InputError
from utils.base.randomness import generator
from utils.data import augment
from utils.data.images import full_view
from utils.data.lists import Example
from utils.data.loading import ImageSet, batches, in_batches


@pytest.fixture()
def images(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for index in range(7):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
        rows.append(Example(str(tmp_path / f"{index}.png"), index % 2, index))
    return ImageSet(rows, "list.txt", tmp_path, full_view)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_keep_order_and_content(images, workers):
    order = [5, 2, 6, 0, 1]
    found = list(batches(images.__getitem__, in_batches(order, 2), workers))
    assert [numbers for numbers, _ in found] == [[5, 2], [6, 0], [1]]
    assert torch.equal(torch.cat([pixels for _, pixels in found]), torch.stack([images[n] for n in order]))


@pytest.mark.parametrize(
    ("count", "size", "smallest", "expected"),
    [(5, 2, 1, [2, 2, 1]), (5, 2, 2, [2, 3]), (6, 2, 2, [2, 2, 2]), (1, 2, 2, [1]), (7, 4, 4, [7]), (7, 4, 3, [4, 3])],
)
def test_a_last_batch_that_is_too_small_joins_the_one_before(count, size, smallest, expected):
    groups = in_batches(range(count), size, smallest)
    assert list(map(len, groups)) == expected and sum(groups, []) == list(range(count))


def test_each_file_is_decoded_once_while_the_budget_lasts(images):
    reads = []
    images.view = lambda image: reads.append(1) or full_view(image)
    images._bytes_left = 3 * 40 * 60 * 3
    for _ in range(4):
        for number in range(5):
            images[number]
    assert len(reads) == 3 + 4 * 2


def test_processes_share_the_ram_budget(tmp_path, launched):
    launched(0, 4)
    assert ImageSet([], "list.txt", tmp_path, full_view, ram_budget=2.0)._bytes_left == 2**29
    assert ImageSet([], "list.txt", tmp_path, full_view)._bytes_left == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_by_list_and_line(images, workers):
    content = open(images.rows[4].path, "rb").read()
    with open(images.rows[4].path, "wb") as file:
        file.write(content[: len(content) // 2])
    with pytest.raises(InputError, match="list.txt, line 5: the image .*4.png cannot be decoded"):
        list(batches(images.__getitem__, in_batches(range(7), 2), workers))


def test_random_views_depend_only_on_their_key(images):
    def views(key):
        return [
            augment.simclr_view(images[0], 32, 0.08, generator(*key)),
            augment.random_view(images[0], 32, 0.5, generator(*key)),
        ]

    first, torch_noise, again, other = views((1, 2, 3)), torch.rand(9), views((1, 2, 3)), views((1, 2, 4))
    assert torch_noise.shape == (9,)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_crop_boxes_lie_inside_and_respect_the_smallest_area(images):
    boxes = [augment.crop_box(80, 120, 0.4, generator(n)) for n in range(300)]
    areas = [h * w / (80 * 120) for _, _, h, w in boxes]
    assert all(top >= 0 and left >= 0 and top + h <= 80 and left + w <= 120 for top, left, h, w in boxes)
    assert min(areas) > 0.38 and max(areas) > 0.85 and min(areas) < 0.5
    ratios = [w / h for _, _, h, w in boxes]
    assert min(ratios) > 0.72 and max(ratios) < 1.37
    assert {top for top, *_ in boxes} >= {0, 10}

    whole = [augment.random_view(images[0], 40, 1.0, generator(n)) for n in range(40)]
    assert len({view.numpy().tobytes() for view in whole}) >= 2
