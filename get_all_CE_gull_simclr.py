"""Explains every gull against every wrong answer, by SimCLR features: why it is class a and not class b.

The variant of the paper that needs few labels: a SimCLR encoder (train_gull_simclr.py, or a public checkpoint), frozen, and
multinomial logistic regression on its features; then counterfactual explanations as in get_all_CE_gull.py.

    python get_all_CE_gull_simclr.py

Writes pictures for machines and for people, explanation lists, heat maps, the linear head, and the contact sheet
<out>/explanations_simclr.png.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.simclr import load_encoder
from utils import catalog
from utils.explaining import ExplainSettings, explain_list
from utils.images import whole_view
from utils.launch import launch
from utils.layout import Layout
from utils.loading import open_list
from utils.probing import ProbeSettings, add_linear_probe
from utils.settings import default_workers, pick


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a name of utils/catalog.py; its training list is explained
    data_root: str = "datasets"  # folder that holds the dataset's folder
    # model
    checkpoint: str = "{out}/simclr_checkpoint_100.tar"  # encoder and projection head; {out} stands for the output folder
    probe_epochs: int = 500  # logistic regression: passes over the features
    probe_batch_size: int = 256  # logistic regression: features per step
    probe_lr: float = 3e-4  # logistic regression: learning rate of Adam
    # explanations
    mask_sizes: tuple[float, ...] = (0.05,)  # fractions of the image to keep; the paper's 30 sizes are 0.01, 0.02 ... 0.30
    image_size: int = 224  # side of the pictures in pixels
    batch_size: int = 32  # images per forward pass
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that decode and encode
    device: str = "auto"  # auto, cpu, cuda, cuda:1


def main(cfg: Config) -> dict:
    dataset = catalog.find(cfg.dataset)
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=cfg.image_size))
    test = open_list(dataset, "test", cfg.data_root, partial(whole_view, size=cfg.image_size))
    layout = Layout(Path(cfg.out), dataset.list_stem, simclr=True)
    teacher = load_encoder(cfg.checkpoint)
    probe = add_linear_probe(teacher, images, test, dataset.classes, layout.probe, pick(ProbeSettings, cfg))
    return probe | explain_list(teacher, images, layout, dataset.classes, pick(ExplainSettings, cfg))


if __name__ == "__main__":
    launch(main, Config, __doc__)
