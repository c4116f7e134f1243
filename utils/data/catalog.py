"""The datasets that the scripts know by name: folder, classes in label order, lists.

Those of the paper and the toy stand here; all others are found: a folder of the data root with a `dataset.json`, as
`datasets/prepare.py folder` makes it, is a dataset of that name.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from utils.base.errors import InputError
from utils.data.lists import locate
from utils.data.names import fault, safe
from utils.data.outputs import Layout

DESCRIPTION = "dataset.json"
AFTER_LABELING, REST = "_after_labeling", "_rest"  # endings of names that exist for every dataset

BUTTERFLIES = ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
GULLS = ("CaliforniaGull", "GlaucouswingedGull", "HeermannGull", "RingbilledGull", "WesternGull")
CHARACTERS = ("grass", "mound", "stem")
MOTHS = ("Monocle", "Spectacle", "Hindeye", "Sash", "Tipped")

# For people: names that are more than their words set apart, and what a picture of these classes shows.
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
    """One named dataset: which list trains, which list tests, and what the labels mean.

    Attributes:
        name: what `--dataset` takes.
        folder: the folder under the data root.
        classes: class names; their order is the label order.
        train: stem of the training list (`<folder>/<train>.txt`); one that lies elsewhere is named as lists name files:
            `./datasets/...` below the data root, `./...` below the working folder.
        test: stem of the test list.
        rest: stem of the list whose images people label; empty where the dataset has none.
        train_folder: the folder of the training list where that lies in none of the data root; empty otherwise.
        trains_on_rest: whether the training list is a rest list, whose labels may be unknown.
        own_names: the class names as people read them, in label order, where the dataset brings them.
        own_things: what a picture shows, in the singular and in the plural, where the dataset tells.
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
            raise InputError(f"--dataset {self.name} has no {split} list; choose one that has: {owners}.")
        if split == "train" and self.train_folder:
            return Path(self.train_folder, f"{stem}.txt")
        listed = stem if stem.startswith("./") else f"./datasets/{self.folder}/{stem}"
        return Path(locate(f"{listed}.txt", data_root))

    @property
    def list_stem(self) -> str:
        """The training list's name without `_tr`, as the names of explanation lists use it (butterflies_gt_s300, CUBgull_gt)."""
        return Path(self.train).name.removesuffix("_tr")

    @property
    def out(self) -> str:
        """The default output folder: one per dataset, so that no two datasets overwrite each other's files."""
        return OUT_FOLDERS.get(self.name, self.name)

    @property
    def display_names(self) -> list[str]:
        """The class names as people read them, in label order: CabbageWhite becomes Cabbage White."""
        return list(self.own_names) or [_display_name(name) for name in self.classes]

    @property
    def things(self) -> tuple[str, ...]:
        """What a picture shows, in the singular and in the plural."""
        return self.own_things or THINGS.get(self.classes, ("picture", "pictures"))


# The part of the butterflies that the paper's expert labelled is *the* butterflies dataset of the scripts.
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
    """The dataset called `name`: one of the catalog, or else the one of the data root that `<data root>/<name>/dataset.json` describes.

    For each of these, two more exist by rule. `<name>_after_labeling` trains on what the expert labelled and what people labelled
    after the course, the list that label_*.py write into the course's output folder; `<name>_rest` trains on the rest list.

    Args:
        name: what `--dataset` says.
        data_root: what `--data-root` says.
        out: what `--out` says. `<name>_after_labeling` takes the list of this folder; where there is none, or with `auto`, that of the
            dataset's default output folder.
        selection: the course after which people labelled, for `<name>_after_labeling`; auto: the only labelled list of the folder.

    Raises:
        InputError: there is no such dataset, or its description is malformed.
    """
    if (dataset := _untaught(name, data_root)) is not None:
        return dataset
    if name.endswith(AFTER_LABELING) and (base := _taught(name.removesuffix(AFTER_LABELING), data_root)) is not None:
        labeled = _labeled_list(base, [base.out] if out in ("auto", name) else [out, base.out], selection)
        return dataclasses.replace(base, name=name, train=labeled.stem, train_folder=str(labeled.parent), rest="")
    known = ", ".join([*DATASETS, *found_names(data_root)])
    raise InputError(
        f"--dataset '{name}' is unknown: there is no {Path(data_root, name, DESCRIPTION)} either; choose one of: {known}; one of "
        f"these with {REST} (its images for people to label) or {AFTER_LABELING} (what people labelled) behind its name; or make it with "
        "datasets/prepare.py folder."
    )


def _labeled_list(base: Dataset, folders: Sequence[str], selection: str) -> Path:
    """The list of the expert's and people's labels after the course `selection`, in the first folder that has it.

    Raises:
        InputError: `selection` is auto, and there is no such list, or several.
    """
    name = Layout(Path(), base.list_stem).labeled_list("*" if selection == "auto" else selection).name
    found = next((lists for folder in folders if (lists := sorted(Path(folder).glob(name)))), [])
    if selection != "auto":
        return found[0] if found else Path(folders[0], name)
    if len(found) != 1:
        problem = (
            f"several labelled lists: {', '.join(map(str, found))}. Choose one with --selection"
            if found
            else "no labelled list. Run label.py first"
        )
        raise InputError(f"--dataset {base.name}{AFTER_LABELING}: {' and '.join(folders)} contains {problem}.")
    return found[0]


def found_names(data_root: str | Path) -> list[str]:
    """The names of the datasets that lie in a data root and stand in no catalog."""
    return sorted({path.parent.name for path in Path(data_root).glob(f"*/{DESCRIPTION}")} - set(DATASETS))


def _plain(name: str, data_root: str | Path) -> Dataset | None:
    """A dataset of the catalog or of the data root; None where there is none of that name."""
    if name in DATASETS:
        return DATASETS[name]
    path = Path(data_root, name, DESCRIPTION)
    # A name and not a path: it names the output folder too.
    return read_description(path) if name and not re.search(r"[\s/\\]|^\.", name) and path.exists() else None


def _untaught(name: str, data_root: str | Path) -> Dataset | None:
    """A dataset that no answers of people are needed for: a plain one, or one of a plain one's rest list.

    Raises:
        InputError: it would be of the rest list of a dataset that has none, or a description is malformed.
    """
    if (dataset := _plain(name, data_root)) is not None or not name.endswith(REST):
        return dataset
    if (base := _plain(name.removesuffix(REST), data_root)) is None:
        return None
    base.list_path(data_root, "rest")
    return dataclasses.replace(base, name=name, train=base.rest, rest="", trains_on_rest=True)


def _taught(name: str, data_root: str | Path) -> Dataset | None:
    """The dataset whose course's output folder is called `name`, or which is itself called so.

    The folder comes first: `butterflies/` is that of butterflies_s300, which people are taught, and not that of all butterflies.
    """
    by_folder = next((dataset for dataset in DATASETS.values() if dataset.out == name), None)
    return by_folder or _untaught(name, data_root)


def read_description(path: Path) -> Dataset:
    """Reads the `dataset.json` of a dataset's folder.

    Raises:
        InputError: it is malformed, or a list that it names does not exist.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); correct it.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold an object with name, classes, train and test; correct it.")
    folder = path.parent.name
    if content.get("name") != folder:
        raise InputError(
            f"{path}: name is {content.get('name')!r}, and the folder's is {folder!r}; give both the same name."
        )
    classes = _described_classes(path, content.get("classes"))
    train, test, rest = (_described_list(path, split, content.get(split, "")) for split in ("train", "test", "rest"))
    names = _described_names(path, content.get("display_names", {}), classes)
    things = _described_things(path, content.get("things", []))
    return Dataset(folder, folder, classes, train=train, test=test, rest=rest, own_names=names, own_things=things)


def _described_classes(path: Path, classes: object) -> tuple[str, ...]:
    if not isinstance(classes, list) or len(classes) < 2 or not all(_is_text(name) for name in classes):
        raise InputError(f"{path}: classes must be a list of two or more names, none of them empty; correct it.")
    for name in classes:
        if wrong := fault(name):
            raise InputError(
                f"{path}: the class name {name!r} {wrong}; call the class and its folder otherwise, such as {safe(name, 40)!r}, and say "
                "in display_names what people are to read."
            )
    if twice := _repeated(classes):
        raise InputError(f"{path}: the class {twice!r} stands twice; name each class once.")
    return tuple(classes)


def _described_list(path: Path, split: str, stem: object) -> str:
    """The stem of a list, proved to exist."""
    if stem == "" and split == "rest":
        return ""
    if not _is_text(stem) or fault(stem.replace(" ", "_")):  # lists are named in no list
        raise InputError(
            f"{path}: {split} must be the name of a list in the same folder, without .txt; it is {stem!r}; correct it."
        )
    if not (path.parent / f"{stem}.txt").is_file():
        raise InputError(
            f"{path}: its {split} list {path.parent / stem}.txt does not exist; make it, or correct the name (without .txt)."
        )
    return stem


def _described_names(path: Path, names: object, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The class names as people read them; those that the description leaves out are derived."""
    if not isinstance(names, dict) or not all(_is_text(name) for name in names.values()):
        raise InputError(
            f"{path}: display_names must give class names their names for people, none of them empty; correct it."
        )
    if foreign := [name for name in names if name not in classes]:
        raise InputError(f"{path}: display_names has {foreign[0]!r}, which is no class; correct it.")
    shown = [names.get(name) or _display_name(name) for name in classes]
    if twice := _repeated(shown):
        raise InputError(f"{path}: two classes are shown as {twice!r}; give them different display_names.")
    return tuple(shown)


def _described_things(path: Path, things: object) -> tuple[str, ...]:
    if not isinstance(things, list) or len(things) not in (0, 2) or not all(_is_text(word) for word in things):
        raise InputError(f'{path}: things must be two words, such as ["bird", "birds"]; correct it.')
    return tuple(things)


def _display_name(name: str) -> str:
    return DISPLAY_NAMES.get(name, re.sub("(?<=[a-z])(?=[A-Z])", " ", name))


def _repeated(names: Sequence[str]) -> str:
    """A name that stands more than once, or ""."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _is_text(value: object) -> TypeGuard[str]:
    # json takes halves of characters, which no file and no page can hold
    return isinstance(value, str) and value.strip() != "" and not re.search("[\ud800-\udfff]", value)
