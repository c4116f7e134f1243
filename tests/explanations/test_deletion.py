"""Deletion: margins after blurring by hand, and the command."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from utils.explanations import deletion
from utils.explanations.faithfulness import BOX, blurred_logits, box_blur, effects


class Corners(nn.Module):
    """A network with three logits: the mean brightness of the left half, of the right half, and 0."""

    def forward(self, images):
        half = images.shape[-1] // 2
        logits = torch.stack(
            [images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3)), torch.zeros(len(images))], dim=1
        )
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize(("side", "width"), [(224, 51), (64, 15), (112, 25)])
def test_the_blur_is_a_box_in_proportion_to_the_image(side, width):
    image = torch.zeros(1, 3, side, side)
    image[0, :, side // 2, side // 2] = 1
    blurred = box_blur(image)[0, 0]
    assert (blurred > 0).sum() == width**2 and abs(width - BOX * side) <= 1
    torch.testing.assert_close(box_blur(torch.full((1, 3, side, side), 0.3)), torch.full((1, 3, side, side), 0.3))


def test_margins_after_blurring_an_empty_and_a_full_mask():
    image = torch.zeros(3, 64, 64)
    image[..., :32] = 1
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[1] = True
    logits, blurred = Corners()(image[None]).logits, blurred_logits(Corners(), image[None], masks)[None]
    (nothing, everything) = effects(logits, blurred, torch.tensor([0]), torch.tensor([[1, 2]]))[0].tolist()
    left = box_blur(image[None])[0, :, :, :32].mean().item()
    assert nothing == pytest.approx([1, 0, 0]) and everything[:2] == pytest.approx([1, 1 - left]) and left < 0.95


@pytest.fixture
def measure(butterflies, data_root, monkeypatch):
    """Runs the command in the folder in which the small dataset was explained."""
    monkeypatch.chdir(butterflies.folder)

    def run(*outs):
        teacher = str(butterflies.out / "checkpoint_pretrain_resnet18_s300.pth.tar")
        words = ["--dataset", "toy", "--data-root", str(data_root), "--checkpoint", teacher, "--second", teacher]
        monkeypatch.setattr(sys, "argv", ["deletion", *outs, *words, "--images", "3"])
        deletion.main()

    return run


def test_the_command_measures_teacher_and_second_network(measure, capsys):
    measure("toy", "margin")
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split(",")[0] for line in lines if "3 images, 12 explanations" in line]
    assert heads == ["toy", "toy", "margin", "margin"]
    rows = np.array([[float(word) for word in line.split()[-3:]] for line in lines if line.startswith("  in the")])
    assert rows.shape == (8, 3) and np.array_equal(rows[::2], rows[1::2])  # the second network is the teacher here
    assert np.allclose(rows[:, 0], rows[0, 0], atol=2e-3) and (rows[:, 1] != 0).any()


def test_a_folder_without_explanations_is_refused(measure, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        measure(str(tmp_path))
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("deletion: error: ")


def test_lists_without_a_record_have_the_published_mask_size(measure, butterflies, capsys):
    record = butterflies.out / "toy_gt_CE.json"
    content = record.read_bytes()
    record.unlink()
    try:
        measure("toy")
    finally:
        record.write_bytes(content)
    heads = [line for line in capsys.readouterr().out.splitlines() if "explanations" in line]
    assert heads == ["toy, t = 0.05, 3 images, 12 explanations"]
