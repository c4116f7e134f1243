"""Datasets by name: folder, classes in label order, lists.

The paper's datasets and the toy are listed here. Every folder of the data root with a `dataset.json`, as written by
`datasets/prepare.py folder`, is a dataset, too.
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.data.lists import locate
from utils.data.outputs import Layout

DESCRIPTION = "dataset.json"
AFTER_LABELING, REST = "_after_labeling", "_rest"  # name endings that work for every dataset

BUTTERFLIES = ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
GULLS = ("CaliforniaGull", "GlaucouswingedGull", "HeermannGull", "RingbilledGull", "WesternGull")
CHARACTERS = ("grass", "mound", "stem")
MOTHS = ("Monocle", "Spectacle", "Hindeye", "Sash", "Tipped")

# Names shown to people if they are more than the separated words of the class name.
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
    """A dataset: its lists and its classes.

    Lists are named without `.txt`, in `folder` or with their path (`./datasets/...` is in the data root).
    """

    name: str  # value of --dataset
    folder: str  # folder below the data root
    classes: tuple[str, ...]  # in label order
    train: str
    test: str
    rest: str = ""  # list for people to label; "" if missing
    trains_on_rest: bool = False  # `train` is a rest list, whose labels may be unknown
    own_names: tuple[str, ...] = ()  # class names shown to people; () derives them from `classes`
    own_things: tuple[str, ...] = ()  # what a picture shows, singular and plural; () for the default

    def list_path(self, data_root: str | Path, split: str) -> Path:
        """Returns the list file of `split` ("train", "test" or "rest"). Raises InputError if the dataset has none."""
        stem = getattr(self, split)
        if not stem:
            owners = ", ".join(name for name, dataset in DATASETS.items() if getattr(dataset, split))
            raise InputError(f"--dataset {self.name} has no {split} list. Choose one that has: {owners}.")
        return Path(locate(f"{stem if '/' in stem else f'./datasets/{self.folder}/{stem}'}.txt", data_root))

    @property
    def list_stem(self) -> str:
        """Name of the training list without `_tr`: CUBgull_gt."""
        return Path(self.train).name.removesuffix("_tr")

    @property
    def out(self) -> str:
        return OUT_FOLDERS.get(self.name, self.name)

    @property
    def display_names(self) -> list[str]:
        """Class names shown to people: CabbageWhite becomes Cabbage White."""
        return list(self.own_names) or [_display_name(name) for name in self.classes]

    @property
    def things(self) -> tuple[str, ...]:
        return self.own_things or THINGS.get(self.classes, ("picture", "pictures"))


# The scripts' butterflies are those that the paper's expert labeled.
OUT_FOLDERS = {"butterflies_s300": "butterflies", "butterflies": "butterflies_whole"}

S300, S300_REST = "butterflies_gt_s300_tr", "butterflies_gt_s300_rest_tr"
DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("butterflies", "butterflies_crop", BUTTERFLIES, "butterflies_gt_tr", "butterflies_gt_te"),
        Dataset("butterflies_s300", "butterflies_crop", BUTTERFLIES, S300, "butterflies_gt_te", S300_REST),
        Dataset("gull", "CUBgull", GULLS, "CUBgull_gt_tr", "CUBgull_gt_te", "./datasets/NAbirdsgull/NAbirdsgull_gt_tr"),
        Dataset("gull_whole", "CUBgull", GULLS, "ALLgull_gt_tr", "CUBgull_gt_te"),
        Dataset("chinese_chars", "chinese_chars", CHARACTERS, "ChineseChars_gt_tr", "ChineseChars_gt_te"),
        Dataset("toy", "toy", MOTHS, "toy_gt_tr", "toy_gt_te", "toy_gt_rest_tr"),
    )
}


def find(name: str, data_root: str | Path = "datasets", out: str = "auto", selection: str = "auto") -> Dataset:
    """Returns the dataset `name`, from the catalog or from `<data root>/<name>/dataset.json`.

    `<name>_rest` trains on the rest list, `<name>_after_labeling` on the list that label.py wrote to `out`
    or the default output folder; `selection` chooses among several.
    """
    if dataset := _find_prepared(name, data_root):
        return dataset
    if name.endswith(AFTER_LABELING):
        base_name = name.removesuffix(AFTER_LABELING)
        # By output folder first: `butterflies` is the folder of butterflies_s300, whose course people take.
        by_folder = next((one for one in DATASETS.values() if one.out == base_name), None)
        if base := by_folder or _find_prepared(base_name, data_root):
            labeled = _labeled_list(base, [base.out] if out in ("auto", name) else [out, base.out], selection)
            return dataclasses.replace(base, name=name, train=str(labeled.absolute().with_suffix("")), rest="")
    found = sorted({path.parent.name for path in Path(data_root).glob(f"*/{DESCRIPTION}")} - set(DATASETS))
    raise InputError(
        f"--dataset '{name}' is unknown, and {Path(data_root, name, DESCRIPTION)} does not exist. Choose one of: "
        f"{', '.join([*DATASETS, *found])}; append {REST} (its images for people to label) or {AFTER_LABELING} "
        "(what people labeled); or run datasets/prepare.py folder."
    )


def _labeled_list(base: Dataset, folders: list[str], selection: str) -> Path:
    """Returns the labeled list in the first folder that has one. Raises InputError if there are none or several."""
    name = Layout(Path(), base.list_stem).labeled_list("*" if selection == "auto" else selection).name
    found = next((lists for folder in folders if (lists := sorted(Path(folder).glob(name)))), [])
    if len(found) == 1:
        return found[0]
    problem = f"--dataset {base.name}{AFTER_LABELING}: {' and '.join(folders)} contains"
    if found:
        raise InputError(f"{problem} several labeled lists: {', '.join(map(str, found))}. Choose one with --selection.")
    raise InputError(f"{problem} no labeled list. Run label.py first, or check --selection.")


def _find_prepared(name: str, data_root: str | Path) -> Dataset | None:
    """Returns the dataset `name` or `<dataset>_rest`, None if it does not exist."""
    if name in DATASETS:
        return DATASETS[name]
    path = Path(data_root, name, DESCRIPTION)
    if name and path.exists():
        return read_description(path)
    base = _find_prepared(name.removesuffix(REST), data_root) if name.endswith(REST) else None
    if base is None or base.trains_on_rest:
        return None
    base.list_path(data_root, "rest")  # raises InputError if it is missing
    return dataclasses.replace(base, name=name, train=base.rest, rest="", trains_on_rest=True)


def read_description(path: Path) -> Dataset:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        classes, things = content["classes"], tuple(content.get("things", ()))
        names = [content.get("display_names", {}).get(label) or _display_name(label) for label in classes]
        lists = {"train": content["train"], "test": content["test"], "rest": content.get("rest", "")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{path} is not a dataset description ({type(error).__name__}: {error})"
        raise InputError(f"{problem}. See datasets/README.md.") from None
    if not isinstance(classes, list) or len(set(classes)) < 2 or not len(set(classes)) == len(set(names)) == len(names):
        raise InputError(f"{path}: classes must be a list of two or more different names. Correct it.")
    if len(things) not in (0, 2):
        raise InputError(f'{path}: things must be two words, such as ["bird", "birds"]. Correct it.')
    name = path.parent.name
    return Dataset(name, name, tuple(classes), **lists, own_names=tuple(names), own_things=things)


def _display_name(name: str) -> str:
    return DISPLAY_NAMES.get(name, re.sub("(?<=[a-z])(?=[A-Z])", " ", name))
