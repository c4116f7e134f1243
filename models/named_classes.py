"""In which order a checkpoint says that its classes are, whichever tool saved it, and whether that is the dataset's."""

import re
from collections.abc import Iterator, Mapping

from utils.base.errors import InputError, first_of

# Where tools keep what they know of a network: MMClassification and MMPretrain, Lightning.
PLACES = ((), ("meta",), ("meta", "dataset_meta"), ("hyper_parameters",))
# Entries that name the classes, in lower case: in label order; with their labels (torchvision's ImageFolder); by their labels.
ENTRIES = {"classes", "class_names", "class_to_idx", "idx_to_class"}
MOST_NAMES = 10  # that a message lists


def check_classes(content: Mapping, classes: tuple[str, ...], path: str) -> None:
    """Proves that a checkpoint, where it names its classes, names those of the dataset in their order.

    Raises:
        InputError: the names differ, or their order does.
    """
    for named in named_classes(content):
        if not _agree(named, classes):
            theirs, ours = first_of(named, MOST_NAMES), first_of(classes, MOST_NAMES)
            raise InputError(
                f"--checkpoint {path} was trained for the classes {theirs}, the dataset has {ours}; give the checkpoint of this dataset."
            )


def named_classes(content: Mapping) -> Iterator[list[str]]:
    """The names of a checkpoint's classes in label order, from each entry that holds some."""
    for place in PLACES:
        inside: object = content
        for key in place:
            inside = inside.get(key) if isinstance(inside, Mapping) else None
        for key, value in inside.items() if isinstance(inside, Mapping) else ():
            if str(key).lower() in ENTRIES and (named := _in_order(value)):
                yield named


def _in_order(value: object) -> list[str]:
    """Names from a list, or from a dictionary of names and labels, either of them the keys; none where it is something else."""
    if isinstance(value, (list, tuple)):
        return [str(name) for name in value]
    if not isinstance(value, Mapping):
        return []
    if all(type(label) is int for label in value.values()):
        return [str(name) for name in sorted(value, key=value.__getitem__)]
    return [str(value[label]) for label in sorted(value, key=int)] if all(map(_is_label, value)) else []


def _is_label(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isascii() and value.isdigit())  # JSON knows no other keys than text


def _agree(named: list[str], classes: tuple[str, ...]) -> bool:
    """Whether names are those of the classes, blanks and marks apart, which names of folders may lack: `Cabbage White`, `CabbageWhite`."""
    if tuple(named) == tuple(classes):
        return True
    plain = [re.sub(r"[\W_]+", "", name).casefold() for name in named]
    return len(set(plain)) == len(plain) and plain == [re.sub(r"[\W_]+", "", name).casefold() for name in classes]
