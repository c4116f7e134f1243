"""Pre-trains SimCLR (Chen et al., ICML 2020) on the gulls: features without labels.

    python train_gull_simclr.py
    python train_gull_simclr.py --dataset gull_whole --out gull   # also the images that people label

Reads: training images.
Writes: in <out>, simclr_checkpoint_<epochs>.tar, simclr.csv, simclr_curves.png and run_train_gull_simclr.json.
Takes: about 25 minutes for the 150 gulls on 2 CPU cores. Not measured on a GPU.
"""

from dataclasses import dataclass
from pathlib import Path

from models.resnet import Arch
from models.simclr import SimCLR
from models.weights import save_checkpoint
from utils.base.machine import default_workers
from utils.data.images import full_view
from utils.data.loading import open_list
from utils.data.outputs import Layout
from utils.running import checks
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.training.epochs import write_history
from utils.training.simclr import SimCLRRecipe, contrasting_batches, train_simclr


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    # model
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    # training
    epochs: int = 100  # passes over the training list
    batch_size: int = 128  # images per step, each in two views; a single last image joins the step before it
    lr: float = 3e-4  # learning rate of Adam
    weight_decay: float = 0.0  # L2 penalty of Adam
    temperature: float = 0.5  # temperature of the NT-Xent loss
    image_size: int = 224  # side of the network's input in pixels
    crop_scale: float = 0.08  # smallest area of a random crop, as a fraction of the image
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result
    ram_budget: float = 2.0  # GiB of decoded images that each list keeps in memory; 0 keeps none
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1
    resume: bool = False  # continue a stopped run with the same settings


def main(cfg: Config) -> dict:
    images = open_list(chosen_dataset(cfg), "train", cfg.data_root, full_view, ram_budget=cfg.ram_budget, labels=False)
    batch_sizes = contrasting_batches(images, cfg.batch_size)
    model = SimCLR(cfg.arch)
    checkpoint = Layout(Path(cfg.out)).simclr_network(cfg.epochs)
    with resumable(cfg, [checkpoint]) as unfinished:
        history = train_simclr(model, images, pick(SimCLRRecipe, cfg), unfinished)
        save_checkpoint(checkpoint, model.state_dict())
        write_history(Path(cfg.out), "simclr", history)
        loss = history[-1]["loss"]
        return checks.with_warnings({"loss": loss}, [checks.no_contrast(loss, batch_sizes)])


if __name__ == "__main__":
    launch(main, Config, __doc__)
