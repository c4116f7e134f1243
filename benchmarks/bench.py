"""How fast is it? Ours, the released procedure and the limits, measured in one run on the same images, in turn.

    make bench
    python -m benchmarks.bench --dataset butterflies_s300 --data-root ../shared/data
    python -m benchmarks.bench --device cuda --dataset butterflies_s300 --images 300 --pool 300 --test-images 386 --batch-size 64

The released procedure is benchmarks/baseline.py. The limits are what no implementation can avoid: one bare forward pass of the network
for each image (inference mode, the best of several batch sizes and memory formats, batch norm folded where that helps), decoding each
image once, encoding each written PNG once (in memory). Round after round each takes its turn, so that a machine that slows down slows
them all; medians count.

Reads: the dataset's training and test lists and their images; weights, where --pretrained names some.

Writes: <out>/bench.txt, the table, and <out>/bench.json, with all times; until it has ended it takes 2 GB of disk.

Takes: seven to fifteen minutes on 2 CPU cores. Not measured on a GPU.
"""

import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.course import Course
from benchmarks.explanations import Explanations
from benchmarks.lesson import ARCH, Lesson
from benchmarks.report import Row, machine, table
from benchmarks.timing import in_turn
from models.resnet import build
from models.weights import load_backbone
from utils.base.errors import InputError
from utils.base.files import output_folder, write_json, write_text
from utils.base.machine import default_workers
from utils.base.randomness import make_repeatable
from utils.data.images import eval_view, whole_view
from utils.data.loading import ImageSet, open_list
from utils.running.launch import command
from utils.running.records import git_commit
from utils.running.settings import chosen_dataset, parse, resolve


@dataclass(frozen=True)
class Config:
    """What is measured, and on what."""

    # data
    dataset: str = "toy"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that holds the dataset's folder; it is only read
    # how much is measured
    images: int = 150  # images mapped, and explained at one mask size
    images_30: int = 16  # images explained at the 30 mask sizes
    baseline_images: int = 5  # images that the released procedure explains; its batches hold 5
    pool: int = 50  # images that a course scores, with all their explanations; the butterflies' has 300
    test_images: int = 50  # images of the test list that it looks at; the butterflies have 386
    lessons: int = 0  # lessons before those that are measured
    rounds: int = 5  # turns that each takes
    # model
    pretrained: str = (
        "none"  # what teacher and student start from: imagenet, none (random weights), or the path of a state dict
    )
    image_size: int = 224  # side of the images that the network sees, in pixels
    batch_size: int = 8  # images per forward pass, of ours
    # run
    out: str = "bench"  # output folder
    seed: int = 0  # of weights and of the choice of lessons
    workers: int = default_workers()  # threads that read and write pictures; no result depends on them
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1


def check_counts(cfg: Config, images: ImageSet, test: ImageSet) -> None:
    """Proves that there are as many images as are to be measured.

    Raises:
        InputError: naming the setting.
    """
    pairs = (
        2 * len(set(images.labels.tolist())) * (cfg.lessons + cfg.rounds)
    )  # images that never leave a class of the pool empty
    bounds = {"rounds": (1, 1000), "lessons": (0, 1000), "pool": (pairs, len(images)), "test_images": (1, len(test))}
    bounds |= {name: (1, len(images)) for name in ("images", "images_30", "baseline_images")}
    for name, (least, most) in bounds.items():
        if not least <= getattr(cfg, name) <= most:
            raise InputError(
                f"--{name.replace('_', '-')} {getattr(cfg, name)} must lie in {least} .. {most}; correct it."
            )


def measure(cfg: Config) -> tuple[list[Row], dict[str, dict[str, list[float]]]]:
    """The table's rows, and the times that they were made of."""
    dataset = chosen_dataset(cfg)
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=cfg.image_size), ram_budget=2.0)
    test = open_list(dataset, "test", cfg.data_root, partial(eval_view, size=cfg.image_size), ram_budget=2.0)
    check_counts(cfg, images, test)
    network = build(ARCH, len(dataset.classes))
    load_backbone(network, cfg.pretrained)
    network.to(cfg.device).eval()
    with tempfile.TemporaryDirectory(dir=cfg.out) as folder:
        explanations = Explanations(network, images, dataset.classes, cfg, Path(folder))
        parts: list[Explanations | Course | Lesson] = [
            explanations,
            Course(explanations.images, test, explanations.margins, len(dataset.classes), cfg),
            Lesson(network, images, test, dataset.classes, "attention", cfg, Path(folder)),
            Lesson(network, images, test, dataset.classes, "image", cfg, Path(folder)),
        ]
        works = {name: work for part in parts for name, work in part.works().items()}
        times = in_turn(works, cfg.rounds, cfg.device, folder)
    return [row for part in parts for row in part.rows(times)], times


def main(cfg: Config) -> None:
    """Measures and writes the table."""
    out = output_folder(cfg.out)
    make_repeatable(cfg.seed)
    rows, times = measure(cfg)
    tested = machine(cfg.device)
    text = f"{', '.join(f'{name} {value}' for name, value in tested.items())}; images/s:\n{table(rows)}\n"
    write_text(out / "bench.txt", text)
    record = {
        "settings": asdict(cfg),
        "git_commit": git_commit(),
        "machine": tested,
        "rows": [row.values() for row in rows],
    }
    write_json(out / "bench.json", record | {"seconds": times})
    print(f"{text}\nSaved: {out / 'bench.txt'}, {out / 'bench.json'}")


if __name__ == "__main__":
    with command("bench.py"):
        main(resolve(parse(Config, __doc__, program="python -m benchmarks.bench")))
