"""Builds the page on which people take the gull course: lessons with their explanations, a test, and pictures to label.

MEMORABLE (Wang & Vasconcelos, ICCV 2021): people who took the course label what the experts left. Run train_gull_CMaxGrad.py first:
its course is what the page teaches.

    python teach_gull.py
    python teach_gull.py --selection random

Writes course_page/ (open index.html by double click, or serve it with collect_labels.py) and, beside it, course_page_key.json, which
tells what each picture is and must not be given to participants.
"""

from dataclasses import dataclass

from utils.base.machine import default_workers
from utils.people.course_page import build_course_page
from utils.running.launch import launch
from utils.teaching.selection import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a name of utils/data/catalog.py, or your own
    data_root: str = "datasets"  # folder that holds the dataset's folder
    # course
    selection: Selection = "CMaxGrad"  # which course: how its lessons were picked
    simclr: bool = False  # the course of the SimCLR variant
    # page
    test_images: int = 20  # pictures of the test part, the same number of each class
    label_images: int = 0  # pictures of the labelling part, drawn from the dataset's rest list; 0 takes all
    image_size: int = 384  # longer side of the pictures in pixels; smaller ones stay as they are
    # run
    out: str = "auto"  # output folder, which holds the course; auto: named after the dataset
    seed: int = 0  # draws the pictures and names them; same seed: same bytes
    workers: int = default_workers()  # threads that encode


def main(cfg: Config) -> dict:
    return build_course_page(cfg)


if __name__ == "__main__":
    launch(main, Config, __doc__)
