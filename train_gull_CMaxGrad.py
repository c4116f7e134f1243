"""Teaches gulls to a machine student: CMaxGrad picks a course of images and explanations.

CMaxGrad (Wang & Vasconcelos, ICCV 2021) and MaxGrad (Wang et al., CVPR 2021) are as published, KMaxGrad is ours.
Baselines: MaxHerding (Bae et al. 2024), STRICT (Singla et al. 2014), EXPLAIN (Mac Aodha et al. 2018), balanced, random.

    python train_gull_CMaxGrad.py
    python train_gull_CMaxGrad.py --selection KMaxGrad --draws 5

Reads: the explanations of get_all_CE_gull.py (--ce-list); training and test images.
Writes: in <out>, course_<selection>.json and .png, the lessons; <selection>/, the teaching set;
evolution_<selection>.png and .csv, all_train_acc_iter_<selection>.npy and all_test_acc_iter_<selection>.npy, the
accuracy after every lesson; run_train_gull_CMaxGrad.json.
Takes: about 10 seconds for the 150 gulls on 2 CPU cores, several minutes with --student sgd. Not measured on a GPU.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.resnet import Arch
from models.weights import Normalize
from utils.base.machine import default_workers
from utils.data.outputs import Layout
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.teaching.course import CourseFiles
from utils.teaching.draws import run_draws
from utils.teaching.loop import TeachExplanations, shown_progress, taught_explanations, teach
from utils.teaching.pool import ExplanationView, open_pool
from utils.teaching.registry import STUDENTS, Selection, StudentKind, make_selector
from utils.teaching.student import StudentSettings


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    ce_list: str = "{out}/{list}_CE.txt"  # explanation list; {out}: output folder, {list}: training list
    # student
    student: StudentKind = "optimal"  # optimal: trains its head to convergence (ours); sgd: a few steps, as published
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = "imagenet"  # weights to start from: imagenet, none (random), or the path of a checkpoint
    normalize: Normalize = "auto"  # input normalization of those weights; auto: none for SimCLR, else imagenet
    image_size: int = 224  # side of the network's input in pixels
    batch_size: int = 64  # images per forward pass
    ridge: float = 1e-3  # optimal student only: L2 penalty on the head
    freeze_features: bool = False  # sgd student only: train only the head
    explanation_view: ExplanationView = "attention"  # attention: as a region (ours); image: as a picture, as published
    # course
    selection: Selection = "CMaxGrad"  # how pairs are chosen: CMaxGrad as published; KMaxGrad teaches better (ours)
    iterations: int = 20  # lessons; each teaches a pair of images
    teach_explanations: TeachExplanations = "by_selection"  # by_selection: as its authors do; yes, no: controls
    alpha: float = 0.5  # CMaxGrad only: weight of the image against its explanation, 0 .. 1
    outlined_share: float = 0.75  # most faithful explanations, outlined and preferred in pairs; 1: all, as published
    draws: int = 0  # extra courses on random 80 % subsets of the pool, to estimate the variance
    # training (sgd student only)
    steps: int = 10  # sgd student only: steps per lesson, each on the whole teaching set
    lr: float = 1e-4  # sgd student only: learning rate
    momentum: float = 0.9  # sgd student only: momentum, carried over from lesson to lesson
    weight_decay: float = 1e-4  # sgd student only: L2 penalty
    max_grad_norm: float = 0.0  # sgd student only: clip the gradient norm; 0 disables clipping (as published)
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    save_students: bool = False  # save the student before every lesson and after the last
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result
    ram_budget: float = 2.0  # GiB of decoded images that each list keeps in memory; 0 keeps none
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1
    resume: bool = False  # continue a stopped run with the same settings


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem)
    pool, test = open_pool(dataset, cfg)
    selector_of = partial(make_selector, cfg.selection, cfg.alpha, cfg.seed)
    explain = taught_explanations(selector_of(0), cfg.teach_explanations)
    files = CourseFiles(dataset, layout, pool, explain, cfg)
    student = STUDENTS[cfg.student](pool, test, explain, pick(StudentSettings, cfg))
    with resumable(cfg, files.outputs()) as unfinished:
        lessons = teach(student, selector_of(0), cfg.iterations, unfinished, files.save_student)
        measured = files.write(shown_progress(lessons, cfg.iterations, cfg.selection), student, test)
        table = layout.draws(cfg.selection)
        return measured | run_draws(student, selector_of, cfg.draws, cfg.iterations, cfg.seed, table, unfinished)


if __name__ == "__main__":
    launch(main, Config, __doc__)
