"""A whole list is explained: by a new explainer, against some classes, with constant maps, after interruptions."""

import statistics
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.resnet import build
from tests.helpers.runs import read_table
from utils.base import machine
from utils.base.errors import InputError
from utils.data.images import whole_view
from utils.data.lists import Example, read_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import DEMO, IMG, MASK, Layout, explanation_name, faithfulness_of
from utils.explanations import explain_list as module
from utils.explanations import scout
from utils.explanations.explain_list import EXPLAINERS, ExplainSettings, explain_list, explanation_files
from utils.explanations.explainers import Explained, Explainer, chosen_counters, strongest_counters
from utils.explanations.scout import EPS, Maps
from utils.explanations.storage import listed_counters
from utils.running.resuming import Unfinished

SIZE, CLASSES, GRID = 64, 3, 4
ALL_OF_LAYER4 = dict(explanation="margin", explanation_layer="layer4")


class Corner(Explainer):
    """Points at one corner, further right for higher counter classes."""

    def __call__(self, network, pixels, label, choose):
        logits = network(pixels).logits
        counter = choose(logits)
        relevance = torch.zeros(*counter.shape, GRID, GRID)
        relevance[:, :, 0] = torch.nn.functional.one_hot(counter, GRID).float()
        return Explained(logits, counter, relevance, {"corner": label[:, None].expand(-1, GRID).int()})

    def panels(self, maps, label, counter, size):
        return [(maps["corner"].float(), "corner")]


@pytest.fixture
def noise(tmp_path):
    """A list of five noise pictures."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(5):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
        rows.append(Example(str(tmp_path / f"{index}.png"), index % CLASSES, index))
    return ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE))


def untrained(seed=0):
    torch.manual_seed(seed)
    return build("resnet18", CLASSES, bias=False).eval()


def settings(**changes):
    how = dict(mask_sizes=(0.05,), image_size=SIZE, batch_size=2, workers=2, device="cpu")
    return ExplainSettings(**how | changes)


def explain(images, folder, network=None, resume=False, **changes):
    """Explains a list by an untrained network or another one; returns the names of the output and the measurements."""
    layout, unfinished = Layout(folder / "out", "list_gt"), Unfinished(folder / "unfinished", {})
    layout.out.mkdir(parents=True, exist_ok=True)
    unfinished.folder.mkdir(exist_ok=resume)
    network = network or untrained()
    return layout, explain_list(network, images, layout, ["a", "b", "c"], settings(**changes), unfinished)


def mask_of(layout, images, row, size=0.05):
    name = explanation_name(images.rows[row.index].path, row.label, row.counter, row.index)
    return np.array(Image.open(layout.explanations(MASK, size) / name)) == 255


def test_a_new_explainer_is_one_class_and_one_entry(noise, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPLAINERS, "corner", Corner)
    layout, measured = explain(noise, tmp_path, explanation="corner")
    assert (measured["images"], measured["explanations"]) == (5, 10)
    with np.load(layout.heatmaps) as stored:
        assert {name: stored[name].dtype for name in ("corner", "label")} == {"corner": np.int32, "label": np.int64}
        assert stored["corner"].tolist() == [[label] * GRID for label in noise.labels.tolist()]
    rows = read_explanations(layout.explanation_list(), CLASSES)
    wrong = [(i, b) for i in range(5) for b in range(CLASSES) if b != i % CLASSES]
    assert [(row.index, row.counter) for row in rows] == wrong
    for row in rows:
        down, across = np.nonzero(mask_of(layout, noise, row))
        assert abs(across.mean() - (row.counter + 0.5) * SIZE / GRID) < SIZE / GRID / 2 and down.max() < SIZE / GRID
    assert layout.contact_sheet.is_file()


def test_faithfulness_against_a_plain_implementation(noise, tmp_path, monkeypatch):
    """Blurs every mask pixel by pixel and asks the network again. The contact sheet outlines the best 40 %."""
    network, sheet = untrained(), []
    monkeypatch.setattr(module.figures, "tiles", lambda path, drawn: sheet.extend(drawn))
    layout, _ = explain(noise, tmp_path, network, mask_sizes=(0.05, 0.2), outlined_share=0.4, **ALL_OF_LAYER4)
    rows = read_explanations(layout.explanation_list(), CLASSES)
    table = read_table(faithfulness_of(layout.explanation_list()))
    reach = 7  # a box of 15 pixels is nearest to 51 / 224 of 64
    for row, found in zip(rows, table, strict=True):
        assert (found["path"], found["label"], found["counter"]) == (row.path, str(row.label), str(row.counter))
        picture = noise[row.index].double().numpy() / 255
        blurred = picture.copy()
        for y, x in zip(*np.nonzero(mask_of(layout, noise, row)), strict=True):
            around = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
            blurred[:, y, x] = picture[:, *around].mean((1, 2))
        with torch.no_grad():
            logits = network(torch.tensor(np.stack([picture, blurred])).float()).logits
        before, after = (logits[:, row.label] - logits[:, row.counter]).tolist()
        expected = before, before - after, statistics.pstdev((logits[0] - logits[1]).tolist())
        assert [float(found[name]) for name in ("margin", "lost", "faithfulness")] == pytest.approx(expected, abs=2e-3)
    best = {row["path"] for row in sorted(table, key=lambda row: -float(row["faithfulness"]))[:4]}
    for number, ((image, title), *_, (people, caption)) in enumerate(sheet):
        (row,) = (row for row in rows if row.index == number and "abc"[row.counter] == title[-1])  # "a = x\nb = y"
        assert caption == ("red border (people)" if row.path in best else "no border (people)")
        assert torch.equal(image, people) is (row.path not in best)
    explain(noise, tmp_path / "without", network, faithfulness=False, **ALL_OF_LAYER4)
    assert not list((tmp_path / "without").rglob("*_faithfulness.csv"))
    assert {row[-1][1] for row in sheet[5:]} == {"red border (people)"}


def test_the_strongest_wrong_classes_by_hand():
    logits, label = torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 5.0, 7.0, 6.0]]), torch.tensor([0, 2])
    assert strongest_counters(logits, label).tolist() == [[2, 3, 1], [3, 1, 0]]  # of equals the lower class first
    assert chosen_counters(label, 2, logits).tolist() == [[2, 3], [1, 3]]


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (2, 2), (9, 2)])
def test_explanations_of_the_strongest_classes_are_those_of_a_full_run(noise, tmp_path, capsys, wanted, count):
    everything, _ = explain(noise, tmp_path / "all", **ALL_OF_LAYER4)
    layout, measured = explain(noise, tmp_path / "some", counters=wanted, **ALL_OF_LAYER4)
    assert measured["explanations"] == 5 * count
    announced = f"5 images against {count} classes each: {5 * count} explanations, {15 * count} pictures."
    assert announced in capsys.readouterr().out.splitlines()
    with torch.inference_mode():
        logits = untrained()(torch.stack([noise[number] for number in range(5)]).float() / 255).logits
    expected = []
    for number, row in enumerate(noise.rows):
        wrong = sorted((b for b in range(CLASSES) if b != row.label), key=lambda b: -logits[number, b])
        expected += [(row.index, row.label, b) for b in sorted(wrong[:count])]
    for people in (False, True):
        rows = read_explanations(layout.explanation_list(people), CLASSES)
        assert [(row.index, row.label, row.counter) for row in rows] == expected
    made, complete = (dict(np.load(one.heatmaps)) for one in (layout, everything))
    for name in ("label", "path"):
        assert made[name].tolist() == complete[name].tolist()
    assert made["class_maps"].dtype == np.float16 and not np.isnan(complete["class_maps"]).any()
    explained = {(i, c) for i, a, b in expected for c in (a, b)}
    for i, c in np.ndindex(5, CLASSES):
        one, other = made["class_maps"][i, c], complete["class_maps"][i, c]
        assert one.tobytes() == other.tobytes() if (i, c) in explained else np.isnan(one).all()
    names = {explanation_name(noise.rows[i].path, a, b, i) for i, a, b in expected}
    for kind in (IMG, MASK, DEMO):
        made = {path.name: path.read_bytes() for path in layout.explanations(kind, 0.05).iterdir()}
        assert made == {name: (everything.explanations(kind, 0.05) / name).read_bytes() for name in names}


def pictures_of(layout):
    return {path.relative_to(layout.out): path.read_bytes() for path in layout.out.rglob("*.png")}


def test_the_number_of_explanations_drawn_at_once_does_not_matter(noise, tmp_path, monkeypatch):
    found = []
    for few in (64, 4, 3, 1):
        monkeypatch.setattr(module, "AT_ONCE", few)
        found.append(pictures_of(explain(noise, tmp_path / f"{few}", mask_sizes=(0.05, 0.2))[0]))
    assert len(found[0]) == 5 * 2 * 2 * 3 + 1 and all(some == found[0] for some in found)


def test_a_finished_run_names_its_files(noise, tmp_path):
    layout, _ = explain(noise, tmp_path, explanation="scout", counters=1)
    files = set(explanation_files(layout, noise, CLASSES, settings(explanation="scout", counters=1)))
    assert len(files) == 6 + 3 * 5 and {path for path in files if not path.is_file()} == {layout.explanation_record}
    listed = layout.explanation_list()
    rows = read_explanations(listed, CLASSES)
    assert listed_counters(layout, noise.rows, CLASSES) == [[row.counter] for row in rows]
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"_CE.txt has no explanation of .*4.png \(index 4\). Explain that list again"):
        listed_counters(layout, noise.rows, CLASSES)


def test_at_most_two_batches_are_on_a_gpu_at_once_and_results_are_those_of_the_cpu(noise, tmp_path, monkeypatch):
    """`turns` is given the name of a GPU; the CPU computes."""
    inside, most, lock = [], [0], threading.Lock()

    def counted(step):
        def work(*arguments):
            with lock:
                inside.append(step)
                most[0] = max(most[0], len(inside))
            time.sleep(0.03)
            found = step(*arguments)
            with lock:
                inside.remove(step)
            return found

        return work

    monkeypatch.setitem(EXPLAINERS, "corner", Corner)
    on_cpu, _ = explain(noise, tmp_path / "cpu", explanation="corner", batch_size=1, workers=5)
    monkeypatch.setattr(Corner, "__call__", counted(Corner.__call__))
    monkeypatch.setattr(Corner, "upsample", counted(Corner.upsample))
    monkeypatch.setattr(module, "_render", counted(module._render))
    monkeypatch.setattr(module, "turns", lambda device: machine.turns("cuda:1"))
    on_gpu, _ = explain(noise, tmp_path / "gpu", explanation="corner", batch_size=1, workers=5)
    assert most == [2] and not inside
    assert len(pictures_of(on_cpu)) == 5 * 2 * 3 + 1 and pictures_of(on_cpu) == pictures_of(on_gpu)


# ---------------------------------------------------------------- constant maps


class Flattened:
    """Scout with constant maps for some images of a list; `stop_at` interrupts that call."""

    def __init__(self, images, flat, monkeypatch):
        self.calls, self.stop_at, self.real = 0, None, scout.explanation_maps
        pixels = torch.stack([images[number] for number in flat]).float() / 255
        self.flat = untrained(1).folded().feature_map(pixels).mean((2, 3))
        monkeypatch.setattr(scout, "explanation_maps", self)

    def __call__(self, outputs, head):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        constant = (torch.cdist(outputs.features, self.flat) < 1e-3).any(1)
        maps = self.real(outputs, head)
        return Maps(*(torch.where(constant.view(-1, *[1] * (part.dim() - 1)), EPS, part) for part in maps))


@pytest.mark.parametrize("batch_size", [1, 2, 5])  # by 2, one batch is all constant and one half
def test_constant_maps_are_counted_and_explained_all_the_same(noise, tmp_path, monkeypatch, batch_size):
    Flattened(noise, [0, 1, 4], monkeypatch)
    layout, measured = explain(noise, tmp_path, untrained(1), explanation="scout", batch_size=batch_size)
    assert (measured["constant_maps"], measured["explanations"]) == (6, 10)
    assert measured["warnings"][0].startswith("6 of 10 explanations have a constant map")
    masks = [np.array(Image.open(path)) for path in layout.explanations(MASK, 0.05).iterdir()]
    assert len(masks) == 10 and {(mask > 127).sum() for mask in masks} == {204}  # 0.05 x 64 x 64 = 204.8


@pytest.mark.parametrize("stop_at", range(2, 6))
def test_a_stopped_run_explains_only_the_missing_batches(noise, tmp_path, monkeypatch, stop_at):
    flattened, how = Flattened(noise, [0, 1, 4], monkeypatch), dict(explanation="scout", batch_size=1, workers=0)
    flattened.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        explain(noise, tmp_path, untrained(1), **how)
    flattened.calls, flattened.stop_at = 0, None
    changed = Path(noise.rows[stop_at - 2].path)
    content = changed.read_bytes()
    Image.new("RGB", (SIZE, SIZE)).save(changed)
    with pytest.raises(InputError, match=f"^The picture {changed} has changed since it was explained. Start without"):
        explain(noise, tmp_path, untrained(1), resume=True, **how)
    changed.write_bytes(content)  # with another modification time
    assert flattened.calls == 0
    assert explain(noise, tmp_path, untrained(1), resume=True, **how)[1]["constant_maps"] == 6
    assert flattened.calls == 5 - (stop_at - 1)


def test_a_teacher_whose_maps_are_all_constant_is_refused_and_leaves_nothing(noise, tmp_path, monkeypatch):
    Flattened(noise, range(5), monkeypatch)
    with pytest.raises(InputError, match="^--checkpoint: all maps of this network are constant"):
        explain(noise, tmp_path, untrained(1), explanation="scout")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
