"""Explains every gull against every wrong answer, by SimCLR features: why it is class a and not class b.

The variant of the paper that needs few labels: a SimCLR encoder (train_gull_simclr.py, or a public checkpoint), frozen, and
multinomial logistic regression on its features; then counterfactual explanations as in get_all_CE_gull.py.

    python get_all_CE_gull_simclr.py

Writes pictures for machines and for people, explanation lists, heat maps, the linear head, and the contact sheet
<out>/explanations_simclr.png.
"""

from dataclasses import dataclass

from utils.launch import launch
from utils.settings import default_workers
from utils.simclr_run import run_simclr_explanations


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a name of utils/catalog.py, or your own; its training list is explained
    data_root: str = "datasets"  # folder that holds the dataset's folder
    # model
    checkpoint: str = "{out}/simclr_checkpoint_100.tar"  # encoder and projection head; {out} stands for the output folder
    probe_epochs: int = 500  # logistic regression: passes over the features
    probe_batch_size: int = 256  # logistic regression: features per step
    probe_lr: float = 3e-4  # logistic regression: learning rate of Adam
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
    return run_simclr_explanations(cfg)


if __name__ == "__main__":
    launch(main, Config, __doc__)
