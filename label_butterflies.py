"""Labels the rest of the butterflies with the answers of people who took the course.

Step 4 of the framework (Wang & Vasconcelos, ICCV 2021): answers, collected by our server or Mechanical Turk, become one label per
image, by majority or by Dawid & Skene's model (1979), and the expert's images and these make the list that the classifier learns. The
model has one accuracy a person (one_coin), or C (C - 1) probabilities of taking one of C classes for another (dawid_skene).

    python label_butterflies.py
    python label_butterflies.py --answers batch_1.csv batch_2.csv --min-accuracy 0.6 --aggregation dawid_skene

Reads: files of answers (--answers), the key of the course page (--key) and the dataset's training list; no images.

Writes: below <out>, <name>_turker_label_gt..._<selection>_labeled_tr.txt, the expert's images and those that people labelled; the report
labels_<selection>.txt, .json, .csv, _confusion.png, _confusion.csv and _people.png; run_label_butterflies.json.

Takes: a few seconds for the answers of 20 people to 1,244 images. No GPU is used.

Next: python train_butterflies_resnet18.py --dataset butterflies_after_labeling
"""

from dataclasses import dataclass
from pathlib import Path

from utils.data.lists import read_examples
from utils.data.outputs import Layout
from utils.people.aggregation import Aggregation
from utils.people.answers import read_files
from utils.people.labelling import LabelSettings, aggregate_parts, check_course, describe_all, write_list
from utils.people.page_key import read_key_if_there
from utils.people.report import write_report
from utils.running.launch import launch
from utils.running.settings import chosen_dataset, pick
from utils.teaching.registry import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    answers: tuple[str, ...] = (
        "{out}/answers.json",
    )  # exports, downloads, Mechanical Turk batches, logs of explain_teach
    key: str = "{out}/course_page_key.json"  # key of the course page; logs of explain_teach need none
    selection: Selection = "CMaxGrad"  # the course that people took; the list is named after it
    # labels
    leave_out: tuple[str, ...] = ()  # people whose answers do not count, as the report calls them
    min_accuracy: float = 0.0  # leave out people who were right on less of the test, 0 .. 1; 0 keeps everybody
    aggregation: Aggregation = (
        "majority"  # majority; one_coin if some are worse; dawid_skene if each confuses classes of their own
    )
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # draws the labels that are tied


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout, how = Layout(Path(cfg.out), dataset.list_stem), pick(LabelSettings, cfg)
    expert = read_examples(dataset.list_path(cfg.data_root, "train"), len(dataset.classes))
    key = read_key_if_there(cfg.key, dataset.name, dataset.classes)
    reading = read_files(cfg.answers, key, len(dataset.classes), cfg.leave_out)
    check_course(reading.answers, key, cfg.selection)
    people = describe_all(reading.answers, cfg.min_accuracy)
    parts = aggregate_parts(reading.answers, people, len(dataset.classes), how)
    listed = write_list(layout.labeled_list(cfg.selection), expert, key, parts.get("label"), people, how)
    return write_report(layout, dataset, people, parts, how, listed, reading.left_out)


if __name__ == "__main__":
    launch(main, Config, __doc__)
