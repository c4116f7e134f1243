"""Networks and explanations that the tables need, made by the repository's scripts, and the tables' files."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from utils.base.files import write_png, write_table
from utils.data import toy_moths
from utils.data.catalog import find
from utils.data.images import whole_view
from utils.data.lists import Explanation, listed_path, write_explanations
from utils.data.loading import open_list, to_float
from utils.data.outputs import IMG, MASK, TEACHING_SIZE, Layout, explanation_name
from utils.explanations.localization import center, contrast, of_same_area
from utils.explanations.rendering import fill_outside
from utils.explanations.storage import listed_counters, read_masks

TOP = Path(__file__).resolve().parents[2]
MOTHS, BUTTERFLIES = "toy", "butterflies_s300"
SIDE, SIMCLR_SIDE = 224, 112  # image sizes in pixels
CONTROLS = {"disc": center, "contrast": contrast}  # masks with the areas of margin's, where these maps are largest
# A few minutes on 2 CPU cores. On moths the settings of `make demo`.
TEACHER = "--epochs 8 --milestones 5 7 --lr 0.01 --batch-size 32 --image-size 112 --eval-every 8"
TOY_TEACHER = "--epochs 12 --milestones 8 10 --lr 0.02 --batch-size 25 --image-size 160 --eval-every 4 --crop-scale 0.4"
HEAD = "--epochs 12 --milestones 8 10 --lr 0.03 --batch-size 32 --eval-every 12"  # takes as long as TEACHER
# SimCLR starts from scratch and uses all butterflies of the training list, without labels.
SIMCLR_DATASET, SIMCLR_EPOCHS = "butterflies", 20
SIMCLR = "--batch-size 64 --lr 3e-4 --temperature 0.1 --image-size 80 --crop-scale 0.2"


def run_script(cfg, name: str, dataset: str, out: Path, *flags: object) -> None:
    """Runs a script. If it fails, it has printed why, and this process ends with its exit status."""
    where = ("--dataset", dataset, "--out", out, "--data-root", data_root(cfg, dataset))
    shared = ("--seed", cfg.seed, "--workers", cfg.workers, "--device", cfg.device)  # `flags` override these
    words = [f"{name}.py", *map(str, (*where, *shared, *flags)), *(["--resume"] if cfg.resume else [])]
    print(f"running {shlex.join(words)}", flush=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(TOP / words[0]), *words[1:]], env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def save_table(cfg, name: str, rows: Sequence[dict]) -> None:
    """Writes <out>/<name>.csv and prints the rows as Markdown."""
    write_table(Path(cfg.out, f"{name}.csv"), rows)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    print(f"\n{name}\n\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n", flush=True)


@cache
def data_root(cfg, dataset: str) -> str:
    """Returns the data root of a dataset. Moths are drawn from the seed."""
    if dataset != MOTHS:
        return cfg.data_root
    root = Path(cfg.out, "work/moths")
    toy_moths.draw_toy_dataset(root, cfg.seed, force=True)
    return str(root)


def layout(cfg, dataset: str, stage: str, variant: str = "") -> Layout:
    stem = find(dataset, data_root(cfg, dataset)).list_stem
    return Layout(Path(cfg.out, "work", dataset, stage), stem, variant)


@cache
def teacher(cfg, dataset: str, second: bool = False) -> Layout:
    """Trains a teacher, or a second one with the next seed."""
    files = layout(cfg, dataset, "second_teacher" if second else "teacher")
    recipe = TOY_TEACHER.split() if dataset == MOTHS else [*TEACHER.split(), "--pretrained", cfg.pretrained]
    run_script(cfg, "train_butterflies_resnet18", dataset, files.out, *recipe, "--seed", cfg.seed + second)
    return files


@cache
def linear_head(cfg, dataset: str) -> Layout:
    """Trains a linear head on frozen features."""
    files = layout(cfg, dataset, "head")
    run_script(cfg, "train_gull_resnet18_linear", dataset, files.out, *HEAD.split(), "--pretrained", cfg.pretrained)
    return files


@cache
def simclr(cfg) -> Path:
    files = layout(cfg, SIMCLR_DATASET, "simclr")
    run_script(cfg, "train_butterflies_simclr", SIMCLR_DATASET, files.out, "--epochs", SIMCLR_EPOCHS, *SIMCLR.split())
    return files.simclr_network(SIMCLR_EPOCHS)


@cache
def explain(cfg, dataset: str, kind: str, from_simclr: bool = False) -> Layout:
    """Explains the training list by the teacher, or by a linear head on the SimCLR encoder.

    `kind`: `margin`, `unfocused` (margin with --focus 0), `scout`, or one of `CONTROLS`.
    """
    side = SIMCLR_SIDE if from_simclr else SIDE
    stage, variant = (f"simclr_{kind}", "simclr") if from_simclr else (kind, "")
    files = layout(cfg, dataset, stage, variant)
    if kind in CONTROLS:
        write_controls(cfg, dataset, kind, explain(cfg, dataset, "margin", from_simclr), files, side)
        return files
    network = simclr(cfg) if from_simclr else teacher(cfg, dataset).teacher
    script = "get_all_CE_butterflies_simclr" if from_simclr else "get_all_CE_butterflies"
    method = ("margin", "--focus", 0, "--no-faithfulness") if kind == "unfocused" else (kind,)
    run_script(cfg, script, dataset, files.out, "--checkpoint", network, "--image-size", side, "--explanation", *method)
    return files


def write_controls(cfg, dataset: str, kind: str, explained: Layout, files: Layout, side: int) -> None:
    """Writes copies of explanations with the masks of a control."""
    root = data_root(cfg, dataset)
    described = find(dataset, root)
    images = open_list(described, "train", root, partial(whole_view, size=side))
    pictures, masks = (files.explanations(what, TEACHING_SIZE) for what in (IMG, MASK))
    pictures.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    listed = []
    counters = listed_counters(explained, images.rows, len(described.classes))
    for number, (row, classes) in enumerate(zip(images.rows, counters, strict=True)):
        marked, image = read_masks(explained, row, classes, TEACHING_SIZE), images[number][None]
        controls = of_same_area(marked, CONTROLS[kind](to_float(image, "cpu")))  # (B, s, s)
        filled = fill_outside(image.expand(len(controls), -1, -1, -1), controls)  # (B, 3, s, s)
        for counter, inside, picture in zip(classes, controls, filled, strict=True):
            name = explanation_name(row.path, row.label, counter, row.index)
            write_png(masks / name, inside.to(picture.dtype).expand(3, -1, -1) * 255)
            write_png(pictures / name, picture)
            listed.append(Explanation(listed_path(pictures / name), row.label, counter, row.index))
    write_explanations(files.explanation_list(), listed)
