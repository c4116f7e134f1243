"""Builds the page on which people take the gull course: lessons with their explanations, a test, and pictures to label.

MEMORABLE (Wang & Vasconcelos, ICCV 2021): people who took the course label what the experts left. Run train_gull_CMaxGrad.py first:
its course is what the page teaches.

    python teach_gull.py
    python teach_gull.py --selection random

Reads: the course that train_gull_CMaxGrad.py wrote and its pictures; the dataset's test and rest lists and their images.

Writes: below <out>, course_page/ (open index.html by double click, or serve it with collect_labels.py) and, beside it,
course_page_key.json, which tells what each picture is and must not be given to participants; run_teach_gull.json.

Takes: a few seconds. No GPU is used.
"""

from dataclasses import dataclass
from pathlib import Path

from utils.base.machine import default_workers
from utils.data.outputs import Layout
from utils.people.course_page import OpaquePictures, PageSettings, compose_page, report_page, write_page
from utils.people.page_key import write_key
from utils.running.launch import launch
from utils.running.settings import chosen_dataset, pick
from utils.teaching.course import read_course
from utils.teaching.registry import Selection


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "gull"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    # course
    selection: Selection = "CMaxGrad"  # the course to teach, by how its lessons were picked
    simclr: bool = False  # teach the course of the SimCLR variant
    # page
    test_images: int = 20  # pictures of the test, evenly many of each class
    label_images: int = 0  # pictures to label, drawn from the dataset's rest list; 0 takes all
    image_size: int = 384  # longer side of the page's pictures in pixels; smaller ones stay as they are
    # run
    out: str = "auto"  # output folder; auto: named after the dataset
    seed: int = 0  # draws the pictures and names them; same seed: same bytes
    workers: int = default_workers()  # threads that read and write pictures; no result depends on them


def main(cfg: Config) -> dict:
    dataset = chosen_dataset(cfg)
    layout = Layout(Path(cfg.out), dataset.list_stem, "simclr" if cfg.simclr else "")
    source = layout.course(cfg.selection)
    lessons = read_course(source, dataset)["lessons"]
    pictures = OpaquePictures(cfg.seed, source.read_bytes())
    page = compose_page(dataset, source, lessons, pictures, pick(PageSettings, cfg))
    build_id = write_page(layout, page, pictures, cfg.workers)
    write_key(layout, dataset, cfg.selection, build_id, pictures.images, pictures.explanations)
    return report_page(layout, page, pictures, build_id)


if __name__ == "__main__":
    launch(main, Config, __doc__)
