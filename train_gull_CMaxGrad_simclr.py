"""Teaches gulls to a machine student: CMaxGrad picks a course of images and SimCLR explanations.

CMaxGrad (Wang & Vasconcelos, ICCV 2021) and `--selection MaxGrad` (Wang, Nagrecha & Vasconcelos, CVPR 2021) are the papers';
`KMaxGrad` is ours and teaches the optimal student better; `MaxHerding` (Bae et al., ECCV 2024), `balanced` and `random` are baselines.
Run get_all_CE_gull_simclr.py first: its explanation list is the course's material.

    python train_gull_CMaxGrad_simclr.py
    python train_gull_CMaxGrad_simclr.py --selection random --draws 5

Reads: the dataset's training and test lists and their images; the explanation list that get_all_CE_gull_simclr.py wrote, with its pictures
(--ce-list); the student's weights (--pretrained).

Writes: below <out>, course_<selection>_simclr.json and .png, the course lesson by lesson; <selection>/, the teaching set in order;
evolution_<selection>_simclr.png and .csv and all_train_acc_iter_<selection>_simclr.npy, all_test_acc_iter_<selection>_simclr.npy, the
student's accuracy after every lesson; with --draws draws_<selection>_simclr.csv; with --save-students students_<selection>_simclr/ and
student_<selection>_simclr.pth.tar; run_train_gull_CMaxGrad_simclr.json, the last run's record, and
run_train_gull_CMaxGrad_simclr_<selection>.json, that of each selection.

Takes: about 10 seconds for the 150 images of gull's list on 2 CPU cores. With --student sgd several minutes. Not measured on a GPU.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.resnet import Arch
from utils.base.machine import default_workers
from utils.data.images import eval_view
from utils.data.loading import open_list
from utils.data.outputs import Layout
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.teaching.course import CourseFiles, CourseSettings
from utils.teaching.draws import DrawSettings, run_draws
from utils.teaching.loop import TeachExplanations, taught_explanations, teach
from utils.teaching.pool import ExplanationView, PoolSettings, open_pool
from utils.teaching.registry import STUDENTS, Selection, SelectorSettings, StudentKind, make_selector
from utils.teaching.student import StudentSettings


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    ce_list: str = (
        "{out}/{list}_CE_simclr.txt"  # explanations of the training list; {out}: output folder, {list}: the list's stem
    )
    # student
    student: StudentKind = "optimal"  # optimal: trains its head to convergence (ours); sgd: a few steps, as published
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = (
        "imagenet"  # what the network starts from: imagenet, none (random weights), or the path of a state dict
    )
    ridge: float = 1e-3  # optimal alone: weight of the head's squared length beside the risk
    freeze_features: bool = (
        False  # sgd alone: only the head learns; for weakly trained features, which 4 to 80 images would spoil
    )
    explanation_view: ExplanationView = (
        "attention"  # attention: seen as a region (ours); image: as a picture, as published
    )
    # course
    selection: Selection = (
        "CMaxGrad"  # how lessons are picked; CMaxGrad is the paper's, KMaxGrad teaches the optimal student better
    )
    iterations: int = 20  # lessons; each teaches a pair of images
    teach_explanations: TeachExplanations = (
        "by_selection"  # by_selection: CMaxGrad and KMaxGrad do; yes, no: for controls
    )
    alpha: float = 0.5  # weight of the image against its explanation in the score, 0 .. 1
    draws: int = 0  # after the course, so many more from random 80 % of the pool each, to see how much is luck
    # learning, sgd alone
    steps: int = 10  # sgd alone: steps per lesson, on the whole teaching set
    lr: float = 1e-4  # sgd alone: its learning rate
    momentum: float = 0.9  # sgd alone: its momentum
    weight_decay: float = 1e-4  # sgd alone: its L2 penalty
    max_grad_norm: float = (
        0.0  # sgd alone: longer gradients are cut to this, since the risk grows exponentially; 0: never, as published
    )
    # looking
    image_size: int = 224  # side of the images that the network sees, in pixels
    batch_size: int = 64  # images per forward pass
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    save_students: bool = False  # keep the student that made each choice, and the taught one
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write pictures; no result depends on them
    ram_budget: float = 2.0  # GiB of decoded images that each list keeps in memory; 0 keeps none
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1
    resume: bool = False  # go on where a run with the same settings was stopped


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem, variant="simclr")
    pool = open_pool(dataset, pick(PoolSettings, cfg))
    test = open_list(dataset, "test", cfg.data_root, partial(eval_view, size=cfg.image_size), ram_budget=cfg.ram_budget)
    how = pick(SelectorSettings, cfg)
    selector = make_selector(how)
    explain = taught_explanations(selector, cfg.teach_explanations)
    files = CourseFiles(dataset, layout, pool, explain, pick(CourseSettings, cfg))
    student = STUDENTS[cfg.student](pool, test, explain, pick(StudentSettings, cfg))
    with resumable(cfg, files.main(draws=cfg.draws > 0)) as unfinished:
        lessons = teach(student, selector, cfg.iterations, files.students.keep, unfinished)
        measured = files.write(lessons, student, test)
        draws = run_draws(
            student, partial(make_selector, how), pick(DrawSettings, cfg), layout.draws(cfg.selection), unfinished
        )
        return measured | draws


if __name__ == "__main__":
    launch(main, Config, __doc__)
