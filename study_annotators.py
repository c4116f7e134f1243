"""How good must people be? Classifier accuracy against annotator accuracy, to plan a study: the paper's preliminary experiment.

Annotators of every accuracy label the rest of the training images, errors spread evenly; a classifier learns from the expert's images
and theirs, and is tested. Compared with expert labels for all (Wang & Vasconcelos, ICCV 2021) and with what needs no people: the expert's
images alone, self-training on confident answers of its own (Lee 2013), and a head on features that SimCLR learned without labels.

    python study_annotators.py
    python study_annotators.py --simclr-checkpoint butterflies_whole/simclr_checkpoint_100.tar
    python study_annotators.py --classifier finetune --epochs 8 --milestones 5 7 --lr 0.01 --batch-size 32 --image-size 112   # hours

Reads: the dataset's training, test and rest lists and their images, all with true labels; the weights that --pretrained names; with
--simclr-checkpoint what `train_butterflies_simclr.py --dataset butterflies` leaves, say.

Writes: below <out>, study_annotators.csv (one row per classifier), study_annotators.png, of self-training
study_annotators_rounds.csv, and run_study_annotators.json; says from which accuracy on annotators pay.

Takes: 74 seconds on one CPU core for butterflies_s300, hours with --classifier finetune. Not measured on a GPU.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from tqdm import tqdm

from models.resnet import Arch
from models.weights import load_encoder
from utils.base import processes
from utils.base.machine import default_workers
from utils.data.outputs import Layout
from utils.people.break_even import annotator_study, findings
from utils.people.study import (
    Learner,
    Material,
    Study,
    accuracies,
    finetune_learner,
    open_material,
    pretrained_encoder,
    probe_learner,
    steps,
    write_study,
)
from utils.running import checks
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.training.classifier import ClassifierRecipe
from utils.training.probe import ProbeSettings
from utils.training.self_training import SelfTraining


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    # annotators
    accuracy: tuple[float, ...] = (
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        1.0,
    )  # of the annotators, 0 .. 1; 0.2 is chance of 5 classes
    labels_per_image: int = 1  # annotators per image; their majority counts
    repeats: int = 3  # seeds: each draws other errors and trains anew
    # what needs no people
    rounds: int = (
        5  # of self-training, at most; it ends when its labels settle; 3 in Noisy Student, 0: no self-training
    )
    confidence: float = (
        0.95  # least probability of an answer that self-training takes for a label; 0.95 in FixMatch, 0 in Lee 2013
    )
    simclr_checkpoint: str = (
        "none"  # of SimCLR on all training images, for a linear head on its features; none: left out
    )
    simclr_image_size: int = (
        224  # side of the images that the SimCLR encoder sees, in pixels; that of its training, or somewhat more
    )
    # classifier
    classifier: Literal["probe", "finetune"] = (
        "probe"  # a linear head on frozen features (minutes), or the whole network (hours)
    )
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = (
        "imagenet"  # what the network starts from: imagenet, none (random weights), or the path of a state dict
    )
    image_size: int = 224  # side of the images that the network sees, in pixels
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
    eval_every: int = 200  # epochs between measurements on the test list; the last is always measured
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # the first of the seeds
    workers: int = default_workers()  # threads that read and write pictures; no result depends on them
    ram_budget: float = 2.0  # GiB of decoded images that each list keeps in memory; 0 keeps none
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1
    resume: bool = False  # go on where a run with the same settings was stopped


def learners(material: Material, cfg: Config) -> tuple[Learner, Learner | None]:
    """How classifiers learn, and how a head on SimCLR features does if there is to be one. Networks are read first, then all the images."""
    probe, encoder, simclr_encoder = pick(ProbeSettings, cfg), None, None
    if cfg.classifier == "probe":
        encoder = pretrained_encoder(cfg.arch, cfg.pretrained)
    if cfg.simclr_checkpoint != "none":
        simclr_encoder = load_encoder(cfg.simclr_checkpoint, "--simclr-checkpoint")
    if encoder:
        learner = probe_learner(material, encoder, probe)
    else:
        learner = finetune_learner(material, cfg.arch, cfg.pretrained, pick(ClassifierRecipe, cfg))
    return learner, probe_learner(
        material.seen_at(cfg.simclr_image_size), simclr_encoder, probe
    ) if simclr_encoder else None


@processes.first_only
def report(rows: list[dict], layout: Layout, cfg: Config) -> dict:
    """Writes the tables and the figure, and says from which accuracy on people pay; returns the means over the seeds."""
    last = write_study(layout, rows, cfg.rounds)
    found = findings(last)
    title = f"{cfg.classifier}, {cfg.repeats} seeds, {cfg.labels_per_image} label(s) per image"
    annotator_study(layout.annotator_study(".png"), found, title)
    for one in found.alternatives:
        print(one.sentence(found.qualities[0]))
    print(f"Study: {layout.annotator_study('.png')}, {layout.annotator_study('.csv')}")
    by_accuracy = {
        f"{quality:g}": round(fmean(values), 2) for quality, values in zip(found.qualities, found.points, strict=True)
    }
    alone = round(fmean(found.alternatives[0].right), 2)
    return {
        "classifier": cfg.classifier,
        "expert_alone": alone,
        "annotators": by_accuracy,
        "without_people": found.as_measured(),
    }


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem)
    material = open_material(dataset, cfg.data_root, cfg.image_size, cfg.ram_budget)
    learner, simclr = learners(material, cfg)
    planned = steps(cfg.accuracy, cfg.repeats, cfg.seed, cfg.rounds, simclr is not None)
    outputs = [layout.annotator_study(ending) for ending in (".csv", ".png", *(["_rounds.csv"] if cfg.rounds else []))]
    with resumable(cfg, outputs) as unfinished:
        study = Study(material, learner, simclr, cfg.labels_per_image, pick(SelfTraining, cfg), unfinished.state)
        bar = {"total": len(planned), "initial": len(study.rows), "desc": "study", "unit": "classifier"}
        for step in tqdm(planned[len(study.rows) :], **bar, disable=not processes.is_first()):
            study.run(step)
            unfinished.save(study.state)
        right = accuracies(study.rows)
        labels, remedies = material.test.labels, "--pretrained, --epochs and --probe-epochs"
        doubts = [
            checks.random_features(cfg.pretrained, frozen=cfg.classifier == "probe"),
            checks.incomplete_test_list(material.test, dataset.classes),
            checks.never_above_chance(sum(right.values(), []), labels, len(dataset.classes), remedies),
        ]
        return checks.with_warnings(report(study.rows, layout, cfg), doubts)


if __name__ == "__main__":
    launch(main, Config, __doc__)
