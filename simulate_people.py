"""Simulates people who took a course: they take its test and label the rest, as on the course page.

    python simulate_people.py
    python simulate_people.py --accuracy 0.9 0.6 0.2   # a mixed crowd: people take these in turn
    python simulate_people.py --who confusion --confusion-of FILE   # the confusion matrix of real people
    python simulate_people.py --who network   # the student of train_*_CMaxGrad.py --save-students

Reads: the key of the course page (--key); real answers with --who confusion, network and images with --who network.
Writes: in <out>, answers_simulated.json, in the format of collect.py --export, and run_simulate_people.json.
Takes: a few seconds; one pass over the images with --who network. Not measured on a GPU.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from models.weights import load_classifier
from utils.base import processes
from utils.base.files import write_json
from utils.base.machine import default_workers
from utils.data.catalog import Dataset
from utils.data.images import eval_view
from utils.data.lists import Example
from utils.data.loading import ImageSet
from utils.data.outputs import Layout
from utils.people.aggregation import symmetric
from utils.people.answers import read_answers
from utils.people.page_key import Key, read_key
from utils.people.simulated import crowd, estimated, one_person
from utils.running.launch import launch
from utils.running.settings import chosen_dataset
from utils.training import evaluation
from utils.training.features import FeatureMaps


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    key: tuple[str, ...] = ("{out}/course_page_key.json",)  # key of the course page; of several, only the first counts
    # people
    who: Literal["accuracy", "confusion", "network"] = "accuracy"  # how answers are made
    accuracy: tuple[float, ...] = (0.8,)  # accuracy only: share of right answers, 0 .. 1; people take them in turn
    confusion_of: tuple[str, ...] = ()  # confusion only: answer files of the real people to imitate
    checkpoint: str = "{out}/student_CMaxGrad.pth.tar"  # network only: checkpoint; {out}: output folder
    image_size: int = 224  # side of the network's input in pixels
    batch_size: int = 64  # images per forward pass
    # study
    people: int = 20  # number of people; --who network is always one
    labels_per_image: int = 3  # people who label each image
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1


def network_answers(cfg: Config, key: Key, dataset: Dataset) -> dict[str, list[int]]:
    """Returns the network's answers to all images of the test and of the labeling part."""
    network = load_classifier(cfg.checkpoint, dataset.classes).to(cfg.device)
    answers = {}
    for phase in ("test", "label"):
        rows = [Example(image.path, 0, image.index) for image in key.of_phase(phase).values()]
        images = ImageSet(rows, key.path, cfg.data_root, partial(eval_view, size=cfg.image_size))
        features = FeatureMaps(network, images, cfg.batch_size, cfg.workers, cfg.device)
        answers[phase] = evaluation.predict(features).tolist()
    return answers


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    key = read_key(cfg.key[0], dataset.name, dataset.classes)
    if cfg.who == "network":
        export = one_person(key, network_answers(cfg, key, dataset), cfg.seed)
    else:
        if cfg.who == "accuracy":
            matrices = [symmetric(accuracy, len(dataset.classes)) for accuracy in cfg.accuracy]
        else:
            answers, _ = read_answers(cfg.confusion_of, key)
            matrices = [estimated(answers, dataset.display_names)]
        matrices = [matrices[person % len(matrices)] for person in range(cfg.people)]
        export = crowd(key, matrices, cfg.labels_per_image, cfg.seed)
    path = Layout(Path(cfg.out)).simulated_answers
    processes.first_only(write_json)(path, export)
    trials = [trial for person in export["participants"] for trial in person["trials"]]
    processes.say(f"{len(export['participants'])} simulated people: {path}")
    unanswered = {*key.of_phase("test"), *key.of_phase("label")} - {trial["stimulus"] for trial in trials}
    if unanswered:
        processes.say(f"{len(unanswered)} images of unknown class got no answer.")
    return {"people": len(export["participants"]), "answers": len(trials)}


if __name__ == "__main__":
    launch(main, Config, __doc__)
