"""Names of everything the scripts write: the paper's names, which are the interface to its public files. Below, what names tell back."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.base.files import NAME_BYTES

IMG, MASK, DEMO = "img", "mask", "demo"  # machine student's rendering, 0/255 mask, red border for people
TEACHING_SIZE = 0.05  # the mask size that the teaching scripts use, and thus the one that the explanation lists name
RECORD = "run_"  # how the names of run records begin


@dataclass(frozen=True)
class Layout:
    """File names below an output folder.

    Attributes:
        out: the output folder.
        list_stem: the training list's name without `_tr`; may be left out where no file is named after it.
        variant: whose files these are: "simclr", or "" for those of the scripts without a variant in their names.
    """

    out: Path
    list_stem: str = ""
    variant: str = ""

    @property
    def _variant(self) -> str:
        return f"_{self.variant}" if self.variant else ""

    def run_record(self, script: str, selection: str = "") -> Path:
        """What a script was run with and what it measured, the last time; or, the last time with a selection. Variants are scripts of
        their own."""
        return self.out / f"{RECORD}{script}{selection and '_'}{selection}.json"

    def unfinished(self, script: str, selection: str = "") -> Path:
        """The folder where a run stands until it has ended; one for each selection, since their courses may be made side by side."""
        return self.out / f".unfinished_{script}{selection and '_'}{selection}"

    @property
    def teacher(self) -> Path:
        """The classifier of train_butterflies_resnet18.py, a whole network."""
        return self.out / "checkpoint_pretrain_resnet18_s300.pth.tar"

    @property
    def teacher_head(self) -> Path:
        """The head that train_gull_resnet18_linear.py trains on a frozen network, alone."""
        return self.out / "checkpoint_pretrain_resnet18_linear.pth.tar"

    def simclr_network(self, epochs: int) -> Path:
        """SimCLR's encoder with its projection head, after so many epochs."""
        return self.out / f"simclr_checkpoint_{epochs}.tar"

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
        machine = self.out / f"{self.list_stem}_CE{self._variant}.txt"
        return people_list(machine) if people else machine

    @property
    def explanation_record(self) -> Path:
        """How the explanations of the list were made."""
        return record_of(self.explanation_list())

    @property
    def heatmaps(self) -> Path:
        return self.out / f"heatmaps{self._variant}.npz"

    @property
    def contact_sheet(self) -> Path:
        return self.out / f"explanations{self._variant}.png"

    @property
    def probe(self) -> Path:
        """The linear head that a variant fits on its encoder."""
        return self.out / f"checkpoint_linear{self._variant}.pth.tar"

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

    @property
    def answers(self) -> Path:
        """The database of the answers that the collecting server takes."""
        return self.out / "answers.sqlite"

    @property
    def answers_token(self) -> Path:
        """What opens the collecting server's progress and exports."""
        return self.out / "answers.token"

    @property
    def simulated_answers(self) -> Path:
        """The answers of simulated people, in the form of the collecting server's export."""
        return self.out / "answers_simulated.json"

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
        """The figure (.png), the table (.csv) and that of self-training (_rounds.csv) of study_annotators.py."""
        return self.out / f"study_annotators{suffix}"


def explanation_name(image: str, label: int, counter: int, index: int) -> str:
    """File name of the explanation why image `index` is `label` and not `counter`."""
    return f"{Path(image).stem}_groundtruth_{label}_counter_{counter}_index_{index}.png"


def listed_size(mask_sizes: Sequence[float]) -> float:
    """The mask size that the explanation lists name: 0.05 where it is among those made, else the first."""
    return TEACHING_SIZE if TEACHING_SIZE in mask_sizes else mask_sizes[0]


def people_list(ce_list: str | Path) -> Path:
    """The list of the pictures for people that belongs to an explanation list."""
    return Path(ce_list).with_name(f"{Path(ce_list).stem}_HTML.txt")


def record_of(ce_list: str | Path) -> Path:
    """The record of how an explanation list was made, next to the list."""
    return Path(ce_list).with_suffix(".json")


def sibling(picture: str, kind: str, other: str) -> str:
    """The explanation that a list names as `picture`, of one kind, in another rendering's folder.

    `..._img/0.05/x.png` -> `..._mask/0.05/x.png`.
    """
    path = Path(picture)
    folder = path.parent.parent
    renamed = folder.with_name(f"{folder.name.removesuffix(f'_{kind}')}_{other}")
    return ("./" if picture.startswith("./") else "") + (renamed / path.parent.name / path.name).as_posix()


def mask_size(picture: str) -> float | None:
    """The mask size t that the folder of a listed explanation is named after; None where it is not."""
    try:
        return float(Path(picture).parent.name)
    except ValueError:
        return None


def run_records(out: str | Path, scripts: str) -> list[Path]:
    """The records below an output folder of the scripts whose names fit a pattern (as for `Path.glob`)."""
    return list(Path(out).glob(f"{RECORD}{scripts}.json"))


def variant_of(name: str) -> str:
    """The variant, as in `Layout.variant`, that a script, its record or its explanation list belongs to, by its name without suffix."""
    return "simclr" if name.endswith("_simclr") else ""


def name_problem(image: str, label: int, index: int, num_classes: int, limit: int = NAME_BYTES) -> str:
    """What is wrong with an image's name: "", or that the longest name of its explanations exceeds `limit` bytes."""
    counter = max(other for other in range(num_classes) if other != label)
    excess = len(os.fsencode(explanation_name(image, label, counter, index))) - limit
    advice = f"shorten the image's name by {excess}"
    return (
        f"has a long name, and with it the names of its explanations exceed {limit} bytes; {advice}"
        if excess > 0
        else ""
    )
