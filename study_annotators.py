"""How good must people be? Classifier accuracy against annotator accuracy: the paper's preliminary experiment.

Annotators of each accuracy label the rest list, and a classifier learns from the expert's images and theirs. Baselines:
expert labels for all, only the expert's images, self-training (Lee 2013), features that SimCLR learned without labels.

    python study_annotators.py
    python study_annotators.py --simclr-checkpoint butterflies_whole/simclr_checkpoint_100.tar
    python study_annotators.py --classifier finetune --epochs 8 --milestones 5 7 --lr 0.01 --batch-size 32

Reads: training, test and rest images with known labels; the weights of --pretrained; a SimCLR checkpoint, if given.
Writes: in <out>, study_annotators.csv (one row per classifier), study_annotators.png, run_study_annotators.json.
Takes: 74 seconds on one CPU core for butterflies_s300, hours with --classifier finetune. Not measured on a GPU.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal

from tqdm import tqdm

from models.resnet import Arch, build
from models.weights import Normalize, load_backbone, load_encoder
from utils.base import processes
from utils.base.files import write_table
from utils.base.machine import default_workers
from utils.data.images import eval_view
from utils.data.outputs import Layout
from utils.people import study
from utils.running import checks
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.training.classifier import ClassifierRecipe
from utils.training.probe import ProbeSettings


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    # annotators
    accuracy: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # accuracies of annotators, 0 .. 1
    labels_per_image: int = 1  # annotators per image; the majority counts
    repeats: int = 3  # seeds; each draws other errors and trains again
    # without people
    rounds: int = 5  # maximum rounds of self-training; Noisy Student: 3; 0 disables it
    confidence: float = 0.95  # threshold for self-training on an answer; FixMatch: 0.95, Lee 2013: 0
    simclr_checkpoint: str = "none"  # SimCLR encoder trained on all training images; none: left out
    simclr_image_size: int = 224  # side of the images for the SimCLR encoder in pixels
    # classifier
    classifier: Literal["probe", "finetune"] = "probe"  # linear head on frozen features (minutes), or network (hours)
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = "imagenet"  # weights to start from: imagenet, none (random), or the path of a checkpoint
    normalize: Normalize = "auto"  # input normalization of those weights; auto: none for SimCLR, else imagenet
    image_size: int = 224  # side of the network's input in pixels
    # linear head
    probe_epochs: int = 500  # logistic regression: passes over the features
    probe_batch_size: int = 256  # logistic regression: features per step
    probe_lr: float = 3e-4  # logistic regression: learning rate of Adam
    # whole network, as in train_butterflies_resnet18.py
    epochs: int = 200  # passes over the training list
    batch_size: int = 128  # images per step, and per forward pass
    lr: float = 0.1  # learning rate of SGD
    milestones: tuple[int, ...] = (80, 120, 160)  # epochs after which lr is divided by 10
    momentum: float = 0.9  # momentum of SGD
    weight_decay: float = 1e-4  # L2 penalty of SGD
    crop_scale: float = 0.08  # smallest area of a random crop, as a fraction of the image
    eval_every: int = 200  # epochs between tests; the last epoch is always tested
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # first seed
    workers: int = default_workers()  # threads that read and write images; they never change a result
    ram_budget: float = 2.0  # GiB of decoded images that each list keeps in memory; 0 keeps none
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1
    resume: bool = False  # continue a stopped run with the same settings


def learners(material: study.Material, cfg: Config) -> tuple[study.Learner, study.Learner | None]:
    """Returns the learners of classifiers and of heads on SimCLR features. Loads all networks before any image."""
    encoder = simclr_encoder = None
    if cfg.classifier == "probe":
        encoder = build(cfg.arch, 0)
        load_backbone(encoder, cfg.pretrained, cfg.normalize)
    if cfg.simclr_checkpoint != "none":
        simclr_encoder = load_encoder(cfg.simclr_checkpoint, "--simclr-checkpoint")
    if encoder:
        learner = study.probe_learner(material, encoder, pick(ProbeSettings, cfg))
    else:
        learner = study.finetune_learner(material, cfg.arch, cfg.pretrained, cfg.normalize, pick(ClassifierRecipe, cfg))
    if simclr_encoder is None:
        return learner, None
    view = partial(eval_view, size=cfg.simclr_image_size)
    seen = replace(material, test=material.test.seen_as(view))
    return learner, study.probe_learner(seen, simclr_encoder, pick(ProbeSettings, cfg))


@processes.first_only
def report(rows: list[dict], layout: Layout, cfg: Config) -> dict:
    """Writes tables and figure, prints the break-evens, and returns the means over seeds."""
    write_table(layout.annotator_study(".csv"), rows)
    study.draw_study(layout.annotator_study(".png"), rows)
    curve, found = study.annotator_curve(rows), study.alternatives(rows)
    for one in found:
        print(one.sentence(min(curve)))
    print(f"Study: {layout.annotator_study('.png')}, {layout.annotator_study('.csv')}")
    return {
        "annotators": {f"{quality:g}": round(fmean(values), 2) for quality, values in curve.items()},
        "without_people": {
            one.labels: {"test_accuracy": round(fmean(one.right), 2), "people_pay_from": one.pays_from} for one in found
        },
    }


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem)
    material = study.open_material(dataset, cfg.data_root, cfg.image_size, cfg.ram_budget)
    learner, simclr = learners(material, cfg)
    planned = study.steps(cfg.accuracy, cfg.repeats, cfg.seed, simclr is not None)
    outputs = [layout.annotator_study(ending) for ending in (".csv", ".png")]
    with resumable(cfg, outputs) as unfinished:
        trials = study.Study(material, learner, simclr, cfg.labels_per_image, cfg.rounds, cfg.confidence)
        trials.state = unfinished.state or trials.state
        rows, done = trials.state["rows"], trials.state["steps"]
        bar = {"total": len(planned), "initial": done, "desc": "study", "unit": "step"}
        for step in tqdm(planned[done:], **bar, disable=not processes.is_first()):
            trials.run(step)
            unfinished.save(trials.state)
        accuracies, remedies = [row["test_accuracy"] for row in rows], "--pretrained, --epochs and --probe-epochs"
        doubts = [
            checks.incomplete_test_list(material.test, dataset.display_names),
            checks.never_above_chance(accuracies, material.test.labels, len(dataset.classes), remedies),
        ]
        return checks.with_warnings(report(rows, layout, cfg) or {}, doubts)


if __name__ == "__main__":
    launch(main, Config, __doc__)
