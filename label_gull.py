"""Labels the rest of the gulls with the answers of people who took the course.

Step 4 of the framework (Wang & Vasconcelos, ICCV 2021): answers, collected by our server or Mechanical Turk, become one label per
image, by majority or by Dawid & Skene's model (1979), and the expert's images and these make the list that the classifier learns.

    python label_gull.py
    python label_gull.py --answers batch_1.csv batch_2.csv --min-accuracy 0.6 --aggregation dawid_skene

Writes <out>/<list>_<selection>_labeled_tr.txt and the report labels_<selection>.json, .txt, .csv, _confusion.png and _people.png.
Next: python train_gull_resnet18_linear.py --dataset gull_after_labeling
"""

from dataclasses import dataclass

from utils.people.aggregation import Aggregation
from utils.people.labelling import run_labelling
from utils.running.launch import launch
from utils.teaching.selection import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a name of utils/data/catalog.py, or your own: the one that the course page was built for
    data_root: str = "datasets"  # folder that holds the dataset's folder
    answers: tuple[str, ...] = ("{out}/answers.json",)  # exports, downloads, Mechanical Turk batches, explain_teach logs
    key: str = "{out}/course_page_key.json"  # key of the course page; logs of explain_teach need none
    selection: Selection = "CMaxGrad"  # the course that people took; it names the list
    # labels
    min_accuracy: float = 0.0  # leave out who was less right on the test part, 0 .. 1; 0 keeps everybody
    aggregation: Aggregation = "majority"  # or dawid_skene, better where some people are much worse than others
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # draws the labels that are tied


def main(cfg: Config) -> dict:
    return run_labelling(cfg)


if __name__ == "__main__":
    launch(main, Config, __doc__)
