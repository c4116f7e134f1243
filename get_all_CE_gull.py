"""Explains every gull against every wrong class: why it is class a and not class b.

By the margin of a over b (after Finer-CAM) or, with `--explanation scout`, as Wang & Vasconcelos (CVPR 2020).

    python get_all_CE_gull.py
    python get_all_CE_gull.py --mask-sizes 0.01 0.05 0.10 0.20 0.30

Reads: the training images; frozen features (--pretrained) and the head of train_gull_resnet18_linear.py (--checkpoint).
Writes: in <out>, for each mask size: counterfactual_gradcam_img/ for machine students, counterfactual_gradcam_mask/,
and demo/counterfactual_gradcam_mask/ for people (red borders); the lists <list>_CE.txt and <list>_CE_HTML.txt;
<list>_CE_faithfulness.csv; heatmaps.npz; explanations.png, a contact sheet; run_get_all_CE_gull.json.
Takes: about 30 seconds for the 150 gulls on 2 CPU cores. Not measured on a GPU.
"""

from dataclasses import dataclass
from pathlib import Path

from models.resnet import Arch, Layer, build
from models.weights import Normalize, load_backbone, load_head
from utils.base.machine import default_workers
from utils.data.outputs import Layout
from utils.explanations.explain_list import ExplainSettings, Method, explain_list, explanation_files, open_explained
from utils.explanations.storage import write_explanation_record
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    # model
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = "imagenet"  # weights to start from: imagenet, none (random), or the path of a checkpoint
    normalize: Normalize = "auto"  # input normalization of those weights; auto: none for SimCLR, else imagenet
    checkpoint: str = "{out}/checkpoint_pretrain_resnet18_linear.pth.tar"  # the teacher's head; {out}: output folder
    # explanations
    explanation: Method = "margin"  # margin: by the margin of a over b (after Finer-CAM); scout: as published
    explanation_layer: Layer = "layer1"  # margin only: layer whose grid it explains on, from layer1 (finest) to layer4
    focus: float = 0.5  # margin only: how much the last layer decides where to look; 0: not at all
    faithfulness: bool = True  # measure how much the answer changes when the marked part is blurred
    outlined_share: float = 0.75  # share outlined on the contact sheet, the most faithful ones; 1: all, as published
    counters: int = 0  # wrong classes explained per image, those with the largest logits; 0: all (as published)
    mask_sizes: tuple[float, ...] = (0.05,)  # fractions of the image to keep; published: 30 sizes, 0.01, 0.02 ... 0.30
    image_size: int = 224  # side of the network's input in pixels
    batch_size: int = 8  # images per forward pass
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1
    resume: bool = False  # continue a stopped run with the same settings


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    images = open_explained(dataset, cfg.data_root, cfg.image_size)
    teacher = build(cfg.arch, len(dataset.classes), bias=False)
    load_backbone(teacher, cfg.pretrained, cfg.normalize)
    load_head(teacher, cfg.checkpoint, dataset.classes)
    layout, how = Layout(Path(cfg.out), dataset.list_stem), pick(ExplainSettings, cfg)
    with resumable(cfg, explanation_files(layout, images, len(dataset.classes), how)) as unfinished:
        measured = explain_list(teacher, images, layout, dataset.display_names, how, unfinished)
        write_explanation_record(cfg, layout, images, unfinished.folder)
        return measured


if __name__ == "__main__":
    launch(main, Config, __doc__)
