"""Names of everything the scripts write: the paper's names, which are the interface to its public files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.base.files import NAME_BYTES

IMG, MASK, DEMO = "img", "mask", "demo"  # masked image for machine students, 0/255 mask, red outline for people
TEACHING_SIZE = 0.05  # the mask size that courses use and explanation lists name


@dataclass(frozen=True)
class Layout:
    """File names below an output folder.

    Attributes:
        out: the output folder.
        list_stem: the training list's name without `_tr`; only needed for files that are named after it.
        variant: "simclr", or "" for scripts without a variant in their names.
    """

    out: Path
    list_stem: str = ""
    variant: str = ""

    @property
    def _variant(self) -> str:
        return f"_{self.variant}" if self.variant else ""

    def run_record(self, script: str, selection: str = "") -> Path:
        """Settings and measurements of a script's last run, or of its last run with `selection`."""
        return self.out / f"run_{script}{selection and '_'}{selection}.json"

    def unfinished(self, script: str, selection: str = "") -> Path:
        return self.out / f".unfinished_{script}{selection and '_'}{selection}"

    @property
    def teacher(self) -> Path:
        """The network of train_butterflies_resnet18.py."""
        return self.out / "checkpoint_pretrain_resnet18_s300.pth.tar"

    @property
    def teacher_head(self) -> Path:
        """The head of train_gull_resnet18_linear.py, without its frozen network."""
        return self.out / "checkpoint_pretrain_resnet18_linear.pth.tar"

    def simclr_network(self, epochs: int) -> Path:
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
        """The explanation list of the images for machine students, or of the pictures for people."""
        machine = self.out / f"{self.list_stem}_CE{self._variant}.txt"
        return people_list(machine) if people else machine

    @property
    def explanation_record(self) -> Path:
        return record_of(self.explanation_list())

    @property
    def heatmaps(self) -> Path:
        return self.out / f"heatmaps{self._variant}.npz"

    @property
    def contact_sheet(self) -> Path:
        return self.out / f"explanations{self._variant}.png"

    @property
    def probe(self) -> Path:
        return self.out / f"checkpoint_linear{self._variant}.pth.tar"

    def teaching_list(self, selection: str) -> Path:
        """The teaching set in order: butterflies_gt_s300 -> <selection>/butterflies_Lt_gt_s300_CE_tr.txt."""
        name = self.list_stem.replace("_gt", "_Lt_gt", 1)
        return self.out / selection / f"{name}_CE{self._variant}_tr.txt"

    def accuracy(self, split: str, selection: str) -> Path:
        """Accuracy per lesson in percent; split is "train" or "test"."""
        return self.out / f"all_{split}_acc_iter_{selection}{self._variant}.npy"

    def evolution(self, selection: str, suffix: str = ".png") -> Path:
        return self.out / f"evolution_{selection}{self._variant}{suffix}"

    def draws(self, selection: str) -> Path:
        return self.out / f"draws_{selection}{self._variant}.csv"

    @property
    def comparison(self) -> Path:
        return self.out / f"compare_courses{self._variant}.png"

    def course(self, selection: str, suffix: str = ".json") -> Path:
        return self.out / f"course_{selection}{self._variant}{suffix}"

    @property
    def course_page(self) -> Path:
        return self.out / "course_page"

    def course_page_key(self, build_id: str = "") -> Path:
        """Maps the page's pictures to files; next to the page, never in it. Keys of earlier builds have their build id."""
        return self.out / f"course_page_key{build_id and '_'}{build_id}.json"

    @property
    def answers(self) -> Path:
        return self.out / "answers.sqlite"

    @property
    def answers_token(self) -> Path:
        """The password of the collecting server's progress and exports."""
        return self.out / "answers.token"

    @property
    def simulated_answers(self) -> Path:
        return self.out / "answers_simulated.json"

    def students(self, selection: str) -> Path:
        return self.out / f"students_{selection}{self._variant}"

    def taught_student(self, selection: str) -> Path:
        """The student after its last lesson, as a classifier's checkpoint."""
        return self.out / f"student_{selection}{self._variant}.pth.tar"

    def labeled_list(self, selection: str) -> Path:
        """Images labelled by the expert and by people: butterflies_gt_s300 ->
        butterflies_turker_label_gt_s300_<selection>_labeled_tr.txt."""
        name = self.list_stem.replace("_gt", "_turker_label_gt", 1)
        return self.out / f"{name}_{selection}_labeled_tr.txt"

    def labels_report(self, selection: str, ending: str) -> Path:
        return self.out / f"labels_{selection}{ending}"

    def annotator_study(self, suffix: str) -> Path:
        return self.out / f"study_annotators{suffix}"


def explanation_name(image: str, label: int, counter: int, index: int) -> str:
    """File name of the explanation why image `index` is `label` and not `counter`."""
    return f"{Path(image).stem}_groundtruth_{label}_counter_{counter}_index_{index}.png"


def listed_size(mask_sizes: Sequence[float]) -> float:
    """The mask size that explanation lists name: 0.05 if it is among those made, otherwise the first."""
    return TEACHING_SIZE if TEACHING_SIZE in mask_sizes else mask_sizes[0]


def people_list(ce_list: str | Path) -> Path:
    """The list of the pictures for people that belongs to an explanation list."""
    return Path(ce_list).with_name(f"{Path(ce_list).stem}_HTML.txt")


def record_of(ce_list: str | Path) -> Path:
    """The record of how an explanation list was made, next to the list."""
    return Path(ce_list).with_suffix(".json")


def sibling(picture: str, kind: str, other: str) -> str:
    """A listed explanation in the folder of another rendering: `..._img/0.05/x.png` -> `..._mask/0.05/x.png`."""
    path = Path(picture)
    folder = path.parent.parent
    renamed = folder.with_name(f"{folder.name.removesuffix(f'_{kind}')}_{other}")
    return ("./" if picture.startswith("./") else "") + (renamed / path.parent.name / path.name).as_posix()


def mask_size(picture: str) -> float | None:
    """The mask size that the folder of a listed explanation is named after, for lists without a record."""
    try:
        return float(Path(picture).parent.name)
    except ValueError:
        return None


def name_problem(image: str, label: int, index: int, num_classes: int, limit: int = NAME_BYTES) -> str:
    """Why an image's name is too long for its explanations' names; "" if it is not."""
    counter = max(other for other in range(num_classes) if other != label)
    excess = len(os.fsencode(explanation_name(image, label, counter, index))) - limit
    if excess <= 0:
        return ""
    return f"has a long name; the names of its explanations exceed {limit} bytes. Shorten the image's name by {excess}"
