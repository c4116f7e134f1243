"""The released procedure and the product make the same explanations."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import baseline
from models.resnet import build
from utils.data.images import whole_view
from utils.data.lists import Example
from utils.data.loading import ImageSet
from utils.data.outputs import DEMO, IMG, MASK, Layout, explanation_name
from utils.explanations.explain_list import ExplainSettings, explain_list
from utils.running.resuming import Unfinished

SIZE, CLASSES, FRACTION = 96, 3, 0.05


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """The same four pictures explained by the product and by the baseline."""
    root = tmp_path_factory.mktemp("baseline")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((120, 120), Image.Resampling.BICUBIC).save(root / f"{index}.png")
        rows.append(Example(str(root / f"{index}.png"), index % CLASSES, index))
    torch.manual_seed(1)
    network = build("resnet18", CLASSES).eval()
    layout = Layout(root / "out", "list_gt")
    layout.out.mkdir()
    images = ImageSet(rows, "list.txt", root, partial(whole_view, size=SIZE))
    how = ExplainSettings(
        mask_sizes=(FRACTION,), image_size=SIZE, batch_size=3, workers=1, device="cpu", explanation="scout"
    )
    unfinished = Unfinished(root / "unfinished", {})
    unfinished.begin()
    explain_list(network, images, layout, ["a", "b", "c"], how, unfinished)
    files, labels = [row.path for row in rows], [row.label for row in rows]
    baseline.explain(network, files, labels, CLASSES, SIZE, root / "baseline", sizes=(FRACTION,))
    return rows, layout, root / "baseline"


@pytest.mark.parametrize(("kind", "theirs"), [(MASK, "mask"), (IMG, "machine"), (DEMO, "people")])
def test_baseline_and_product_paint_the_same_pictures(explained, kind, theirs):
    rows, layout, folder = explained
    for row in rows:
        for step in range(1, CLASSES):
            counter = (row.label + step) % CLASSES
            ours = np.array(
                Image.open(
                    layout.explanations(kind, FRACTION) / explanation_name(row.path, row.label, counter, row.index)
                )
            )
            other = np.array(Image.open(folder / f"{row.index}_{step}_{FRACTION}_{theirs}.png"))
            # Rounding may move single pixels of a mask across its threshold, and with them the mean colour by a step.
            close = np.abs(ours.astype(int) - other.astype(int)) <= 3
            assert close.mean() > 0.99
