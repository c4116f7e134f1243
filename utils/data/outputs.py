"""Names of all files that scripts write. They are the paper's names, so its public files and code work with ours."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.base.files import NAME_BYTES

IMG, MASK, DEMO = "img", "mask", "demo"  # masked image for machine students, 0/255 mask, red outline for people
TEACHING_SIZE = 0.05  # mask size used by courses and named by explanation lists


def _file(stem: str, ending: str = "") -> property:
    """A file with one name; with an `ending`, one name for each variant."""
    return property(lambda layout: layout._named(stem, ending) if ending else layout.out / stem)


@dataclass(frozen=True)
class Layout:
    """File names below an output folder; docs/files.md says what the files contain."""

    out: Path
    list_stem: str = ""  # name of the training list without `_tr`, for files that are named after it
    variant: str = ""  # "simclr", or "" for the others

    teacher = _file("checkpoint_pretrain_resnet18_s300.pth.tar")
    teacher_head = _file("checkpoint_pretrain_resnet18_linear.pth.tar")
    probe = _file("checkpoint_linear", ".pth.tar")
    heatmaps = _file("heatmaps", ".npz")
    contact_sheet = _file("explanations", ".png")
    comparison = _file("compare_courses", ".png")
    course_page = _file("course_page")
    teacher_features = _file("teacher_features.npz")
    answers = _file("answers.sqlite")
    answers_token = _file("answers.token")
    simulated_answers = _file("answers_simulated.json")

    def _named(self, stem: str, ending: str) -> Path:
        return self.out / f"{stem}{self.variant and '_'}{self.variant}{ending}"

    def run_record(self, script: str, selection: str = "") -> Path:
        return self.out / f"run_{script}{selection and '_'}{selection}.json"

    def unfinished(self, script: str, selection: str = "") -> Path:
        return self.out / f".unfinished_{script}{selection and '_'}{selection}"

    def simclr_network(self, epochs: int) -> Path:
        return self.out / f"simclr_checkpoint_{epochs}.tar"

    def explanations(self, kind: str, fraction: float) -> Path:
        """Folder of one rendering (IMG, MASK or DEMO) at one mask size."""
        if kind == DEMO:
            return self._named("demo", "") / f"counterfactual_gradcam_mask/{fraction:.2f}"
        return self._named("counterfactual_gradcam", f"_{kind}") / f"{fraction:.2f}"

    def explanation_list(self, people: bool = False) -> Path:
        machine = self._named(f"{self.list_stem}_CE", ".txt")
        return people_list(machine) if people else machine

    @property
    def explanation_record(self) -> Path:
        return record_of(self.explanation_list())

    def teaching_list(self, selection: str) -> Path:
        """The teaching set in order: <selection>/butterflies_Lt_gt_s300_CE_tr.txt for butterflies_gt_s300."""
        return self._named(f"{selection}/{self.list_stem.replace('_gt', '_Lt_gt', 1)}_CE", "_tr.txt")

    def accuracy(self, split: str, selection: str) -> Path:
        return self._named(f"all_{split}_acc_iter_{selection}", ".npy")

    def evolution(self, selection: str, ending: str = ".png") -> Path:
        return self._named(f"evolution_{selection}", ending)

    def draws(self, selection: str) -> Path:
        return self._named(f"draws_{selection}", ".csv")

    def course(self, selection: str, ending: str = ".json") -> Path:
        return self._named(f"course_{selection}", ending)

    def students(self, selection: str) -> Path:
        return self._named(f"students_{selection}", "")

    def taught_student(self, selection: str) -> Path:
        return self._named(f"student_{selection}", ".pth.tar")

    def course_page_key(self, build_id: str = "") -> Path:
        """Key of the page's pictures; next to the page, never in it. Keys of earlier builds have their id."""
        return self.out / f"course_page_key{build_id and '_'}{build_id}.json"

    def labeled_list(self, selection: str) -> Path:
        """butterflies_turker_label_gt_s300_<selection>_labeled_tr.txt for butterflies_gt_s300."""
        return self.out / f"{self.list_stem.replace('_gt', '_turker_label_gt', 1)}_{selection}_labeled_tr.txt"

    def labels_report(self, selection: str, ending: str) -> Path:
        return self.out / f"labels_{selection}{ending}"

    def annotator_study(self, ending: str) -> Path:
        return self.out / f"study_annotators{ending}"


def explanation_name(image: str, label: int, counter: int, index: int) -> str:
    return f"{Path(image).stem}_groundtruth_{label}_counter_{counter}_index_{index}.png"


def name_problem(image: str, label: int, index: int, num_classes: int) -> str:
    """Says by how much an image's name is too long for its explanations; "" if it is not."""
    counter = max(other for other in range(num_classes) if other != label)
    excess = len(os.fsencode(explanation_name(image, label, counter, index))) - NAME_BYTES
    too_long = f"has a long name; its explanations' names exceed {NAME_BYTES} bytes. Shorten it by {excess}"
    return too_long if excess > 0 else ""


def listed_size(mask_sizes: Sequence[float]) -> float:
    """The mask size that explanation lists name: 0.05 if it is among those made, otherwise the first."""
    return TEACHING_SIZE if TEACHING_SIZE in mask_sizes else mask_sizes[0]


def people_list(ce_list: str | Path) -> Path:
    """The list of the pictures for people that belongs to an explanation list."""
    return Path(ce_list).with_name(f"{Path(ce_list).stem}_HTML.txt")


def record_of(ce_list: str | Path) -> Path:
    return Path(ce_list).with_suffix(".json")


def faithfulness_of(ce_list: str | Path) -> Path:
    return Path(ce_list).with_name(f"{Path(ce_list).stem}_faithfulness.csv")


def sibling(picture: str, kind: str, other: str) -> str:
    """The same explanation in another rendering: `..._img/0.05/x.png` -> `..._mask/0.05/x.png`."""
    folder, *rest = picture.rsplit("/", 2)
    return "/".join([f"{folder.removesuffix(f'_{kind}')}_{other}", *rest])


def mask_size(picture: str) -> float | None:
    """The mask size in the path of a listed explanation, for lists without a record."""
    try:
        return float(Path(picture).parent.name)
    except ValueError:
        return None
