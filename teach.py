"""Builds the page on which people take a course (Wang & Vasconcelos, ICCV 2021, step 3), are tested and label images.

    python teach.py
    python teach.py --dataset gull --selection random
    python teach.py --consent consent.md --language german.json
    python teach.py --course-folder butterflies --out plain --no-explanations
    python teach.py --pass-mark 0.7   # people below it get extra lessons and a second test before they may label

Reads: the course of train_*_CMaxGrad*.py; the expert's, test and rest images; the weights that the course names.
Writes: in <out>, course_page/; course_page_key.json and teacher_features.npz (keep both from participants);
run_teach.json.
Takes: about 5 seconds for the page of butterflies_s300, and 110 seconds of CPU time for the features of
its 1,929 images.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from utils.base.machine import default_workers
from utils.people.course_page import CoursePage, find_course
from utils.people.extra_lessons import extra_lessons
from utils.people.teacher import load_network, store_teacher
from utils.running.launch import launch
from utils.running.settings import chosen_dataset
from utils.teaching.course import read_course
from utils.teaching.registry import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    # course
    selection: Literal["auto", Selection] = "auto"  # selection of the course; auto: the only course in --out
    simclr: bool = False  # teach the course of the SimCLR variant
    course_folder: str = "{out}"  # output folder of the script that made the course
    explanations: bool = True  # mark what to look at; --no-explanations: whole pictures without borders
    outlined_share: float = 0.75  # explanations outlined for people, the most faithful ones; 1: all, as published
    # page
    test_images: int = 20  # pictures of the test, balanced over classes
    pass_mark: float = 0.0  # share of right test answers that people need, 0 .. 1; 0: no pass mark, no extra lessons
    extra_lessons: int = 20  # with a pass mark: lessons to prepare for each class; people get those that they need
    label_images: int = 0  # pictures to label, drawn from the dataset's rest list; 0 takes all
    gold_images: int = 0  # further test pictures, hidden among those to label, balanced over classes
    image_size: int = 384  # longer side of the page's pictures in pixels; smaller ones stay as they are
    consent: str = ""  # consent form (text or Markdown) that people must agree to first
    completion_url: str = ""  # without a server: where people go at the end; the page shows its code (?cc=CODE)
    screen_out_url: str = ""  # without a server: where people go who do not reach the pass mark
    language: str = ""  # translation of utils/people/page/language.json; without it the page is in English
    # teacher, which knows a part of the labels before people answer
    pretrained: str = "auto"  # its weights: those of the course (auto), imagenet, none (no teacher), or a checkpoint
    batch_size: int = 64  # images per forward pass
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # draws the pictures and names them; same seed: same bytes
    workers: int = default_workers()  # threads that read and write images; they never change a result
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    found, selection = find_course(dataset, cfg.course_folder, cfg.selection, cfg.simclr)
    source, layout = found.course(selection), replace(found, out=Path(cfg.out))
    course = {"ce_list": str(found.explanation_list())} | read_course(source, dataset)
    network = load_network(course, cfg)  # before the page, because --pretrained may be wrong
    page = CoursePage(dataset, source, course, cfg)
    if cfg.pass_mark:
        page.add_pass_mark(lambda shown: extra_lessons(course, shown, dataset, cfg))
    measured = page.write(layout, selection) or {}
    return measured | store_teacher(layout, dataset, network, cfg)


if __name__ == "__main__":
    launch(main, Config, __doc__)
