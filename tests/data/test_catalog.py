"""Datasets by name: those of the catalog, and those that exist for each of them by rule."""

import json
from pathlib import Path

import pytest

from utils.base.errors import InputError
from utils.data import catalog
from utils.data.catalog import BUTTERFLIES, DATASETS, MOTHS, Dataset


def test_rest_lists_are_datasets_by_rule(tmp_path):
    butterflies, moths = "butterflies_gt_s300_rest_tr", "toy_gt_rest_tr"
    assert catalog.find("butterflies_s300_rest", tmp_path) == Dataset(
        "butterflies_s300_rest", "butterflies_crop", BUTTERFLIES, butterflies, "butterflies_gt_te", trains_on_rest=True
    )
    toy = catalog.find("toy_rest", tmp_path)
    assert toy == Dataset("toy_rest", "toy", MOTHS, moths, "toy_gt_te", trains_on_rest=True)
    assert (toy.out, toy.list_stem, toy.things) == ("toy_rest", "toy_gt_rest", ("moth", "moths"))
    gulls = catalog.find("gull_rest", tmp_path)
    assert gulls.list_path(tmp_path, "train") == tmp_path / "NAbirdsgull/NAbirdsgull_gt_tr.txt" and gulls.trains_on_rest
    assert [name for name in DATASETS if name.endswith((catalog.REST, catalog.AFTER_LABELING))] == []


@pytest.mark.parametrize("name", [*DATASETS, "toy_rest"])
def test_labeled_lists_are_datasets_by_rule(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    labeled = f"{name}_after_labeling"
    after = catalog.find(labeled, selection="CMaxGrad")
    assert (after.name, after.rest) == (labeled, "") and after.train.endswith("_CMaxGrad_labeled_tr")
    with pytest.raises(InputError, match="contains no labelled list. Run label.py first.$"):
        catalog.find(labeled)
    folder = Path(after.train_folder)
    folder.mkdir()
    (folder / f"{after.train}.txt").touch()
    assert catalog.find(labeled) == after
    (folder / f"{after.train.replace('CMaxGrad', 'random')}.txt").touch()
    with pytest.raises(
        InputError, match="several labelled lists: .*_CMaxGrad_.*_random_.* Choose one with --selection.$"
    ):
        catalog.find(labeled)


@pytest.mark.parametrize("name", ["chinese_chars_rest", "chinese_chars_rest_after_labeling"])
def test_a_dataset_without_a_rest_list_says_so(tmp_path, name):
    with pytest.raises(
        InputError,
        match="^--dataset chinese_chars has no rest list. Choose one that has: butterflies_s300, gull, toy.$",
    ):
        catalog.find(name, tmp_path)


@pytest.mark.parametrize("name", ["moths", "moths_rest", "moths_after_labeling", "toy_rest_rest"])
def test_an_unknown_name_lists_those_that_there_are(tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/dataset.json").touch()
    with pytest.raises(InputError) as refused:
        catalog.find(name, tmp_path)
    known = "butterflies, butterflies_s300, gull, gull_whole, chinese_chars, toy, mine"
    assert str(refused.value).startswith(
        f"--dataset '{name}' is unknown, and {tmp_path / name / 'dataset.json'} does not"
    )
    assert f"Choose one of: {known}; append _rest " in str(refused.value)


ABOUT = {"name": "mine", "classes": ["RedFox", "b"], "train": "mine_tr", "test": "mine_te"}


@pytest.fixture
def described(tmp_path):
    """Writes `mine/dataset.json` with some changes; returns the data root."""
    (tmp_path / "mine").mkdir()
    for stem in ("mine_tr", "mine_te"):
        (tmp_path / f"mine/{stem}.txt").touch()

    def write(**changes):
        (tmp_path / "mine/dataset.json").write_text(json.dumps(ABOUT | changes))
        return tmp_path

    return write


def test_a_folder_with_a_description_is_a_dataset(described):
    root = described(display_names={"b": "B"}, things=["fox", "foxes"])
    dataset = catalog.find("mine", root)
    assert (dataset.classes, dataset.display_names, dataset.rest) == (("RedFox", "b"), ["Red Fox", "B"], "")
    assert (dataset.things, dataset.out, dataset.list_stem) == (("fox", "foxes"), "mine", "mine")
    assert dataset.list_path(root, "train") == root / "mine/mine_tr.txt"
    for name in ("", ".", "mine/../mine", "mine_rest"):
        with pytest.raises(InputError):
            catalog.find(name, root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "the name 'other' is not the folder's, 'mine'"),
        ({"classes": "Ab"}, "classes must be a list of two or more names"),
        ({"classes": ["Ab", 3]}, "classes must be a list of two or more names"),
        ({"classes": ["Ab", "Red Fox"]}, "'Red Fox' contains a space or a path separator; use 'Red_Fox'"),
        ({"classes": ["b", "b"]}, "two classes have the same name"),
        ({"display_names": {"RedFox": "b"}}, "the same name for people"),
        ({"display_names": {"d": "D"}}, "display_names must map class names"),
        ({"train": ""}, "the train list '' does not exist"),
        ({"test": "../mine/mine_te"}, "does not exist in this folder"),
        ({"rest": "mine_rest_tr"}, "the rest list 'mine_rest_tr' does not exist"),
        ({"things": ["bird"]}, "things must be two words"),
    ],
)
def test_a_wrong_description_is_refused(described, changes, message):
    root = described(**changes)
    with pytest.raises(InputError, match=f"mine/dataset.json: .*{message}.*Correct it.$"):
        catalog.find("mine", root)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_description_that_is_not_json_is_refused(described, content):
    root = described()
    (root / "mine/dataset.json").write_text(content)
    with pytest.raises(InputError, match="mine/dataset.json is not a JSON object"):
        catalog.find("mine", root)
