"""Datasets by name: those of the catalog, those of the data root, and those that exist for each by rule."""

import json
from pathlib import Path

import pytest

from utils.base.errors import InputError
from utils.data import catalog
from utils.data.catalog import BUTTERFLIES, DATASETS, MOTHS, Dataset


def test_rest_lists_are_datasets(tmp_path):
    butterflies, moths = "butterflies_gt_s300_rest_tr", "toy_gt_rest_tr"
    assert catalog.find("butterflies_s300_rest", tmp_path) == Dataset(
        "butterflies_s300_rest", "butterflies_crop", BUTTERFLIES, butterflies, "butterflies_gt_te", trains_on_rest=True
    )
    toy = catalog.find("toy_rest", tmp_path)
    assert toy == Dataset("toy_rest", "toy", MOTHS, moths, "toy_gt_te", trains_on_rest=True)
    assert (toy.out, toy.list_stem, toy.things) == ("toy_rest", "toy_gt_rest", ("moth", "moths"))
    gulls = catalog.find("gull_rest", tmp_path)
    assert gulls.list_path(tmp_path, "train") == tmp_path / "NAbirdsgull/NAbirdsgull_gt_tr.txt" and gulls.trains_on_rest


@pytest.mark.parametrize("name", [*DATASETS, "toy_rest"])
def test_labeled_lists_are_datasets(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    labeled = f"{name}_after_labeling"
    with pytest.raises(InputError, match="contains no labeled list. Run label.py first"):
        catalog.find(labeled)
    base = catalog.find("butterflies_s300" if name == "butterflies" else name)
    Path(base.out).mkdir()
    stem = base.list_stem.replace("_gt", "_turker_label_gt")
    lists = [tmp_path / base.out / f"{stem}_{selection}_labeled_tr.txt" for selection in ("CMaxGrad", "random")]
    lists[0].touch()
    after = catalog.find(labeled)
    assert (after.name, after.rest, after.list_path("elsewhere", "train")) == (labeled, "", lists[0])
    lists[1].touch()
    with pytest.raises(InputError, match="several labeled lists: .*_CMaxGrad_.*_random_.* Choose one with"):
        catalog.find(labeled)
    assert catalog.find(labeled, selection="CMaxGrad") == after


@pytest.mark.parametrize("name", ["chinese_chars_rest", "chinese_chars_rest_after_labeling"])
def test_a_dataset_without_a_rest_list(tmp_path, name):
    known = "Choose one that has: butterflies_s300, gull, toy."
    with pytest.raises(InputError, match=f"^--dataset chinese_chars has no rest list. {known}$"):
        catalog.find(name, tmp_path)


@pytest.mark.parametrize("name", ["", "moths", "moths_rest", "moths_after_labeling", "toy_rest_rest"])
def test_the_error_for_an_unknown_name_lists_the_known_ones(tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/dataset.json").touch()
    with pytest.raises(InputError, match=f"^--dataset '{name}' is unknown") as refused:
        catalog.find(name, tmp_path)
    known = "butterflies, butterflies_s300, gull, gull_whole, chinese_chars, toy, mine"
    assert f"Choose one of: {known}; append _rest " in str(refused.value)


ABOUT = {"name": "mine", "classes": ["RedFox", "b"], "train": "mine_tr", "test": "mine_te"}


@pytest.fixture
def described(tmp_path):
    """Writes `mine/dataset.json` with some changes; returns the data root."""
    (tmp_path / "mine").mkdir()

    def write(content=None, **changes):
        (tmp_path / "mine/dataset.json").write_text(json.dumps(ABOUT | changes) if content is None else content)
        return tmp_path

    return write


def test_a_folder_with_a_description_is_a_dataset(described):
    root = described(display_names={"b": "B"}, things=["fox", "foxes"])
    dataset = catalog.find("mine", root)
    assert (dataset.classes, dataset.display_names, dataset.rest) == (("RedFox", "b"), ["Red Fox", "B"], "")
    assert (dataset.things, dataset.out, dataset.list_stem) == (("fox", "foxes"), "mine", "mine")
    assert dataset.list_path(root, "train") == root / "mine/mine_tr.txt"
    with pytest.raises(InputError, match="no rest list"):
        catalog.find("mine_rest", root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": "Ab"}, "classes must be a list of two or more different names"),
        ({"classes": ["Ab", 3]}, "is not a dataset description"),
        ({"classes": ["b", "b"]}, "classes must be a list of two or more different names"),
        ({"display_names": {"RedFox": "b"}}, "different names"),
        ({"things": ["bird"]}, "things must be two words"),
        ({"content": ""}, "is not a dataset description"),
        ({"content": "[]"}, "is not a dataset description"),
    ],
)
def test_a_wrong_description(described, changes, message):
    root = described(**changes)
    with pytest.raises(InputError, match=f"mine/dataset.json.*{message}"):
        catalog.find("mine", root)
