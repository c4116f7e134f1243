"""Renderings against loops over pixels."""

import numpy as np
import torch

from utils.explanations.rendering import BORDER, borders, draw_borders, fill_outside


def random_pictures(count=3, side=24, seed=0):
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=rng)
    centre = torch.rand(count, 2, generator=rng) * side
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).float()
    masks = (grid[None] - centre[:, :, None, None]).square().sum(1) < 40
    return images, masks


def test_outside_is_the_mean_color_of_the_inside():
    images, masks = random_pictures()
    rendered = fill_outside(images, masks)
    for image, mask, result in zip(images.numpy(), masks.numpy(), rendered.numpy(), strict=True):
        for channel in range(3):
            inside = [int(value) for value in image[channel][mask]]
            assert np.array_equal(result[channel][mask], image[channel][mask])
            assert np.all(result[channel][~mask] == np.rint(sum(inside) / len(inside)))


def test_border_is_every_mask_pixel_within_two_pixels_of_the_outside():
    _, masks = random_pictures()
    found = borders(masks).numpy()
    for mask, border in zip(masks.numpy(), found, strict=True):
        side = len(mask)
        for y in range(side):
            for x in range(side):
                around = [(y + dy, x + dx) for dy in range(-BORDER, BORDER + 1) for dx in range(-BORDER, BORDER + 1)]
                out = any(not (0 <= v < side and 0 <= u < side) or not mask[v, u] for v, u in around)
                assert border[y, x] == (mask[y, x] and out)


def test_only_the_border_is_red():
    images, masks = random_pictures()
    drawn = draw_borders(images, masks)
    border = borders(masks)[:, None].expand_as(images)
    assert torch.equal(drawn[~border], images[~border])
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand_as(images)
    assert torch.equal(drawn[border], red[border])


def test_inputs_are_unchanged():
    images, masks = random_pictures()
    before = images.clone(), masks.clone()
    fill_outside(images, masks)
    draw_borders(images, masks)
    assert torch.equal(images, before[0]) and torch.equal(masks, before[1])
