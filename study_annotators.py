"""How good must people be? Classifier accuracy against annotator accuracy, to plan a study: the paper's preliminary experiment.

Annotators of every accuracy label the rest of the training images, errors spread evenly; a classifier learns from the expert's images
and theirs, and is tested. Compared with the expert's images alone and with expert labels for all (Wang & Vasconcelos, ICCV 2021).

    python study_annotators.py
    python study_annotators.py --classifier finetune --epochs 8 --milestones 5 7 --lr 0.01 --batch-size 32 --image-size 112   # hours

Reads: the dataset's training, test and rest lists and their images, all with true labels; the weights that --pretrained names.

Writes: below <out>, study_annotators.csv (one row per classifier), study_annotators.png and run_study_annotators.json.

Takes: 13 minutes on one busy CPU core for butterflies_s300, hours with --classifier finetune. Not measured on a GPU.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from tqdm import tqdm

from models.resnet import Arch
from utils.base import processes
from utils.base.files import write_table
from utils.base.machine import default_workers
from utils.data.outputs import Layout
from utils.people.study import annotator_study, finetune_classifier, open_material, plan, probe_classifier, run_once
from utils.running import plausible
from utils.running.launch import launch
from utils.running.resuming import resumable
from utils.running.settings import chosen_dataset, pick
from utils.training.classifier import ClassifierRecipe
from utils.training.probe import ProbeSettings


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    # annotators
    accuracy: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the annotators, 0 .. 1; 0.2 is chance of 5 classes
    labels_per_image: int = 1  # annotators per image; their majority counts
    repeats: int = 3  # seeds: each draws other errors and trains anew
    # classifier
    classifier: Literal["probe", "finetune"] = "probe"  # a linear head on frozen features (minutes), or the whole network (hours)
    arch: Arch = "resnet18"  # the network: resnet18 as published, resnet34 or resnet50
    pretrained: str = "imagenet"  # what the network starts from: imagenet, none (random weights), or the path of a state dict
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
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1
    resume: bool = False  # go on where a run with the same settings was stopped


def found(rows: list[dict], quality: float | str) -> list[float]:
    """Test accuracies of the classifiers that learned from annotators of an accuracy ("": from none), one per seed."""
    return [row["test_accuracy"] for row in rows if row["annotator_accuracy"] == quality]


@processes.first_only
def report(rows: list[dict], layout: Layout, cfg: Config) -> dict:
    """Writes the table and the figure; returns the means over the seeds."""
    write_table(layout.annotator_study(".csv"), rows)
    accuracies = sorted({row["annotator_accuracy"] for row in rows} - {""})
    points = [found(rows, quality) for quality in accuracies]
    levels = {"expert's images alone": found(rows, ""), "expert labels for all": found(rows, 1.0)}
    title = f"{cfg.classifier}, {cfg.repeats} seeds, {cfg.labels_per_image} label(s) per image"
    annotator_study(layout.annotator_study(".png"), accuracies, points, levels, title)
    print(f"Study: {layout.annotator_study('.png')}, {layout.annotator_study('.csv')}")
    by_accuracy = {f"{quality:g}": round(fmean(values), 2) for quality, values in zip(accuracies, points, strict=True)}
    return {"classifier": cfg.classifier, "expert_alone": round(fmean(found(rows, "")), 2), "annotators": by_accuracy}


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem)
    material = open_material(dataset, cfg.data_root, cfg.image_size)
    if cfg.classifier == "probe":
        classify = probe_classifier(material, cfg.arch, cfg.pretrained, pick(ProbeSettings, cfg))
    else:
        classify = finetune_classifier(material, cfg.arch, cfg.pretrained, pick(ClassifierRecipe, cfg))
    runs = plan(cfg.accuracy, cfg.repeats, cfg.seed)
    with resumable(cfg, [layout.annotator_study(".csv"), layout.annotator_study(".png")]) as unfinished:
        rows = unfinished.state["rows"] if unfinished.state else []
        left = runs[len(rows) :]
        for quality, seed in tqdm(
            left, total=len(runs), initial=len(rows), desc="study", unit="classifier", disable=not processes.is_first()
        ):
            rows.append(run_once(material, classify, quality, cfg.labels_per_image, seed))
            unfinished.save({"rows": rows})
        accuracies, remedies = [row["test_accuracy"] for row in rows], "--pretrained, --epochs and --probe-epochs"
        doubts = [
            plausible.random_features(cfg.pretrained, frozen=cfg.classifier == "probe"),
            plausible.unknown_classes(material.test),
            plausible.missing_classes(material.test, dataset.classes),
            plausible.never_above_chance(accuracies, material.test.num_known, len(dataset.classes), remedies),
        ]
        return plausible.with_warnings(report(rows, layout, cfg), doubts)


if __name__ == "__main__":
    launch(main, Config, __doc__)
