"""In which order a checkpoint says that its classes are, whichever tool saved it, and whether that is the dataset's."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from utils.base.errors import InputError, first_of

# Where tools keep what they know of a network: MMClassification and MMPretrain, Lightning.
PLACES = ((), ("meta",), ("meta", "dataset_meta"), ("hyper_parameters",))
# Entries that name the classes, in lower case: in label order; with their labels (torchvision's ImageFolder); by their labels.
ENTRIES = {"classes", "class_names", "class_to_idx", "idx_to_class"}
MOST_NAMES = 10  # that a message lists
NUMBER = re.compile(
    r"\d+[._-](?=.*[^\W\d_])"
)  # before a name of letters, as CUB's folders have it: `059.California_Gull`


def check_classes(content: Mapping, classes: tuple[str, ...], path: str, shown: Sequence[str] = ()) -> None:
    """Proves that a checkpoint, where it names its classes, names those of the dataset in their order.

    Args:
        content: the checkpoint.
        classes: the dataset's names, in label order.
        path: the checkpoint's file, for the error message.
        shown: the names as people read them, in label order; folders are called so, where lists could not express it (`C++`).

    Raises:
        InputError: the names differ, or their order does.
    """
    for named in named_classes(content):
        if not (_only_counted(named, classes) or _agree(named, classes) or _agree(named, shown)):
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
    return type(value) is int or (
        isinstance(value, str) and value.isascii() and value.isdigit()
    )  # JSON knows no other keys than text


def _only_counted(named: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether names are 0 .. C-1 in order and so tell of no class, unless the classes themselves are called so."""
    return list(named) == [str(label) for label in range(len(classes))] and set(named) != set(classes)


def _agree(named: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether names are those of the classes, apart from what the names of folders may add or lack: blanks and marks (`Cabbage White`,
    `CabbageWhite`), numbers before them all, and how Unicode composes letters, which systems of files change."""
    theirs, ours = ([unicodedata.normalize("NFC", name) for name in names] for names in (named, classes))
    return theirs == ours or _same(theirs, ours) or _same(_unnumbered(theirs), _unnumbered(ours))


def _same(named: list[str], classes: list[str]) -> bool:
    """Whether names are the same without blanks, marks and capitals, and still differ from one another."""
    theirs, ours = ([re.sub(r"[\W_]+", "", name).casefold() for name in names] for names in (named, classes))
    return len(set(theirs)) == len(theirs) and theirs == ours


def _unnumbered(names: list[str]) -> list[str]:
    """Names without the numbers before them, if all have one."""
    return [NUMBER.sub("", name, count=1) for name in names] if all(map(NUMBER.match, names)) else names
