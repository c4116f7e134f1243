"""Measures speed and memory against the released procedure and against limits, on the same images.

    make bench
    python -m benchmarks.bench --dataset butterflies_s300 --images 300 --baseline-images 1 --rounds 2
    python -m benchmarks.bench --device cuda --dataset butterflies_s300 --images 300 --batch-size 64

The released procedure is benchmarks/baseline.py. A limit is one bare forward pass per image (for margins also the
backward passes), decoding each image once and encoding each picture once. Every round runs everything once, so a
machine that slows down slows it all. Ratios are medians over the rounds.

Reads: the dataset's training and test lists and their images, and the weights of --pretrained.

Writes: <out>/bench.txt, the tables, and <out>/bench.json, all times. Uses about 2 GB of disk while it runs.

Takes: about ten minutes on 2 CPU cores. Not measured on a GPU. Memory is measured on Linux only.
"""

import contextlib
import io
import multiprocessing
import platform
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks import baseline
from models.resnet import Arch, Network, build
from models.weights import load_backbone
from train_butterflies_CMaxGrad import Config as Teaching
from utils.base.errors import InputError
from utils.base.files import encode_png, output_folder, write_json, write_text
from utils.base.machine import default_workers, processors, side_by_side
from utils.base.randomness import generator, make_repeatable
from utils.data.images import eval_view, whole_view
from utils.data.lists import Example, locate
from utils.data.loading import ImageSet, open_list, to_float
from utils.data.outputs import TEACHING_SIZE, Layout
from utils.explanations.explain_list import ExplainSettings, explain_list
from utils.running.launch import command
from utils.running.records import git_commit
from utils.running.resuming import Unfinished
from utils.running.settings import chosen_dataset, parse, pick, resolve
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.registry import make_selector
from utils.teaching.selector import Look, Seen, Survey
from utils.teaching.sgd import SGDStudent
from utils.teaching.student import StudentSettings, make_network

ARCH: Arch = "resnet18"
BATCHES, TRIED_ON = (8, 16, 32), 32  # batch sizes of the bare forward pass; images to find the fastest
LESSONS = 20
SHARED = ("pretrained", "image_size", "batch_size", "seed", "workers", "device")  # settings of students
MEMORY_SIDE = 64  # pixels; memory is measured with small images
ROOM = 1.1  # explaining ten times as many images may take this times the memory

Work = Callable[[Path], object]  # takes an empty folder to write to


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "toy"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder with the dataset's folder; read only
    # how much is measured
    images: int = 150  # images to explain, and in the pool of the course
    baseline_images: int = 5  # images that the released procedure explains; its batches have 5
    rounds: int = 5  # repetitions
    many: int = 3000  # images to explain in the memory test, against a tenth of them
    pool_sizes: tuple[int, ...] = (300, 3000, 30000)  # random pools for one choice of KMaxGrad
    # model
    pretrained: str = "none"  # weights of teacher and student: imagenet, none (random), or a state dict file
    image_size: int = 224  # side of the images in pixels
    batch_size: int = 8  # images per forward pass
    # run
    out: str = "bench"  # output folder
    seed: int = 0  # of random weights and choices
    workers: int = default_workers()  # threads that read and write images
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1


def subset(images: ImageSet[Example], count: int, ram_budget: float = 0) -> ImageSet[Example]:
    """Returns `count` images of a list, evenly over its classes. Without a budget every access decodes."""
    by_class = sorted(images.rows, key=lambda row: row.label)
    rows = [by_class[place * len(by_class) // count] for place in range(count)]
    return ImageSet(rows, images.source, images.data_root, images.view, ram_budget=ram_budget)


def whole(images: ImageSet) -> Tensor:
    """Reads all images of a list, (N, 3, s, s)."""
    return torch.stack([images[number] for number in range(len(images))])


def explain(method: str, network: Network, images: ImageSet[Example], classes: Sequence[str], cfg, out: Path) -> Path:
    """Explains a list like the scripts, without progress bars. Returns the explanation list."""
    out.mkdir(exist_ok=True)
    size = images[0].shape[-1]
    how = ExplainSettings((TEACHING_SIZE,), size, cfg.batch_size, cfg.workers, cfg.device, method)
    unfinished = Unfinished(out / ".unfinished", {})
    unfinished.remove()
    unfinished.folder.mkdir(parents=True)
    with contextlib.redirect_stderr(io.StringIO()):
        explain_list(network, images, Layout(out, "list_gt"), classes, how, unfinished)
    unfinished.remove()
    return Layout(out, "list_gt").explanation_list()


# ---------------------------------------------------------------- limits


class BareForward:
    """The forward pass of a network only, with folded batch norm, in the fastest batch size.

    Args:
        network: in evaluation mode.
        images: floats (N, 3, s, s) on the network's device.
        device: where they are.
    """

    def __init__(self, network: Network, images: Tensor, device: str) -> None:
        self.network = network.folded()
        images = images.contiguous(memory_format=torch.channels_last)
        tried = images if device.startswith("cuda") else images[:TRIED_ON]
        times = {}
        for size in BATCHES:
            self.batches = tried.split(size)
            self()  # the first pass of a shape is slow
            times[size] = min(seconds(self, device) for _ in range(2))
        self.batches = images.split(min(times, key=lambda size: times[size]))

    @torch.inference_mode()
    def __call__(self) -> None:
        for batch in self.batches:
            self.network(batch)

    @torch.no_grad()
    def and_backward(self) -> None:
        """Adds the backward passes of margins: the gradients of all logits with respect to layer1."""
        for batch in self.batches:
            first = self.network.feature_map(batch, "layer1")
            logits, backward, *_ = torch.func.vjp(lambda x: self.network.from_layer(x, "layer1").logits, first)
            torch.vmap(backward)(torch.eye(logits.shape[1], device=logits.device)[:, None].expand(-1, len(batch), -1))


# ---------------------------------------------------------------- what is measured


def explaining(network: Network, images: ImageSet[Example], classes: Sequence[str], cfg, folder: Path) -> dict:
    """Explanations at one mask size, the released procedure, and the parts of the limits."""
    pictures = {}
    for method in ("scout", "margin"):
        explain(method, network, images, classes, cfg, folder / method)
        paths = sorted((folder / method).rglob("*_counter_*.png"))
        pictures[method] = [np.array(Image.open(path)) for path in paths]
    forward = BareForward(network, to_float(whole(images), cfg.device), cfg.device)
    few = subset(images, cfg.baseline_images)
    files, labels = [locate(row.path, few.data_root) for row in few.rows], few.labels.tolist()

    def released(sizes: tuple[float, ...], out: Path) -> None:
        baseline.explain(network, files, labels, len(classes), cfg.image_size, out, sizes)

    return {
        "forward": lambda _: forward(),
        "forward and backward": lambda _: forward.and_backward(),
        "decode": lambda _: in_threads(images.__getitem__, range(len(images)), cfg.workers),
        "encode scout": lambda _: in_threads(encode_png, pictures["scout"], cfg.workers),
        "encode margin": lambda _: in_threads(encode_png, pictures["margin"], cfg.workers),
        "scout": partial(explain, "scout", network, images, classes, cfg),
        "margin": partial(explain, "margin", network, images, classes, cfg),
        "released": partial(released, baseline.SIZES),
        "released, one size": partial(released, (TEACHING_SIZE,)),
    }


def in_threads(work: Callable, items: Sequence, workers: int) -> None:
    deque(side_by_side(work, items, workers), maxlen=0)


def teaching(images: ImageSet[Example], test: ImageSet[Example], ce_list: Path, num_classes: int, cfg) -> dict:
    """A course of the optimal student by KMaxGrad, and a lesson of the student as published by CMaxGrad.

    Images and masks are in memory. Limit of both: one forward pass over the pool and the test list.
    """
    pool = Pool(images, str(ce_list), num_classes, "attention", cfg.image_size)
    how = pick(StudentSettings, Teaching(**{name: getattr(cfg, name) for name in SHARED}))
    network = make_network(ARCH, num_classes, cfg.pretrained, cfg.seed, cfg.device)
    for row in range(len(pool.rows)):
        pool.weights(row, network.grid(cfg.image_size))
    floats = torch.cat([to_float(whole(some), cfg.device) for some in (images, test)])
    forward = BareForward(network, floats, cfg.device)
    # With this learning rate students with random weights do not change.
    student = SGDStudent(pool, test, True, replace(how, lr=1e-9))
    lessons = teach(student, make_selector("CMaxGrad", 0.5, cfg.seed), cfg.rounds)

    def course(_: Path) -> None:
        selector = make_selector("KMaxGrad", 0.5, cfg.seed)
        deque(teach(OptimalStudent(pool, test, True, how), selector, LESSONS), maxlen=0)

    return {"course": course, "lesson": lambda _: next(lessons), "pool and test": lambda _: forward()}


def random_pool(count: int, seed: int) -> Survey:
    """Returns a survey of `count` random images of 5 classes, with an explanation against every wrong class."""
    rng, classes, size = generator(seed), 5, 512
    labels = torch.arange(count) % classes
    table = torch.full((count, classes), -1)
    table[torch.arange(classes) != labels[:, None]] = torch.arange(count * (classes - 1))
    codewords = torch.randn(classes, size, generator=rng)

    def look(rows: int) -> Look:
        features = torch.randn(rows, size, generator=rng) / size**0.5
        return Look(features @ codewords.T, features)

    seen = Seen(look(count), codewords, look(count * (classes - 1)))
    return Survey(labels, table, lambda: seen)


def choice(count: int, seed: int) -> tuple[float, float]:
    """Returns the seconds of one choice of KMaxGrad in a random pool, and the peak memory in MB."""
    survey, selector = random_pool(count, seed), make_selector("KMaxGrad", 0.5, seed)
    seconds_of_choice = seconds(lambda: selector.choose(survey, torch.ones(count, dtype=torch.bool)), "cpu")
    return seconds_of_choice, peak_memory()


def peak_of_explaining(count: int, cfg) -> float:
    """Returns the peak memory in MB of a process that explains `count` images."""
    dataset = chosen_dataset(cfg)
    listed = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=MEMORY_SIDE)).rows
    rows = [Example(listed[n % len(listed)].path, listed[n % len(listed)].label, n) for n in range(count)]
    images = ImageSet(rows, "list", cfg.data_root, partial(whole_view, size=MEMORY_SIDE))
    with tempfile.TemporaryDirectory(dir=cfg.out) as folder:
        explain("margin", build(ARCH, len(dataset.classes)).eval(), images, dataset.classes, cfg, Path(folder))
    return peak_memory()


def peak_memory() -> float:
    """Returns the peak memory of this process in MB; 0 if the system does not say."""
    status = Path("/proc/self/status")  # getrusage would start with the peak of the parent process
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def in_new_process(function: Callable, *arguments: object):
    """Calls a function of a module in a new process and returns its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


# ---------------------------------------------------------------- timing and tables


def seconds(work: Callable[[], object], device: str) -> float:
    """Returns the wall time of a call, including what it left running on the GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def in_turn(works: dict[str, Work], rounds: int, device: str, folder: Path) -> dict[str, list[float]]:
    """Runs every work once per round in a new folder. Returns wall times by name."""
    times: dict[str, list[float]] = {name: [] for name in works}
    with tqdm(total=rounds * len(works), desc="measuring", unit="run") as progress:
        for _ in range(rounds):
            for name, work in works.items():
                # Folders stay until the end: some file systems are slow for minutes after many files were removed.
                times[name].append(seconds(partial(work, Path(tempfile.mkdtemp(dir=folder))), device))
                progress.update()
    return times


def row(name: str, times: dict[str, np.ndarray], ours: str, released: str = "", limit: str = "", least=None, most=None):
    """Returns a row of the table. A ratio is the median of the rounds' ratios.

    Args:
        name: what was measured.
        times: seconds per image, by round.
        ours, released, limit: names of times; "" if not measured.
        least, most: smallest ratio to the released procedure, largest ratio to the limit.
    """
    rates = [f"{1 / np.median(times[one]):.3g}" if one else "" for one in (ours, released, limit)]
    faster = round(float(np.median(times[released] / times[ours])), 2) if released else ""
    slower = round(float(np.median(times[ours] / times[limit])), 2) if limit else ""
    met = "" if least is most is None else "yes"
    if (least and faster < least) or (most and slower > most):
        met = "no"
    names = ("images/s", "ours", "released", "limit", "ours / released", "at least", "time / limit", "at most", "met")
    return dict(zip(names, (name, *rates, faster, least or "", slower, most or "", met), strict=True))


def table(rows: Sequence[dict]) -> str:
    """Returns rows as aligned text."""
    lines = [list(rows[0]), *([str(cell) for cell in one.values()] for one in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def speed_rows(took: dict[str, np.ndarray]) -> list[dict]:
    """Returns the rows of the table from seconds per image."""
    rows = []
    for method, passes, least in (("margin", "forward and backward", 40), ("scout", "forward", 50)):
        took[f"limit {method}"] = took["decode"] + took[passes] + took[f"encode {method}"]
        name = f"explanations by {method} (released: 30 mask sizes)"
        rows.append(row(name, took, method, "released", f"limit {method}", least, 1.25))
        rows.append(row("  the same (released: stopped at one size)", took, method, "released, one size"))
    course = f"course of {LESSONS} lessons, optimal student"
    rows.append(row(course, took, "course", limit="pool and test", most=1.5))
    return [*rows, row("one lesson, student as published", took, "lesson", limit="pool and test")]


def measure_speed(cfg: Config, folder: Path) -> tuple[list[dict], dict[str, list[float]]]:
    """Returns the rows of the table and all times."""
    dataset = chosen_dataset(cfg)
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=cfg.image_size))
    test = open_list(dataset, "test", cfg.data_root, partial(eval_view, size=cfg.image_size), ram_budget=2.0)
    if not 1 <= cfg.baseline_images <= cfg.images <= len(images):
        raise InputError(f"--images {cfg.images} must be --baseline-images .. {len(images)}, the length of the list.")
    network = build(ARCH, len(dataset.classes))
    load_backbone(network, cfg.pretrained)
    network.to(cfg.device).eval()
    works = explaining(network, subset(images, cfg.images), dataset.classes, cfg, folder)
    ce_list = Layout(folder / "margin", "list_gt").explanation_list()
    works |= teaching(subset(images, cfg.images, 2.0), test, ce_list, len(dataset.classes), cfg)
    times = in_turn(works, cfg.rounds, cfg.device, folder)
    counts = dict.fromkeys(("released", "released, one size"), cfg.baseline_images)
    counts |= dict.fromkeys(("course", "lesson", "pool and test"), cfg.images + len(test))
    return speed_rows({name: np.array(values) / counts.get(name, cfg.images) for name, values in times.items()}), times


def machine(device: str) -> str:
    """Describes processor, cores, threads, PyTorch and GPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    gpu = f", {torch.cuda.get_device_name(device)}" if device.startswith("cuda") else ""
    return f"{cpu}{gpu}, {processors()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main(cfg: Config) -> None:
    out = output_folder(cfg.out)
    make_repeatable(cfg.seed)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        rows, times = measure_speed(cfg, Path(folder))
    peaks = [in_new_process(peak_of_explaining, count, cfg) for count in (cfg.many // 10, cfg.many)]
    met = "met" if peaks[1] <= ROOM * peaks[0] else "missed"
    choices = [in_new_process(choice, count, cfg.seed) for count in cfg.pool_sizes]
    text = f"{machine(cfg.device)}\n{table(rows)}\n"
    text += f"Memory to explain {cfg.many // 10} and {cfg.many} images: {peaks[0]:.0f} and {peaks[1]:.0f} MB "
    text += f"(at most {ROOM} times as much: {met}).\n"
    for size, (wall, peak) in zip(cfg.pool_sizes, choices, strict=True):
        text += f"One choice of KMaxGrad from {size} images: {wall:.2f} s, {peak:.0f} MB.\n"
    write_text(out / "bench.txt", text)
    record = {"settings": asdict(cfg), "git_commit": git_commit(), "machine": machine(cfg.device), "rows": rows}
    write_json(out / "bench.json", record | {"seconds": times, "memory_mb": peaks, "choices": choices})
    print(f"{text}Saved: {out / 'bench.txt'}, {out / 'bench.json'}")


if __name__ == "__main__":
    with command("bench.py"):
        main(resolve(parse(Config, __doc__, program="python -m benchmarks.bench")))
