"""Measures three limits on this machine: speed of explanations, their memory, and speed of a course.

    make bench
    python -m benchmarks.bench --device cuda --dataset butterflies_s300 --batch-size 64

- Explanations by margins are at least 30 times as fast as the released procedure (benchmarks/baseline.py), and at least
  40 times without their faithfulness.
- Explaining ten times as many images takes at most 1.1 times the memory. Measured on Linux only.
- A course takes at most 1.5 times as long as one forward pass over the pool and the test list.

Every round runs everything once, so load on the machine affects both sides. Ratios are medians over the rounds.

Reads: the dataset's training and test lists and their images, and the weights of --pretrained.

Writes: <out>/bench.txt, and <out>/bench.json with all times. Uses about 1 GB of disk while it runs.

Takes: about ten minutes on 2 CPU cores. Not measured on a GPU.
"""

import contextlib
import io
import multiprocessing
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import trange

from benchmarks import baseline
from models.resnet import Arch, Network, build
from models.weights import load_backbone
from train_butterflies_CMaxGrad import Config as Teaching
from utils.base.files import output_folder, write_text
from utils.base.machine import default_workers, keep_freed_memory, processors
from utils.base.randomness import make_repeatable
from utils.data.images import eval_view, whole_view
from utils.data.lists import Example, locate
from utils.data.loading import ImageSet, open_list, to_float
from utils.data.outputs import TEACHING_SIZE, Layout
from utils.explanations.explain_list import ExplainSettings, explain_list, spread
from utils.running.launch import command
from utils.running.records import write_run_record
from utils.running.resuming import Unfinished
from utils.running.settings import chosen_dataset, parse, pick, resolve
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.registry import make_selector
from utils.teaching.student import StudentSettings, make_network

ARCH: Arch = "resnet18"
LESSONS = 20
FASTER = {"margins with faithfulness": 30, "margins": 40}  # than the released procedure
MEMORY, COURSE = 1.1, 1.5  # the other limits
MET = ("missed", "met")
MEMORY_SIDE = 64  # pixels; memory is measured with small images


@dataclass(frozen=True)
class Config:
    # data
    dataset: str = "toy"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder with the dataset's folder; read only
    # how much is measured
    baseline_images: int = 5  # images that the released procedure explains; its batches have 5
    rounds: int = 5  # repetitions
    many: int = 3000  # images to explain in the memory test, compared with a tenth of them
    # model
    pretrained: str = "none"  # weights of teacher and student: imagenet, none (random), or a state dict file
    image_size: int = 224  # side of the images in pixels
    batch_size: int = 8  # images per forward pass
    # run
    out: str = "bench"  # output folder
    seed: int = 0  # of random weights and choices
    workers: int = default_workers()  # threads that read and write images
    device: str = "auto"  # auto (a GPU if there is one), cpu, cuda, cuda:1


def explain(
    network: Network, images: ImageSet[Example], classes: Sequence[str], cfg: Config, out: Path, faithful: bool = True
) -> str:
    """Explains a list like the scripts, without progress bars. Returns the path of the explanation list."""
    layout = Layout(out, "list_gt")
    sizes, side = (TEACHING_SIZE,), images[0].shape[-1]
    how = ExplainSettings(sizes, side, cfg.batch_size, cfg.workers, cfg.device, faithfulness=faithful)
    unfinished = Unfinished(out / ".unfinished", {})
    unfinished.folder.mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        explain_list(network, images, layout, classes, how, unfinished)
    return str(layout.explanation_list())


def seconds(work: Callable[[], object], device: str) -> float:
    """Returns the wall time of a call, including what it left running on the GPU."""
    wait = partial(torch.cuda.synchronize, device) if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def measure_speed(cfg: Config, folder: Path) -> dict[str, np.ndarray]:
    """Returns seconds per image of each work, by round.

    Images and masks of the course are in memory. Its student, the optimal one, is taught by KMaxGrad.
    """
    dataset, view = chosen_dataset(cfg), partial(whole_view, size=cfg.image_size)
    images = open_list(dataset, "train", cfg.data_root, view)  # every access decodes
    kept = open_list(dataset, "train", cfg.data_root, view, ram_budget=2.0)
    test = open_list(dataset, "test", cfg.data_root, partial(eval_view, size=cfg.image_size), ram_budget=2.0)
    teacher = build(ARCH, len(dataset.classes))
    load_backbone(teacher, cfg.pretrained)
    teacher.to(cfg.device).eval()
    few = [images.rows[number] for number in spread(len(images), cfg.baseline_images)]
    files, labels = [locate(row.path, cfg.data_root) for row in few], [row.label for row in few]

    def released(out: Path) -> None:
        baseline.explain(teacher, files, labels, len(dataset.classes), cfg.image_size, out)

    shared = ("pretrained", "image_size", "batch_size", "seed", "workers", "device")
    how = pick(StudentSettings, Teaching(**{name: getattr(cfg, name) for name in shared}))
    student = make_network(how, len(dataset.classes))
    ce_list = explain(teacher, images, dataset.classes, cfg, Path(tempfile.mkdtemp(dir=folder)))
    pool = Pool(kept, ce_list, len(dataset.classes), "attention", cfg.image_size)
    for number in range(len(pool.rows)):
        pool.weights(number, student.grid(cfg.image_size))
    pixels = torch.stack([some[number] for some in (kept, test) for number in range(len(some))])
    pixels = to_float(pixels, cfg.device).contiguous(memory_format=torch.channels_last)
    folded = student.folded()

    def course(_: Path) -> None:
        lessons = teach(OptimalStudent(pool, test, True, how), make_selector("KMaxGrad", 0.5, cfg.seed), LESSONS)
        deque(lessons, maxlen=0)

    @torch.inference_mode()
    def forward(_: Path) -> None:
        for batch in pixels.split(cfg.batch_size):
            folded(batch)

    ours = partial(explain, teacher, images, dataset.classes, cfg)
    works: dict[str, tuple[Callable[[Path], object], int]] = {
        "margins with faithfulness": (ours, len(images)),
        "margins": (partial(ours, faithful=False), len(images)),
        "released": (released, len(few)),
        "course": (course, len(pixels)),
        "forward": (forward, len(pixels)),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in trange(cfg.rounds, desc="measuring", unit="round"):
        for name, (work, count) in works.items():
            # Folders stay until the end: some file systems are slow for minutes after many files were removed.
            out = Path(tempfile.mkdtemp(dir=folder))
            times[name].append(seconds(partial(work, out), cfg.device) / count)
    return {name: np.array(walls) for name, walls in times.items()}


def peak_of_explaining(count: int, cfg: Config) -> float:
    """Returns the peak memory in MB of this process after explaining `count` images."""
    dataset, view = chosen_dataset(cfg), partial(whole_view, size=MEMORY_SIDE)
    listed = open_list(dataset, "train", cfg.data_root, view).rows
    rows = [Example(listed[n % len(listed)].path, listed[n % len(listed)].label, n) for n in range(count)]
    with tempfile.TemporaryDirectory(dir=cfg.out) as folder:
        images = ImageSet(rows, "list", cfg.data_root, view)
        explain(build(ARCH, len(dataset.classes)).eval(), images, dataset.classes, cfg, Path(folder))
    # VmHWM, since getrusage starts with the peak of the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def report(times: dict[str, np.ndarray], peaks: Sequence[float], many: int) -> str:
    """Returns the measurements as text. `peaks` are MB to explain a tenth of `many` images and all; may be empty."""
    rate = {name: f"{1 / np.median(walls):.3g} images/s" for name, walls in times.items()}
    slower = round(float(np.median(times["course"] / times["forward"])), 2)
    lines = [f"Released procedure (30 mask sizes): {rate['released']}."]
    for name, limit in FASTER.items():
        faster = round(float(np.median(times["released"] / times[name])), 1)
        lines.append(f"Explanations by {name}: {rate[name]}.")
        lines.append(f"  {faster} times as fast (at least {limit}: {MET[faster >= limit]})")
    lines += [
        f"Course of {LESSONS} lessons: {rate['course']}. Forward pass only: {rate['forward']}.",
        f"  {slower} times as long (at most {COURSE}: {MET[slower <= COURSE]})",
    ]
    if peaks:
        grown = round(peaks[1] / peaks[0], 2)
        lines.append(f"Memory to explain {many // 10} and {many} images: {peaks[0]:.0f} and {peaks[1]:.0f} MB.")
        lines.append(f"  {grown} times as much (at most {MEMORY}: {MET[grown <= MEMORY]})")
    return "".join(f"{line}\n" for line in lines)


def main(cfg: Config) -> None:
    out = output_folder(cfg.out)
    make_repeatable(cfg.seed)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        times = measure_speed(cfg, Path(folder))
    peaks = []
    if sys.platform == "linux":
        # A new process each, which starts like a script.
        with multiprocessing.get_context("spawn").Pool(1, keep_freed_memory, maxtasksperchild=1) as pool:
            peaks = pool.starmap(peak_of_explaining, [(cfg.many // 10, cfg), (cfg.many, cfg)], chunksize=1)
    text = f"{processors()} cores, {torch.get_num_threads()} threads, {cfg.device}, torch {torch.__version__}\n"
    text += report(times, peaks, cfg.many)
    write_text(out / "bench.txt", text)
    measured = {"seconds_per_image": {name: walls.tolist() for name, walls in times.items()}, "memory_mb": peaks}
    write_run_record([out / "bench.json"], "bench", cfg, {}, measured)
    print(f"{text}Saved: {out / 'bench.txt'}, {out / 'bench.json'}")


if __name__ == "__main__":
    with command("bench.py"):
        main(resolve(parse(Config, __doc__, program="python -m benchmarks.bench")))
