"""The released procedure makes the same explanations as this repository."""

from functools import partial

import numpy as np
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


def test_the_released_procedure_makes_the_same_pictures(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((120, 120), Image.Resampling.BICUBIC).save(tmp_path / f"{index}.png")
        rows.append(Example(str(tmp_path / f"{index}.png"), index % CLASSES, index))
    torch.manual_seed(1)
    network = build("resnet18", CLASSES).eval()
    images = ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE))
    how = ExplainSettings((FRACTION,), SIZE, batch_size=3, workers=1, device="cpu", explanation="scout")
    layout, unfinished = Layout(tmp_path, "list_gt"), Unfinished(tmp_path / "unfinished", {})
    unfinished.folder.mkdir()
    explain_list(network, images, layout, ["a", "b", "c"], how, unfinished)
    files, labels = [row.path for row in rows], [row.label for row in rows]
    baseline.explain(network, files, labels, CLASSES, SIZE, tmp_path / "baseline", sizes=(FRACTION,))
    for kind, name in ((MASK, "mask"), (IMG, "machine"), (DEMO, "people")):
        for row, step in [(row, step) for row in rows for step in range(1, CLASSES)]:
            listed = explanation_name(row.path, row.label, (row.label + step) % CLASSES, row.index)
            ours = np.array(Image.open(layout.explanations(kind, FRACTION) / listed)).astype(int)
            released = np.array(Image.open(tmp_path / f"baseline/{row.index}_{step}_{FRACTION}_{name}.png"))
            # Rounding may move single pixels of a mask across its threshold, and with them the mean color by a step.
            assert (np.abs(ours - released) <= 3).mean() > 0.99
