"""Explanations of a teacher some of whose maps are constant: counted, whatever the batches and however often the run was stopped."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from models.resnet import build
from utils.base.errors import InputError
from utils.data.images import whole_view
from utils.data.lists import Example
from utils.data.loading import ImageSet
from utils.data.outputs import MASK, Layout
from utils.explanations import scout
from utils.explanations.explain_list import ExplainSettings, explain_list, explanation_files
from utils.explanations.scout import EPS, Maps
from utils.running.resuming import Unfinished

SIZE, CLASSES, FLAT = 64, ["a", "b", "c"], [0, 1, 4]  # the images of FLAT will have constant maps


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for index in range(6):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
        rows.append(Example(str(path), index % 3, index))
    return ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE))


class Explainer:
    """Explains the images below a folder, those of `flat` by constant maps."""

    def __init__(self, images, folder, monkeypatch, flat, batch_size):
        self.images = images
        self.how = ExplainSettings(
            mask_sizes=(0.05,), image_size=SIZE, batch_size=batch_size, workers=0, device="cpu", explanation="scout"
        )
        self.layout = Layout(folder, "list_gt")
        self.unfinished = Unfinished(folder / "unfinished", {})
        torch.manual_seed(1)
        self.network = build("resnet18", 3).eval()
        self.stop_at = None
        self.calls = 0
        real = scout.explanation_maps
        first = (
            self.network.folded()
            .feature_map(torch.stack([images[number] for number in flat]).float() / 255)
            .mean((2, 3))
        )

        def flattened(outputs, head):
            self.calls += 1
            if self.calls == self.stop_at:
                raise KeyboardInterrupt
            maps = real(outputs, head)
            constant = (torch.cdist(outputs.features, first) < 1e-3).any(1)
            return Maps(*(torch.where(constant.view(-1, *[1] * (part.dim() - 1)), EPS, part) for part in maps))

        monkeypatch.setattr(scout, "explanation_maps", flattened)

    def __call__(self):
        return explain_list(self.network, self.images, self.layout, CLASSES, self.how, self.unfinished)


@pytest.mark.parametrize("batch_size", [1, 2, 6])  # by 2, one batch is all constant and one half
def test_constant_maps_are_counted_and_explained_all_the_same(images, tmp_path, monkeypatch, batch_size):
    explain = Explainer(images, tmp_path / "out", monkeypatch, FLAT, batch_size)
    explain.unfinished.begin()
    measured = explain()
    assert (measured["constant_maps"], measured["explanations"]) == (6, 12)
    assert measured["warnings"][0].startswith("6 of 12 explanations have a constant map")
    missing = [path for path in explanation_files(explain.layout, 3, explain.how) if not path.is_file()]
    assert missing == [explain.layout.explanation_record]
    masks = [np.array(Image.open(path)) for path in explain.layout.explanations(MASK, 0.05).iterdir()]
    assert {(mask > 127).sum() for mask in masks} == {204}  # 0.05 x 64 x 64 = 204.8


@pytest.mark.parametrize("stop_at", range(2, 7))
def test_a_run_that_was_stopped_counts_the_same(images, tmp_path, monkeypatch, stop_at):
    explain = Explainer(images, tmp_path / "out", monkeypatch, FLAT, 1)
    explain.unfinished.begin()
    explain.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        explain()
    explain.calls, explain.stop_at = 0, None
    assert explain()["constant_maps"] == 6
    assert explain.calls == 6 - (stop_at - 1)  # only the batches that were missing


def test_a_teacher_whose_maps_are_all_constant_is_refused_and_leaves_nothing(images, tmp_path, monkeypatch):
    explain = Explainer(images, tmp_path / "out", monkeypatch, range(6), 2)
    explain.unfinished.begin()
    with pytest.raises(InputError, match="^--checkpoint: all maps of this network are constant"):
        explain()
    assert not explain.unfinished.advanced
    suffixes = {path.suffix for path in (tmp_path / "out").rglob("*") if "unfinished" not in path.parts}
    assert suffixes <= {"", *(f".{n:02d}" for n in range(100))}
