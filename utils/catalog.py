"""The datasets that the scripts know by name: folder, classes in label order, lists. To add one, add an entry here."""

from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError

BUTTERFLIES = ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
GULLS = ("CaliforniaGull", "GlaucouswingedGull", "HeermannGull", "RingbilledGull", "WesternGull")
CHARACTERS = ("grass", "mound", "stem")
MOTHS = ("Monocle", "Spectacle", "Hindeye", "Sash", "Tipped")


@dataclass(frozen=True)
class Dataset:
    """One named dataset: which list trains, which list tests, and what the labels mean.

    Attributes:
        name: what `--dataset` takes.
        folder: the folder under the data root.
        classes: class names; their order is the label order.
        train: stem of the training list (`<folder>/<train>.txt`).
        test: stem of the test list.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    train: str
    test: str

    def list_path(self, data_root: str | Path, split: str) -> Path:
        """The list file of `split` ("train" or "test") under `data_root`."""
        return Path(data_root) / self.folder / f"{getattr(self, split)}.txt"

    @property
    def list_stem(self) -> str:
        """The training list's name without `_tr`, as the names of explanation lists use it (butterflies_gt_s300, CUBgull_gt)."""
        return self.train.removesuffix("_tr")

    @property
    def out(self) -> str:
        """The default output folder: one per dataset, so that no two datasets overwrite each other's files."""
        return OUT_FOLDERS.get(self.name, self.name)


# The part of the butterflies that the paper's expert labelled is *the* butterflies dataset of the scripts.
OUT_FOLDERS = {"butterflies_s300": "butterflies", "butterflies": "butterflies_whole"}

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("butterflies", "butterflies_crop", BUTTERFLIES, "butterflies_gt_tr", "butterflies_gt_te"),
        Dataset("butterflies_s300", "butterflies_crop", BUTTERFLIES, "butterflies_gt_s300_tr", "butterflies_gt_te"),
        Dataset("butterflies_s300_rest", "butterflies_crop", BUTTERFLIES, "butterflies_gt_s300_rest_tr", "butterflies_gt_te"),
        Dataset("gull", "CUBgull", GULLS, "CUBgull_gt_tr", "CUBgull_gt_te"),
        Dataset("gull_whole", "CUBgull", GULLS, "ALLgull_gt_tr", "CUBgull_gt_te"),
        # Bird photographs under gull names, for trying the gull scripts where the gulls' own photographs are not at hand.
        Dataset("gull_standin", "CUBgull_standin", GULLS, "CUBgull_gt_tr", "CUBgull_gt_te"),
        Dataset("chinese_chars", "chinese_chars", CHARACTERS, "ChineseChars_gt_tr", "ChineseChars_gt_te"),
        Dataset("toy", "toy", MOTHS, "toy_gt_tr", "toy_gt_te"),
        Dataset("toy_rest", "toy", MOTHS, "toy_gt_rest_tr", "toy_gt_te"),
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
