"""Datasets by name: those of the catalog, and those that exist for each of them by rule."""

from pathlib import Path

import pytest

from utils.base.errors import InputError
from utils.data import catalog
from utils.data.catalog import BUTTERFLIES, DATASETS, MOTHS, Dataset


def test_rest_lists_are_datasets_by_rule(tmp_path):
    """With the same values as when they stood in the catalog."""
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
        match="^--dataset chinese_chars has no rest list; choose one that has: butterflies_s300, gull, toy.$",
    ):
        catalog.find(name, tmp_path)


@pytest.mark.parametrize("name", ["moths", "moths_rest", "moths_after_labeling", "toy_rest_rest"])
def test_an_unknown_name_lists_those_that_there_are(tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/dataset.json").touch()
    with pytest.raises(InputError) as refused:
        catalog.find(name, tmp_path)
    known = "butterflies, butterflies_s300, gull, gull_whole, chinese_chars, toy, mine"
    assert str(refused.value) == (
        f"--dataset '{name}' is unknown: there is no {tmp_path / name / 'dataset.json'} either; choose one of: {known}; one of these with "
        "_rest (its images for people to label) or _after_labeling (what people labelled) behind its name; or make it with "
        "datasets/prepare.py folder."
    )
