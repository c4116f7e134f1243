"""Checkpoints that name their classes: wherever they do, a network of another order is refused."""

import pytest
import torch
import torchvision

from models.named_classes import check_classes, named_classes
from models.weights import load_classifier
from utils.base.errors import InputError

CLASSES = ("CabbageWhite", "Monarch", "Queen")
SAYING = {
    "ours": lambda names: {"classes": names},
    "ImageFolder": lambda names: {"class_to_idx": {name: names.index(name) for name in sorted(names)}},
    "names": lambda names: {"class_names": tuple(names)},
    "by label": lambda names: {"idx_to_class": dict(reversed(list(enumerate(names))))},
    "JSON": lambda names: {"idx_to_class": {str(label): name for label, name in enumerate(names)}},
    "MMClassification": lambda names: {"meta": {"CLASSES": tuple(names), "epoch": 3}},
    "MMPretrain": lambda names: {"meta": {"dataset_meta": {"classes": names}}},
    "Lightning": lambda names: {"hyper_parameters": {"class_names": names}},
}


@pytest.mark.parametrize("tool", SAYING)
def test_the_order_of_the_classes_counts_wherever_it_is_told(tool):
    say = SAYING[tool]
    assert list(named_classes(say(list(CLASSES)))) == [list(CLASSES)]
    check_classes(say(list(CLASSES)), CLASSES, "c.pt")
    check_classes(say(["Cabbage White", "monarch", "queen"]), CLASSES, "c.pt")  # as a folder of pictures may have it
    with pytest.raises(InputError) as refusal:
        check_classes(say(["Monarch", "CabbageWhite", "Queen"]), CLASSES, "c.pt")
    assert str(refusal.value) == (
        "--checkpoint c.pt was trained for the classes Monarch, CabbageWhite, Queen, the dataset has CabbageWhite, Monarch, Queen; "
        "give the checkpoint of this dataset."
    )


def test_ten_classes_by_label_are_in_the_order_of_numbers():
    names = [f"c{number}" for number in range(12)]
    assert list(named_classes({"idx_to_class": {str(label): names[label] for label in sorted(range(12), key=str)}})) == [names]
    assert list(named_classes({"class_to_idx": {"10": 1, "2": 2, "7": 0}})) == [["7", "10", "2"]]  # classes that are numbers
    with pytest.raises(InputError, match="c8, c9 and 2 more, the dataset has a, b; give"):
        check_classes({"classes": names}, ("a", "b"), "c.pt")


@pytest.mark.parametrize("value", [3, None, [], {}, {"a": 0.5}, {"a": "b"}, "abc", torch.zeros(3)])
def test_entries_that_name_no_classes_say_nothing(value):
    for content in ({"classes": value}, {"class_to_idx": value}, {"meta": value}, {"meta": {"dataset_meta": value}}):
        check_classes(content, CLASSES, "c.pt")


def test_names_that_only_marks_keep_apart_are_not_mixed_up():
    check_classes({"classes": ["C", "C++"]}, ("C", "C++"), "c.pt")
    with pytest.raises(InputError):
        check_classes({"classes": ["C++", "C"]}, ("C", "C++"), "c.pt")


def test_a_classifier_of_another_order_is_not_loaded(tmp_path):
    state = torchvision.models.resnet18(num_classes=3).state_dict()
    for names, fits in (("abc", True), ("bac", False)):
        torch.save({"state_dict": state, "class_to_idx": {name: label for label, name in enumerate(names)}}, tmp_path / "c.pt")
        if fits:
            load_classifier(str(tmp_path / "c.pt"), ("a", "b", "c"))
        else:
            with pytest.raises(InputError, match="was trained for the classes b, a, c"):
                load_classifier(str(tmp_path / "c.pt"), ("a", "b", "c"))
