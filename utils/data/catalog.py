"""The datasets that scripts know by name: folder, classes in label order, lists.

The paper's datasets and the toy are listed here. Every other folder of the data root with a `dataset.json`, as
`datasets/prepare.py folder` writes it, is a dataset of that name.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.data.lists import locate, name_fault, safe_name
from utils.data.outputs import Layout

DESCRIPTION = "dataset.json"
AFTER_LABELING, REST = "_after_labeling", "_rest"  # name endings that every dataset has

BUTTERFLIES = ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
GULLS = ("CaliforniaGull", "GlaucouswingedGull", "HeermannGull", "RingbilledGull", "WesternGull")
CHARACTERS = ("grass", "mound", "stem")
MOTHS = ("Monocle", "Spectacle", "Hindeye", "Sash", "Tipped")

# For people: names that are more than their words set apart, and what the pictures show.
DISPLAY_NAMES = {
    "GlaucouswingedGull": "Glaucous-winged Gull",
    "HeermannGull": "Heermann's Gull",
    "RingbilledGull": "Ring-billed Gull",
}
THINGS = {
    BUTTERFLIES: ("butterfly", "butterflies"),
    GULLS: ("gull", "gulls"),
    CHARACTERS: ("character", "characters"),
    MOTHS: ("moth", "moths"),
}


@dataclass(frozen=True)
class Dataset:
    """A named dataset: its training and test lists and the meaning of the labels.

    Attributes:
        name: the value of `--dataset`.
        folder: the folder under the data root.
        classes: class names in label order.
        train, test, rest: stems of the training list, the test list and the list for people to label ("" for none), in `folder`.
            A list elsewhere is named as lists name files: `./datasets/...` is under the data root.
        train_folder: the folder of the training list if it is outside the data root, otherwise "".
        trains_on_rest: the training list is a rest list, whose labels may be unknown.
        own_names: class names for people, in label order; () derives them from `classes`.
        own_things: singular and plural of what the pictures show; () for the default.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    train: str
    test: str
    rest: str = ""
    train_folder: str = ""
    trains_on_rest: bool = False
    own_names: tuple[str, ...] = ()
    own_things: tuple[str, ...] = ()

    def list_path(self, data_root: str | Path, split: str) -> Path:
        """The list file of `split` ("train", "test" or "rest").

        Raises:
            InputError: the dataset has no such list.
        """
        stem = getattr(self, split)
        if not stem:
            owners = ", ".join(name for name, dataset in DATASETS.items() if getattr(dataset, split))
            raise InputError(f"--dataset {self.name} has no {split} list. Choose one that has: {owners}.")
        if split == "train" and self.train_folder:
            return Path(self.train_folder, f"{stem}.txt")
        listed = stem if stem.startswith("./") else f"./datasets/{self.folder}/{stem}"
        return Path(locate(f"{listed}.txt", data_root))

    @property
    def list_stem(self) -> str:
        """The training list's name without `_tr`, as in explanation lists (butterflies_gt_s300, CUBgull_gt)."""
        return Path(self.train).name.removesuffix("_tr")

    @property
    def out(self) -> str:
        """The default output folder, one per dataset."""
        return OUT_FOLDERS.get(self.name, self.name)

    @property
    def display_names(self) -> list[str]:
        """Class names for people, in label order: CabbageWhite becomes Cabbage White."""
        return list(self.own_names) or [_display_name(name) for name in self.classes]

    @property
    def things(self) -> tuple[str, ...]:
        """What a picture shows, singular and plural."""
        return self.own_things or THINGS.get(self.classes, ("picture", "pictures"))


# The butterflies that the paper's expert labelled are *the* butterflies of the scripts.
OUT_FOLDERS = {"butterflies_s300": "butterflies", "butterflies": "butterflies_whole"}

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("butterflies", "butterflies_crop", BUTTERFLIES, "butterflies_gt_tr", "butterflies_gt_te"),
        Dataset(
            "butterflies_s300",
            "butterflies_crop",
            BUTTERFLIES,
            "butterflies_gt_s300_tr",
            "butterflies_gt_te",
            "butterflies_gt_s300_rest_tr",
        ),
        Dataset("gull", "CUBgull", GULLS, "CUBgull_gt_tr", "CUBgull_gt_te", "./datasets/NAbirdsgull/NAbirdsgull_gt_tr"),
        Dataset("gull_whole", "CUBgull", GULLS, "ALLgull_gt_tr", "CUBgull_gt_te"),
        Dataset("chinese_chars", "chinese_chars", CHARACTERS, "ChineseChars_gt_tr", "ChineseChars_gt_te"),
        Dataset("toy", "toy", MOTHS, "toy_gt_tr", "toy_gt_te", "toy_gt_rest_tr"),
    )
}


def find(name: str, data_root: str | Path = "datasets", out: str = "auto", selection: str = "auto") -> Dataset:
    """The dataset `name`, from the catalog or from `<data root>/<name>/dataset.json`.

    Two more exist for each of them: `<name>_rest` trains on the rest list; `<name>_after_labeling` trains on the labels of the expert
    and of people, from the list that label.py writes into the course's output folder.

    Args:
        name, data_root, out: as in the settings. `<name>_after_labeling` looks in `out`, then in the default output folder.
        selection: the course after which people labelled, for `<name>_after_labeling`; auto: the only labelled list of the folder.

    Raises:
        InputError: there is no such dataset or labelled list, or the description is malformed.
    """
    if (dataset := _find_prepared(name, data_root)) is not None:
        return dataset
    base_name = name.removesuffix(AFTER_LABELING)
    # By output folder first: `butterflies` is the folder of butterflies_s300, whose course people take.
    base = next((one for one in DATASETS.values() if one.out == base_name), None) or _find_prepared(
        base_name, data_root
    )
    if base_name != name and base is not None:
        labeled = _labeled_list(base, [base.out] if out in ("auto", name) else [out, base.out], selection)
        return dataclasses.replace(base, name=name, train=labeled.stem, train_folder=str(labeled.parent), rest="")
    known = ", ".join([*DATASETS, *found_names(data_root)])
    raise InputError(
        f"--dataset '{name}' is unknown, and {Path(data_root, name, DESCRIPTION)} does not exist. Choose one of: {known}; append "
        f"{REST} (its images for people to label) or {AFTER_LABELING} (what people labelled); or run datasets/prepare.py folder."
    )


def _labeled_list(base: Dataset, folders: Sequence[str], selection: str) -> Path:
    """The labelled list of the course `selection`, in the first folder that has one.

    Raises:
        InputError: `selection` is auto, and there is no such list, or several.
    """
    name = Layout(Path(), base.list_stem).labeled_list("*" if selection == "auto" else selection).name
    found = next((lists for folder in folders if (lists := sorted(Path(folder).glob(name)))), [])
    if selection != "auto":
        return found[0] if found else Path(folders[0], name)
    if len(found) == 1:
        return found[0]
    problem = f"--dataset {base.name}{AFTER_LABELING}: {' and '.join(folders)} contains"
    if found:
        raise InputError(
            f"{problem} several labelled lists: {', '.join(map(str, found))}. Choose one with --selection."
        )
    raise InputError(f"{problem} no labelled list. Run label.py first.")


def found_names(data_root: str | Path) -> list[str]:
    """Names of the datasets in a data root that are not in the catalog."""
    return sorted({path.parent.name for path in Path(data_root).glob(f"*/{DESCRIPTION}")} - set(DATASETS))


def _find_prepared(name: str, data_root: str | Path) -> Dataset | None:
    """The dataset `name`, or `<dataset>_rest`; None if it does not exist.

    Raises:
        InputError: the dataset has no rest list, or its description is malformed.
    """
    if name in DATASETS:
        return DATASETS[name]
    path = Path(data_root, name, DESCRIPTION)
    if not name_fault(name) and not name.startswith(".") and path.exists():
        return read_description(path)
    if not name.endswith(REST) or name.endswith(REST + REST):
        return None
    base = _find_prepared(name.removesuffix(REST), data_root)
    if base is None:
        return None
    base.list_path(data_root, "rest")
    return dataclasses.replace(base, name=name, train=base.rest, rest="", trains_on_rest=True)


def read_description(path: Path) -> Dataset:
    """Reads a `dataset.json`.

    Raises:
        InputError: it is malformed, or names a list that does not exist.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        name, classes = content.get("name"), content.get("classes")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a JSON object ({error}). Correct it.") from None

    def require(fits: bool, demand: str) -> None:
        if not fits:
            raise InputError(f"{path}: {demand}. Correct it.")

    require(name == path.parent.name, f"the name {name!r} is not the folder's, {path.parent.name!r}")
    require(_are_texts(classes) and len(classes) > 1, "classes must be a list of two or more names")
    for label in classes:
        require(not name_fault(label), f"the class name {label!r} {name_fault(label)}; use {safe_name(label, 40)!r}")
    lists = {split: content.get(split, "") for split in ("train", "test", "rest")}
    for split, stem in lists.items():
        here = _are_texts([stem]) and Path(stem).name == stem and (path.parent / f"{stem}.txt").is_file()
        optional = split == "rest" and stem == ""
        require(
            here or optional, f"the {split} list {stem!r} does not exist in this folder (write its name without .txt)"
        )
    names, things = content.get("display_names", {}), content.get("things", [])
    mapped = isinstance(names, dict) and _are_texts(list(names.values())) and names.keys() <= set(classes)
    require(mapped, "display_names must map class names to names for people")
    shown = [names.get(label) or _display_name(label) for label in classes]
    distinct = len(set(classes)) == len(set(shown)) == len(classes)
    require(distinct, "two classes have the same name or the same name for people")
    require(_are_texts(things) and len(things) in (0, 2), 'things must be two words, such as ["bird", "birds"]')
    return Dataset(name, name, tuple(classes), **lists, own_names=tuple(shown), own_things=tuple(things))


def _display_name(name: str) -> str:
    return DISPLAY_NAMES.get(name, re.sub("(?<=[a-z])(?=[A-Z])", " ", name))


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and value.strip() for value in values)
