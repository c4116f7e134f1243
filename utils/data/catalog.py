"""The datasets that the scripts know by name: folder, classes in label order, lists. To add one, add an entry here."""

import re
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.data.lists import locate

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
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    train: str
    test: str
    rest: str = ""

    def list_path(self, data_root: str | Path, split: str) -> Path:
        """The list file of `split` ("train", "test" or "rest").

        Raises:
            InputError: the dataset has no such list.
        """
        stem = getattr(self, split)
        if not stem:
            owners = ", ".join(name for name, dataset in DATASETS.items() if getattr(dataset, split))
            raise InputError(f"--dataset {self.name} has no {split} list; choose one that has: {owners}.")
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
        return [DISPLAY_NAMES.get(name, re.sub("(?<=[a-z])(?=[A-Z])", " ", name)) for name in self.classes]

    @property
    def things(self) -> tuple[str, str]:
        """What a picture shows, in the singular and in the plural."""
        return THINGS.get(self.classes, ("picture", "pictures"))


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
        Dataset("butterflies_s300_rest", "butterflies_crop", BUTTERFLIES, "butterflies_gt_s300_rest_tr", "butterflies_gt_te"),
        Dataset("gull", "CUBgull", GULLS, "CUBgull_gt_tr", "CUBgull_gt_te", "./datasets/NAbirdsgull/NAbirdsgull_gt_tr"),
        Dataset("gull_whole", "CUBgull", GULLS, "ALLgull_gt_tr", "CUBgull_gt_te"),
        # Bird photographs under gull names, for trying the gull scripts where the gulls' own photographs are not at hand.
        Dataset("gull_standin", "CUBgull_standin", GULLS, "CUBgull_gt_tr", "CUBgull_gt_te"),
        Dataset("chinese_chars", "chinese_chars", CHARACTERS, "ChineseChars_gt_tr", "ChineseChars_gt_te"),
        Dataset("toy", "toy", MOTHS, "toy_gt_tr", "toy_gt_te", "toy_gt_rest_tr"),
        Dataset("toy_rest", "toy", MOTHS, "toy_gt_rest_tr", "toy_gt_te"),
        # What the expert labelled and what people labelled after the course: the lists that label_*.py write into the course's folder.
        Dataset(
            "butterflies_after_labeling",
            "butterflies_crop",
            BUTTERFLIES,
            "./butterflies/butterflies_turker_label_gt_s300_CMaxGrad_labeled_tr",
            "butterflies_gt_te",
        ),
        Dataset("gull_after_labeling", "CUBgull", GULLS, "./gull/CUBgull_turker_label_gt_CMaxGrad_labeled_tr", "CUBgull_gt_te"),
        Dataset("toy_after_labeling", "toy", MOTHS, "./toy/toy_turker_label_gt_CMaxGrad_labeled_tr", "toy_gt_te"),
    )
}


def find(name: str) -> Dataset:
    """The dataset called `name`.

    Raises:
        InputError: no dataset has that name.
    """
    if name not in DATASETS:
        raise InputError(f"--dataset '{name}' is unknown; choose one of: {', '.join(DATASETS)}.")
    return DATASETS[name]
