"""Checkpoints that name their classes: wherever they do, a network of another order is refused."""

import unicodedata
from functools import partial

import pytest
import torch
import torchvision

from models.named_classes import check_classes, named_classes
from models.resnet import build
from models.weights import load_classifier, load_head
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
    assert list(
        named_classes({"idx_to_class": {str(label): names[label] for label in sorted(range(12), key=str)}})
    ) == [names]
    assert list(named_classes({"class_to_idx": {"10": 1, "2": 2, "7": 0}})) == [
        ["7", "10", "2"]
    ]  # classes that are numbers
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


NFC, NFD = (
    tuple(unicodedata.normalize(form, name) for name in ("G\u00e9ant", "\u00c9t\u00e9", "\uac00"))
    for form in ("NFC", "NFD")
)
GULLS = ("CaliforniaGull", "GlaucouswingedGull", "HeermannGull")
FOLDERS = {"059.California_Gull": 0, "060.Glaucous_winged_Gull": 1, "061.Heermann_Gull": 2}
SAME = {
    "letters that a Mac takes apart": ({"classes": list(NFD)}, NFC, ()),
    "folders that a Mac takes apart": ({"class_to_idx": {name: label for label, name in enumerate(NFC)}}, NFD, ()),
    "CUB's folders": ({"class_to_idx": FOLDERS}, GULLS, ()),
    "folders that we have from CUB": ({"classes": list(GULLS)}, tuple(FOLDERS), ()),
    "ranges": ({"classes": ["0-9", "10-19"]}, ("0_9", "10_19"), ()),
    "numbers before the same name": ({"classes": ["1-spot", "2-spot"]}, ("1_spot", "2_spot"), ()),
    "bare numbers": ({"classes": [0, 1, 2]}, CLASSES, ()),
    "folders of bare numbers": ({"class_to_idx": {"0": 0, "1": 1, "2": 2}}, CLASSES, ()),
    "classes that are numbers": ({"classes": ["0", "1"]}, ("0", "1"), ()),
    "names that no list can express": ({"class_to_idx": {"C#": 0, "C++": 1}}, ("C_", "C__2"), ["C#", "C++"]),
    "the lists' own names beside them": ({"classes": ["C_", "C__2"]}, ("C_", "C__2"), ["C#", "C++"]),
}
OTHER = {
    "another order, taken apart": ({"classes": [NFD[1], NFD[0], NFD[2]]}, NFC, ()),
    "CUB's folders in another order": (
        {"class_to_idx": FOLDERS | {"059.California_Gull": 1, "060.Glaucous_winged_Gull": 0}},
        GULLS,
        (),
    ),
    "numbers before some": ({"classes": ["059.CaliforniaGull", "GlaucouswingedGull", "HeermannGull"]}, GULLS, ()),
    "numbers that are ranges": ({"classes": ["0-9", "10-19"]}, ("5-9", "15-19"), ()),
    "bare numbers in another order": ({"classes": [1, 0, 2]}, CLASSES, ()),
    "too many bare numbers": ({"classes": [0, 1, 2, 3]}, CLASSES, ()),
    "numbers that the classes have in another order": ({"classes": ["0", "1"]}, ("1", "0"), ()),
    "names that no list can express, in another order": (
        {"class_to_idx": {"C#": 1, "C++": 0}},
        ("C_", "C__2"),
        ["C#", "C++"],
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_names_of_the_same_classes_agree_however_they_are_written(kind):
    content, classes, shown = SAME[kind]
    check_classes(content, classes, "c.pt", shown)


@pytest.mark.parametrize("kind", OTHER)
def test_names_of_other_classes_are_refused_however_they_are_written(kind):
    content, classes, shown = OTHER[kind]
    with pytest.raises(InputError, match="was trained for the classes "):
        check_classes(content, classes, "c.pt", shown)


def test_a_classifier_of_another_order_is_not_loaded(tmp_path):
    state = torchvision.models.resnet18(num_classes=3).state_dict()
    for names, fits in (("abc", True), ("bac", False)):
        torch.save(
            {"state_dict": state, "class_to_idx": {name: label for label, name in enumerate(names)}}, tmp_path / "c.pt"
        )
        if fits:
            load_classifier(str(tmp_path / "c.pt"), ("a", "b", "c"))
        else:
            with pytest.raises(InputError, match="was trained for the classes b, a, c"):
                load_classifier(str(tmp_path / "c.pt"), ("a", "b", "c"))


def test_a_classifier_and_a_head_may_name_the_classes_as_people_read_them(tmp_path):
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    head = {name.removeprefix("fc."): value for name, value in state.items() if name.startswith("fc.")}
    for content, load in ((state, load_classifier), (head, partial(load_head, build("resnet18", 2)))):
        torch.save({"state_dict": content, "class_to_idx": {"C#": 0, "C++": 1}}, tmp_path / "c.pt")
        load(str(tmp_path / "c.pt"), ("C_", "C__2"), ["C#", "C++"])
        with pytest.raises(InputError, match=r"was trained for the classes C#, C\+\+, the dataset has C_, C__2"):
            load(str(tmp_path / "c.pt"), ("C_", "C__2"))
