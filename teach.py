"""Builds the page on which people take a course (Wang & Vasconcelos, ICCV 2021, step 3), are tested and label images.

    python teach.py
    python teach.py --dataset gull --selection random

Reads: the course of train_*_CMaxGrad*.py; test and rest images.
Writes: in <out>, course_page/, course_page_key.json (keep it from participants) and run_teach.json.
Takes: about 5 seconds for butterflies_s300, whose page has 1,244 pictures to label. No GPU is used.
"""

from dataclasses import dataclass
from typing import Literal

from utils.base.machine import default_workers
from utils.people.course_page import CoursePage, find_course
from utils.people.page_key import write_key
from utils.running.launch import launch
from utils.running.settings import chosen_dataset
from utils.teaching.registry import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    # course
    selection: Literal["auto", Selection] = "auto"  # selection of the course; auto: the only course in --out
    simclr: bool = False  # teach the course of the SimCLR variant
    # page
    test_images: int = 20  # pictures of the test, balanced over classes
    label_images: int = 0  # pictures to label, drawn from the dataset's rest list; 0 takes all
    image_size: int = 384  # longer side of the page's pictures in pixels; smaller ones stay as they are
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # draws the pictures and names them; same seed: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout, selection = find_course(dataset, cfg.out, cfg.selection, cfg.simclr)
    course = layout.course(selection)
    page = CoursePage(dataset, course, cfg.data_root, cfg.image_size, cfg.test_images, cfg.label_images, cfg.seed)
    build_id = page.write(layout, cfg.workers)
    write_key(layout, dataset, selection, build_id, page.images, page.explanations)
    return page.report(layout, build_id)


if __name__ == "__main__":
    launch(main, Config, __doc__)
