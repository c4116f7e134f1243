"""Trains the teacher of the gulls (step 2): a linear head without bias on a frozen ImageNet ResNet-18.

    python train_gull_resnet18_linear.py

Reads: training and test images; the weights of --pretrained.
Writes: in <out>, checkpoint_pretrain_resnet18_linear.pth.tar (only the head), teacher_linear.csv,
teacher_linear_curves.png, teacher_linear_confusion.png and .csv, and run_train_gull_resnet18_linear.json.
Takes: about two minutes for the 150 gulls on 2 CPU cores. Not measured on a GPU.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from models.resnet import Arch, build
from models.weights import Normalize, load_backbone, save_checkpoint
from utils.base.machine import default_workers
from utils.data.images import eval_view, full_view
from utils.data.loading import open_list
from utils.data.outputs import Layout
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.teaching.registry import Selection
from utils.training.classifier import ClassifierRecipe, report_classifier, train_classifier


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    train_list: str = "auto"  # example list to train on; auto: the dataset's training list
    selection: Literal["auto", Selection] = "auto"  # <dataset>_after_labeling only: the course; auto: the only one
    # model
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = "imagenet"  # weights to start from: imagenet, none (random), or the path of a checkpoint
    normalize: Normalize = "auto"  # input normalization of those weights; auto: none for SimCLR, else imagenet
    # training
    epochs: int = 40  # passes over the training list
    batch_size: int = 128  # images per step
    lr: float = 0.01  # learning rate of SGD
    milestones: tuple[int, ...] = (20, 30)  # epochs after which lr is divided by 10
    momentum: float = 0.9  # momentum of SGD
    weight_decay: float = 1e-4  # L2 penalty of SGD
    image_size: int = 224  # side of the network's input in pixels
    crop_scale: float = 0.08  # smallest area of a random crop, as a fraction of the image
    eval_every: int = 5  # epochs between tests; the last epoch is always tested
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result
    ram_budget: float = 2.0  # GiB of decoded images that each list keeps in memory; 0 keeps none
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1
    resume: bool = False  # continue a stopped run with the same settings


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    train = open_list(dataset, "train", cfg.data_root, full_view, cfg.train_list, cfg.ram_budget)
    test = open_list(dataset, "test", cfg.data_root, partial(eval_view, size=cfg.image_size), ram_budget=cfg.ram_budget)
    network = build(cfg.arch, len(dataset.classes), bias=False)
    load_backbone(network, cfg.pretrained, cfg.normalize)
    network.freeze_backbone()
    recipe = pick(ClassifierRecipe, cfg)
    checkpoint = Layout(Path(cfg.out)).teacher_head
    with resumable(cfg, [checkpoint]) as unfinished:
        history = train_classifier(network, train, test, recipe, unfinished)
        content = {"epoch": cfg.epochs, "arch": "linear", "state_dict_m": network.fc.state_dict()}
        save_checkpoint(checkpoint, content | {"classes": list(dataset.classes)})
        return report_classifier(cfg.out, "teacher_linear", network, test, dataset.display_names, history, recipe)


if __name__ == "__main__":
    launch(main, Config, __doc__)
