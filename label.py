"""Labels the rest of a dataset with the answers of people who took the course.

Step 4 (Wang & Vasconcelos, ICCV 2021). A model combines the answers with what the teacher believes about the images and
with how reliable each person is.

    python label.py
    python label.py --dataset gull --answers batch_1.csv batch_2.csv --min-accuracy 0.6 --aggregation majority
    python train_butterflies_resnet18.py --dataset butterflies_after_labeling   # next

Reads: answer files (--answers); the keys of the course pages (--key) and teacher_features.npz next to the first;
the training list.
Writes: in <out>, <name>_turker_label_gt..._<selection>_labeled_tr.txt, the list to train on; the report
labels_<selection>.txt, .json, .csv, _confusion.png and _confusion.csv; run_label.json.
Takes: about 15 seconds for 20 people and 1,244 images with 5 answers each. No GPU is used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.data.lists import read_examples
from utils.data.outputs import Layout
from utils.people import labelling
from utils.people.aggregation import Aggregation
from utils.people.answers import read_answers
from utils.people.conditions import compare_conditions, first_tests
from utils.people.page_key import read_keys
from utils.people.report import write_report
from utils.running.launch import launch
from utils.running.settings import chosen_dataset
from utils.teaching.registry import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    answers: tuple[str, ...] = ("{out}/answers.json",)  # exports, downloads, Mechanical Turk or explain_teach files
    key: tuple[str, ...] = ("{out}/course_page_key.json",)  # keys of all course pages; explain_teach logs need none
    selection: Literal["auto", Selection] = "auto"  # course that people took; auto: the one that the key names
    # labels
    leave_out: tuple[str, ...] = ()  # people whose answers do not count; names as in the report
    min_accuracy: float = 0.0  # share of right test answers that a person needs, 0 .. 1; 0 keeps everyone
    aggregation: Literal["auto", Aggregation] = "auto"  # auto: teacher if teach.py stored it, else dawid_skene
    fixed_teacher: bool = False  # teacher only: people's labels do not teach the teacher
    min_certainty: float = 0.0  # certainty that a label needs to enter the list, 0 .. 1; 0 takes all
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # draws ties and the permutations of the test


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem)
    expert = read_examples(dataset.list_path(cfg.data_root, "train"), len(dataset.classes))
    key = read_keys(cfg.key, dataset.name, dataset.classes)
    answers, left_out = read_answers(cfg.answers, key, cfg.leave_out)
    selection = labelling.course_of(cfg.selection, key)
    features = Layout(Path(key.path).parent).teacher_features
    how = labelling.choose_aggregator(cfg.aggregation, features, key, cfg.seed, cfg.fixed_teacher, answers)
    people = labelling.describe_all(answers, cfg.min_accuracy)
    parts = labelling.aggregate_parts(answers, people, key, how)
    about = {"selection": selection, "simclr": key.simclr, "aggregation": how.method, "min_accuracy": cfg.min_accuracy}
    about |= labelling.write_list(layout.labeled_list(selection), expert, key, parts, cfg.min_certainty)
    about |= compare_conditions(labelling.describe_all(first_tests(answers), 0), cfg.seed)
    return write_report(layout, dataset, people, parts, about, left_out)


if __name__ == "__main__":
    launch(main, Config, __doc__)
