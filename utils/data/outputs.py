"""Names of everything the scripts write: the paper's names, which are the interface to its public files."""

import os
from dataclasses import dataclass
from pathlib import Path

from utils.base.files import NAME_BYTES

IMG, MASK, DEMO = "img", "mask", "demo"  # machine student's rendering, 0/255 mask, red border for people


@dataclass(frozen=True)
class Layout:
    """File names below an output folder.

    Attributes:
        out: the output folder.
        list_stem: the training list's name without `_tr`.
        simclr: whether these are the files of the SimCLR variant.
    """

    out: Path
    list_stem: str
    simclr: bool = False

    @property
    def _variant(self) -> str:
        return "_simclr" if self.simclr else ""

    def explanations(self, kind: str, fraction: float) -> Path:
        """Folder of one rendering (IMG, MASK or DEMO) at one mask size."""
        folder = {
            IMG: f"counterfactual_gradcam{self._variant}_img",
            MASK: f"counterfactual_gradcam{self._variant}_mask",
            DEMO: f"demo{self._variant}/counterfactual_gradcam_mask",
        }[kind]
        return self.out / folder / f"{fraction:.2f}"

    def explanation_list(self, people: bool = False) -> Path:
        """The explanation list of the machine student's images, or of the pictures for people."""
        return self.out / f"{self.list_stem}_CE{self._variant}{'_HTML' if people else ''}.txt"

    @property
    def heatmaps(self) -> Path:
        return self.out / f"heatmaps{self._variant}.npz"

    @property
    def contact_sheet(self) -> Path:
        return self.out / f"explanations{self._variant}.png"

    @property
    def probe(self) -> Path:
        """The linear head that the SimCLR variant fits on its encoder."""
        return self.out / "checkpoint_linear_simclr.pth.tar"

    def teaching_list(self, selection: str) -> Path:
        """The teaching set in order: butterflies_gt_s300 -> <selection>/butterflies_Lt_gt_s300_CE_tr.txt."""
        name = self.list_stem.replace("_gt", "_Lt_gt", 1)
        return self.out / selection / f"{name}_CE{self._variant}_tr.txt"

    def accuracy(self, split: str, selection: str) -> Path:
        """Accuracy per iteration in percent; split is "train" or "test"."""
        return self.out / f"all_{split}_acc_iter_{selection}{self._variant}.npy"

    def evolution(self, selection: str, suffix: str = ".png") -> Path:
        """The learning curve (.png), or its numbers (.csv)."""
        return self.out / f"evolution_{selection}{self._variant}{suffix}"

    def draws(self, selection: str) -> Path:
        """Test accuracies after each lesson of courses from random parts of the pool."""
        return self.out / f"draws_{selection}{self._variant}.csv"

    @property
    def comparison(self) -> Path:
        """The learning curves of several selections in one figure."""
        return self.out / f"compare_courses{self._variant}.png"

    def course(self, selection: str, suffix: str = ".json") -> Path:
        """The course (.json), or its picture (.png)."""
        return self.out / f"course_{selection}{self._variant}{suffix}"

    @property
    def course_page(self) -> Path:
        """The folder of the page on which people take the course."""
        return self.out / "course_page"

    def course_page_key(self, build_id: str = "") -> Path:
        """Which file each picture of the page is: beside the page, never in it. Keys of earlier builds carry their build id."""
        return self.out / f"course_page_key{build_id and '_'}{build_id}.json"

    def students(self, selection: str) -> Path:
        return self.out / f"students_{selection}{self._variant}"

    def taught_student(self, selection: str) -> Path:
        """The student at the end of its course, as a classifier's checkpoint."""
        return self.out / f"student_{selection}{self._variant}.pth.tar"

    def labeled_list(self, selection: str) -> Path:
        """The expert's images and those that people labelled: butterflies_gt_s300 ->
        butterflies_turker_label_gt_s300_<selection>_labeled_tr.txt."""
        name = self.list_stem.replace("_gt", "_turker_label_gt", 1)
        return self.out / f"{name}_{selection}_labeled_tr.txt"

    def labels_report(self, selection: str, ending: str) -> Path:
        """What label_*.py report about people's labels; the ending tells the file, such as `.json` or `_people.png`."""
        return self.out / f"labels_{selection}{ending}"

    def annotator_study(self, suffix: str) -> Path:
        """The figure (.png) and the table (.csv) of study_annotators.py."""
        return self.out / f"study_annotators{suffix}"


def explanation_name(image: str, label: int, counter: int, index: int) -> str:
    """File name of the explanation why image `index` is `label` and not `counter`."""
    return f"{Path(image).stem}_groundtruth_{label}_counter_{counter}_index_{index}.png"


def name_problem(image: str, label: int, index: int, num_classes: int, limit: int = NAME_BYTES) -> str:
    """What is wrong with an image's name: "", or that the longest name of its explanations exceeds `limit` bytes."""
    counter = max(other for other in range(num_classes) if other != label)
    excess = len(os.fsencode(explanation_name(image, label, counter, index))) - limit
    advice = f"shorten the image's name by {excess}"
    return f"has a long name, and with it the names of its explanations exceed {limit} bytes; {advice}" if excess > 0 else ""
