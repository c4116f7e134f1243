"""A whole list explained by a way of explaining that the test brings itself: one class, one line of the dictionary."""

import threading
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from models.resnet import build
from utils.base import machine
from utils.base.errors import InputError
from utils.data.images import whole_view
from utils.data.lists import Example, read_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import DEMO, IMG, MASK, Layout, explanation_name
from utils.explanations import explain_list as module
from utils.explanations.explain_list import ExplainSettings, explain_list, explanation_files
from utils.explanations.explainers import EXPLAINERS, chosen_counters, counters, strongest_counters
from utils.explanations.masks import resized
from utils.explanations.storage import Explained, Stored, listed_counters, spread
from utils.running.resuming import Unfinished

SIZE, CLASSES, GRID = 64, 3, 4


@dataclass(frozen=True)
class Corner:
    """Points at one corner, further right the higher the counter class."""

    stored = lambda self, network, num_classes, size: {"corner": Stored((GRID,), np.dtype(np.int32))}  # noqa: E731
    upsample = staticmethod(resized)
    clean = lambda self, masks, upsampled: masks  # noqa: E731
    panels = lambda self, maps, label, counter, size: [(maps["corner"].float(), "corner")]  # noqa: E731

    def __call__(self, network, pixels, label, choose):
        logits = network(pixels).logits
        counter = choose(logits)
        relevance = torch.zeros(*counter.shape, GRID, GRID)
        relevance[:, :, 0] = torch.nn.functional.one_hot(counter, GRID).float()
        return Explained(logits, counter, relevance, {"corner": label[:, None].expand(-1, GRID)})


@pytest.fixture
def noise(tmp_path):
    """A list of five noise pictures."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(5):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
        rows.append(Example(str(tmp_path / f"{index}.png"), index % CLASSES, index))
    return ImageSet(rows, "list.txt", tmp_path, partial(whole_view, size=SIZE))


def explain(images, folder, head=None, **changes):
    """Explains a list by an untrained network, perhaps with another head; returns the names of the output and what was measured."""
    layout, unfinished = Layout(folder / "out", "list_gt"), Unfinished(folder / "unfinished", {})
    layout.out.mkdir()
    unfinished.begin()
    torch.manual_seed(0)
    how = ExplainSettings(
        **(dict(mask_sizes=(0.05,), image_size=SIZE, batch_size=2, workers=2, device="cpu") | changes)
    )
    network = build("resnet18", CLASSES, bias=False).eval()
    if head is not None:
        network.head.weight.data = head
    return layout, explain_list(network, images, layout, ["a", "b", "c"], how, unfinished)


def test_a_new_way_of_explaining_is_one_class_and_one_line(noise, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPLAINERS, "corner", Corner)
    layout, measured = explain(noise, tmp_path, explanation="corner")
    assert (measured["images"], measured["explanations"]) == (5, 10)
    with np.load(layout.heatmaps) as stored:
        assert {name: stored[name].dtype for name in ("corner", "label")} == {"corner": np.int32, "label": np.int64}
        assert stored["corner"].tolist() == [[label] * GRID for label in noise.labels.tolist()]
    rows = read_explanations(layout.explanation_list(), CLASSES)
    assert [(row.index, row.counter) for row in rows] == [
        (i, b) for i in range(5) for b in range(CLASSES) if b != i % CLASSES
    ]
    for row in rows:
        name = explanation_name(noise.rows[row.index].path, row.label, row.counter, row.index)
        mask = np.array(Image.open(layout.explanations(MASK, 0.05) / name)) == 255
        across = np.nonzero(mask)[1]
        assert (
            abs(across.mean() - (row.counter + 0.5) * SIZE / GRID) < SIZE / GRID / 2
            and np.nonzero(mask)[0].max() < SIZE / GRID
        )
        assert all((layout.explanations(kind, 0.05) / name).is_file() for kind in (IMG, DEMO))
    assert layout.contact_sheet.is_file()


def test_where_the_network_prefers_the_counter_class_everywhere_the_mask_is_no_larger_than_asked_for_and_counted(
    noise, tmp_path
):
    """Features are 0 or more, so of classes with the weights 0, 1 and 2 the higher has more to say for itself at every place."""
    head = torch.arange(3.0)[:, None].expand(3, 512).clone()
    layout, measured = explain(
        noise, tmp_path, head, explanation="margin", explanation_layer="layer4", mask_sizes=(0.05, 0.30)
    )
    assert measured["constant_maps"] == 2 * 2 + 2 * 1  # two images of class 0 against 1 and 2, two of class 1 against 2
    for row in read_explanations(layout.explanation_list(), CLASSES):
        for size in (0.05, 0.30):
            name = explanation_name(noise.rows[row.index].path, row.label, row.counter, row.index)
            mask = np.array(Image.open(layout.explanations(MASK, size) / name)) == 255
            assert 0 < mask.mean() <= size


def test_counters_are_all_wrong_classes_ascending():
    assert counters(torch.tensor([0, 2, 3]), 4).tolist() == [[1, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_the_strongest_wrong_classes_by_hand():
    logits, label = torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 5.0, 7.0, 6.0]]), torch.tensor([0, 2])
    assert strongest_counters(logits, label).tolist() == [[2, 3, 1], [3, 1, 0]]  # of equals the lower class first
    assert chosen_counters(label, 2, logits).tolist() == [[2, 3], [1, 3]]


def test_maps_of_some_classes_stand_at_their_places_among_nan():
    maps = spread(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.tensor([[0, 3], [1, 2]]), 4)
    assert maps[..., 0].nan_to_num(-1).tolist() == [[1, -1, -1, 2], [-1, 3, 4, -1]]


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (2, 2), (9, 2)])
def test_an_image_is_explained_against_its_strongest_wrong_classes_as_ever(noise, tmp_path, capsys, wanted, count):
    """Maps and pictures are those of a run that explains against all, but only the listed ones are made."""
    how = dict(explanation="margin", explanation_layer="layer4")
    for name in ("all", "some"):
        (tmp_path / name).mkdir()
    everything, _ = explain(noise, tmp_path / "all", **how)
    layout, measured = explain(noise, tmp_path / "some", counters=wanted, **how)
    assert measured["explanations"] == 5 * count
    announced = f"5 images against {count} classes each: {5 * count} explanations, {15 * count} pictures."
    assert capsys.readouterr().out.splitlines()[-1] == announced
    torch.manual_seed(0)
    network = build("resnet18", CLASSES, bias=False).eval()
    with torch.inference_mode():
        logits = network(torch.stack([noise[number] for number in range(5)]).float() / 255).logits
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


def test_explanations_are_drawn_a_few_at_a_time_and_the_same(noise, tmp_path, monkeypatch):
    """With more, as many and fewer at a time than a batch has."""
    found = []
    for few in (64, 4, 3, 1):
        monkeypatch.setattr(module, "AT_ONCE", few)
        (tmp_path / f"{few}").mkdir()
        found.append(pictures_of(explain(noise, tmp_path / f"{few}", mask_sizes=(0.05, 0.2))[0]))
    assert len(found[0]) == 5 * 2 * 2 * 3 + 1 and all(some == found[0] for some in found)


def test_a_finished_run_names_its_files(noise, tmp_path):
    layout, _ = explain(noise, tmp_path, explanation="scout", counters=1)
    how = ExplainSettings((0.05,), SIZE, batch_size=2, workers=2, device="cpu", explanation="scout", counters=1)
    files = set(explanation_files(layout, CLASSES, how))
    assert len(files) == 5 + 3 * 5 and {path for path in files if not path.is_file()} == {layout.explanation_record}
    listed = layout.explanation_list()
    rows = read_explanations(listed, CLASSES)
    assert listed_counters(layout, noise.rows, CLASSES) == [[row.counter] for row in rows]
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"_CE.txt has no explanation of .*4.png \(index 4\). Explain that list again"):
        listed_counters(layout, noise.rows, CLASSES)


def test_no_more_than_two_batches_are_on_a_gpu_at_once_and_the_results_are_those_of_the_cpu(
    noise, tmp_path, monkeypatch
):
    """The processor computes, under the name of a GPU as far as `turns` sees."""
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
    (tmp_path / "cpu").mkdir()
    (tmp_path / "gpu").mkdir()
    on_cpu, _ = explain(noise, tmp_path / "cpu", explanation="corner", batch_size=1, workers=5)
    monkeypatch.setattr(Corner, "__call__", counted(Corner.__call__))
    monkeypatch.setattr(Corner, "upsample", staticmethod(counted(resized)))
    monkeypatch.setattr(module, "_render", counted(module._render))
    monkeypatch.setattr(module, "turns", lambda device: machine.turns("cuda:1"))
    on_gpu, _ = explain(noise, tmp_path / "gpu", explanation="corner", batch_size=1, workers=5)
    assert most == [2] and not inside
    assert len(pictures_of(on_cpu)) == 5 * 2 * 3 + 1 and pictures_of(on_cpu) == pictures_of(on_gpu)
