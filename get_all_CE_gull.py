"""Explains every gull against every wrong answer: why it is class a and not class b.

Counterfactual explanations (Wang & Vasconcelos, CVPR 2020) of the frozen features and the linear head that
train_gull_resnet18_linear.py trained on them.

    python get_all_CE_gull.py
    python get_all_CE_gull.py --mask-sizes 0.01 0.05 0.10 0.20 0.30

Writes pictures for machines and for people, explanation lists, heat maps, and the contact sheet <out>/explanations.png.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.resnet import ResNet18, load_backbone, load_head
from utils.explaining import ExplainSettings, explain_list, explanation_files
from utils.images import whole_view
from utils.launch import launch
from utils.layout import Layout
from utils.loading import open_list
from utils.resuming import resumable
from utils.settings import chosen_dataset, default_workers, pick


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a name of utils/catalog.py, or your own; its training list is explained
    data_root: str = "datasets"  # folder that holds the dataset's folder
    # model
    pretrained: str = "imagenet"  # the frozen features, as in training: imagenet, none, or the path of a state dict
    checkpoint: str = "{out}/checkpoint_pretrain_resnet18_linear.pth.tar"  # the head; {out} stands for the output folder
    # explanations
    mask_sizes: tuple[float, ...] = (0.05,)  # fractions of the image to keep; the paper's 30 sizes are 0.01, 0.02 ... 0.30
    image_size: int = 224  # side of the pictures in pixels
    batch_size: int = 8  # images per forward pass
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads; each takes a batch from decoding to encoding
    device: str = "auto"  # auto, cpu, cuda, cuda:1
    resume: bool = False  # go on where a killed run with the same settings stopped


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    # Each image is looked at once, so none is held: the list may be longer than memory.
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=cfg.image_size), budget=0)
    teacher = ResNet18(len(dataset.classes), bias=False)
    load_backbone(teacher, cfg.pretrained)
    load_head(teacher, cfg.checkpoint, dataset.classes)
    layout, how = Layout(Path(cfg.out), dataset.list_stem), pick(ExplainSettings, cfg)
    with resumable(cfg, explanation_files(layout, images.rows, len(dataset.classes), how)) as unfinished:
        return explain_list(teacher, images, layout, dataset.classes, how, unfinished)


if __name__ == "__main__":
    launch(main, Config, __doc__)
