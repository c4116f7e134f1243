"""Simulates people who took a course: they take its test and label the rest, as people would on the course page.

For trying the loop, and for planning a study: how many people, how many labels per image, how good must they be? Build the course
page first (teach_butterflies.py): its key says which images there are.

    python simulate_people.py
    python simulate_people.py --accuracy 0.9 0.6 0.2        # a mixed crowd: people take these in turn
    python simulate_people.py --who confusion --confusion-of results.json    # who confuse what real people confused
    python simulate_people.py --who network                 # the taught student (train_*_CMaxGrad.py --save-students)

Reads: the key of the course page (--key); with --who confusion, answers of people; with --who network, the network and the images.

Writes: <out>/answers_simulated.json, in the form of the server's export, for label_butterflies.py and label_gull.py, and
run_simulate_people.json.

Takes: a few seconds; with --who network, as long as the network looks at the images. Not measured on a GPU.
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
from utils.people.answers import read_answers
from utils.people.page_key import Key, read_key
from utils.people.simulated import crowd, estimated, one_person, symmetric
from utils.running.launch import launch
from utils.running.settings import chosen_dataset
from utils.training import evaluation
from utils.training.features import FeatureMaps


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    key: str = "{out}/course_page_key.json"  # key of the course page, which says what there is to answer
    # people
    who: Literal["accuracy", "confusion", "network"] = (
        "accuracy"  # answers: right so often, confused as people do, or a network's own
    )
    accuracy: tuple[float, ...] = (
        0.8,
    )  # accuracy alone: share of right answers, 0 .. 1, errors spread evenly; people take these in turn
    confusion_of: tuple[str, ...] = ()  # confusion alone: answer files of real people, whose confusion matrix is copied
    checkpoint: str = "{out}/student_CMaxGrad.pth.tar"  # network alone: the network; {out} stands for the output folder
    image_size: int = 224  # side of the images that the network sees, in pixels
    batch_size: int = 64  # images per forward pass
    # study
    people: int = 20  # how many people; a network is always one
    labels_per_image: int = 3  # how many people label each image
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # same seed, same machine: same bytes
    workers: int = default_workers()  # threads that read and write pictures; no result depends on them
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1


def network_answers(cfg: Config, key: Key, dataset: Dataset) -> dict[str, list[int]]:
    """What the network answers to every image of the test and of the labelling part."""
    network = load_classifier(cfg.checkpoint, dataset.classes).to(cfg.device)
    answers = {}
    for phase in ("test", "label"):
        rows = [Example(image.path, 0, image.index) for image in key.of_phase(phase).values()]
        images = ImageSet(rows, cfg.key, cfg.data_root, partial(eval_view, size=cfg.image_size))
        answers[phase] = evaluation.predict(
            FeatureMaps(network, images, cfg.batch_size, cfg.workers, cfg.device)
        ).tolist()
    return answers


def unanswered(key: Key, people: list[dict]) -> int:
    """How many images of the test and of the labelling part nobody answered to."""
    asked = key.of_phase("test") | key.of_phase("label")
    return len(set(asked) - {trial["stimulus"] for person in people for trial in person["trials"]})


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    key = read_key(cfg.key, dataset.name, dataset.classes)
    if cfg.who == "network":
        export = one_person(key, dataset.name, network_answers(cfg, key, dataset), cfg.seed)
    else:
        if cfg.who == "accuracy":
            matrices = [symmetric(accuracy, len(dataset.classes)) for accuracy in cfg.accuracy]
        else:
            matrices = [estimated(read_answers(cfg.confusion_of, key, len(dataset.classes)), dataset.classes)]
        matrices = [matrices[person % len(matrices)] for person in range(cfg.people)]
        export = crowd(key, dataset.name, matrices, cfg.labels_per_image, cfg.seed)
    path = Layout(Path(cfg.out)).simulated_answers
    processes.first_only(write_json)(path, export)
    people = export["participants"]
    processes.say(f"{len(people)} simulated people: {path}")
    if unasked := unanswered(key, people):
        processes.say(f"Nobody answered to {unasked} images of the page: their classes are unknown.")
    return {"people": len(people), "answers": sum(len(person["trials"]) for person in people)}


if __name__ == "__main__":
    launch(main, Config, __doc__)
