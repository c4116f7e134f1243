"""Teaches butterflies to a machine student: CMaxGrad picks a course of images and SimCLR explanations.

CMaxGrad (Wang & Vasconcelos, ICCV 2021); `--selection MaxGrad` (Wang, Nagrecha & Vasconcelos, CVPR 2021) and `--selection random`
are the baselines. Run get_all_CE_butterflies_simclr.py first: its explanation list is the course's material.

    python train_butterflies_CMaxGrad_simclr.py
    python train_butterflies_CMaxGrad_simclr.py --selection random

Writes the teaching list, course_<selection>_simclr.json and .png, the accuracies after every lesson and their curve.
"""

from dataclasses import dataclass

from utils.course_run import run_course
from utils.launch import launch
from utils.pool import ExplanationView
from utils.selection import Selection
from utils.settings import default_workers


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a name of utils/catalog.py, or your own
    data_root: str = "datasets"  # folder that holds the dataset's folder
    ce_list: str = "{out}/{list}_CE_simclr.txt"  # explanations of the training list; {out}: output folder, {list}: the list's stem
    # student
    pretrained: str = "imagenet"  # its generic features: imagenet, none, or the path of a state dict
    freeze_features: bool = False  # learn the head alone: for features too young to be trained on by 4 to 80 images
    explanation_view: ExplanationView = "attention"  # image: as a picture; attention: as a region, better on butterflies (README)
    # course
    selection: Selection = "CMaxGrad"  # how lessons are picked
    iterations: int = 20  # lessons; each teaches a pair
    alpha: float = 0.5  # weight of the image against its explanation in the score, 0 .. 1
    # learning
    steps: int = 10  # SGD steps per lesson, on the whole teaching set
    lr: float = 1e-4  # learning rate of SGD
    momentum: float = 0.9  # of SGD
    weight_decay: float = 1e-4  # L2 penalty of SGD
    max_grad_norm: float = 0.0  # longer gradients are cut to it: the risk grows exponentially with a margin; 0: never, as published
    image_size: int = 224  # side of the images in pixels
    batch_size: int = 64  # images per forward pass over the pool and the test list
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    save_students: bool = False  # keep the student that made each choice, and the taught one
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that decode
    device: str = "auto"  # auto, cpu, cuda, cuda:1
    resume: bool = False  # go on where a killed run with the same settings stopped


def main(cfg: Config) -> dict:
    return run_course(cfg, simclr=True)


if __name__ == "__main__":
    launch(main, Config, __doc__)
