"""Explains every butterfly against every wrong class, with SimCLR features: why it is class a and not class b.

For few labels: the teacher is logistic regression on a frozen SimCLR encoder. See get_all_CE_butterflies.py.

    python get_all_CE_butterflies_simclr.py

Reads: training and test images; the encoder of train_butterflies_simclr.py, or a public one (--checkpoint).
Writes: in <out>, the head checkpoint_linear_simclr.pth.tar; the same files as get_all_CE_butterflies.py, with simclr in
their names; run_get_all_CE_butterflies_simclr.json.
Takes: about 70 seconds for butterflies_s300 on 2 CPU cores. Not measured on a GPU.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.resnet import Layer
from models.weights import Normalize, load_encoder
from utils.base.machine import default_workers
from utils.data.images import whole_view
from utils.data.loading import open_list
from utils.data.outputs import Layout
from utils.explanations.explain_list import ExplainSettings, Method, explain_list, explanation_files, open_explained
from utils.explanations.storage import write_explanation_record
from utils.running import checks
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.training.probe import ProbeSettings, add_linear_probe


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    # model
    checkpoint: str = "{out}/simclr_checkpoint_100.tar"  # SimCLR encoder; {out}: output folder
    normalize: Normalize = "auto"  # input normalization of those weights; auto: none for SimCLR, else imagenet
    probe_epochs: int = 500  # logistic regression: passes over the features
    probe_batch_size: int = 256  # logistic regression: features per step
    probe_lr: float = 3e-4  # logistic regression: learning rate of Adam
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
    test = open_list(dataset, "test", cfg.data_root, partial(whole_view, size=cfg.image_size))
    teacher = load_encoder(cfg.checkpoint, normalize=cfg.normalize)
    layout, how = Layout(Path(cfg.out), dataset.list_stem, variant="simclr"), pick(ExplainSettings, cfg)
    with resumable(cfg, explanation_files(layout, images, len(dataset.classes), how)) as unfinished:
        probed = add_linear_probe(
            teacher, images, test, dataset.classes, layout.probe, pick(ProbeSettings, cfg), unfinished
        )
        measured = explain_list(teacher, images, layout, dataset.display_names, how, unfinished)
        write_explanation_record(cfg, layout, images, unfinished.folder)
        return probed | checks.with_warnings(measured or {}, probed.get("warnings", ()))


if __name__ == "__main__":
    launch(main, Config, __doc__)
