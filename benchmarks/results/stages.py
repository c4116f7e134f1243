"""What several parts need and one of them makes first: datasets, teachers, the SimCLR encoder, explanations. Each runs a script of ours."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.results.disc import write_discs
from benchmarks.results.work import Work
from utils.data import toy_moths
from utils.data.catalog import DATASETS, Dataset, find, found_names
from utils.data.images import whole_view
from utils.data.lists import locate, read_examples
from utils.data.loading import open_list
from utils.data.outputs import Layout

BUTTERFLIES, MOTHS = "butterflies_s300", "toy"
EXPLAINED = (
    "scout",
    "margin",
    "disc",
)  # kinds of explanations: as published, ours, and the control: discs in place of our masks
# Settings of the teachers: a few minutes on 2 CPU cores; on the moths those of `make demo`.
PHOTOGRAPHS = "--epochs 8 --milestones 5 7 --lr 0.01 --batch-size 32 --image-size 112 --eval-every 8"
DRAWN = "--epochs 12 --milestones 8 10 --lr 0.02 --batch-size 25 --image-size 160 --eval-every 4 --crop-scale 0.4"
QUICK = "--epochs 2 --milestones 1 --lr 0.01 --batch-size 10 --image-size 64 --eval-every 2"
# SimCLR learns from all butterflies of the training list, without their labels, and from nothing: it takes no weights to start from.
SIMCLR_EPOCHS = 20
SIMCLR = "--batch-size 64 --lr 3e-4 --temperature 0.1 --image-size 80 --crop-scale 0.2"
SIMCLR_QUICK = "--batch-size 10 --image-size 64"
EXPLANATION_SIZE, SIMCLR_SIZE, QUICK_SIZE = 224, 112, 64  # sides of explanations' pictures, in pixels


def drawn_moths(folder: Path, seed: int) -> str:
    """A data root with the moths, drawn from `seed`; all of it is written or nothing."""
    root = folder / "moths"
    if not (root / toy_moths.FOLDER).exists():
        print("drawing moths", flush=True)
        toy_moths.draw_toy_dataset(root, seed)
    return str(root)


def absent(work: Work, dataset: str, splits: Sequence[str] = ("train", "test")) -> str:
    """Why nothing can be measured on a dataset, a sentence: lists or pictures of these splits are not in the data root. Empty where they
    are."""
    there = dataset in DATASETS or dataset in found_names(work.data_root)
    if there:
        described = find(dataset, work.data_root)
        lists = [described.list_path(work.data_root, split) for split in splits]
        there = all(path.exists() for path in lists) and all(
            Path(locate(read_examples(path, len(described.classes))[0].path, work.data_root)).exists() for path in lists
        )
    return "" if there else f"The dataset {dataset} was not in the data root, so nothing was measured on it."


def absent_simclr(work: Work) -> str:
    """As `absent`, of the pictures that SimCLR learns from."""
    return absent(work, _of_simclr(work), ("train",))


def _of_simclr(work: Work) -> str:
    return MOTHS if work.quick else "butterflies"


def found(work: Work, dataset: str) -> Dataset:
    """The dataset of this name."""
    return find(dataset, root(work, dataset))


def root(work: Work, dataset: str) -> str:
    """The data root that a dataset lies in: the moths are drawn for the results, from their seed."""
    return drawn_moths(work.folder, work.seed) if dataset == MOTHS else work.data_root


def layout(work: Work, dataset: str, stage: str, variant: str = "") -> Layout:
    """The files of a stage of a dataset, such as `teacher` or `margin`."""
    return Layout(work.folder / dataset / stage, found(work, dataset).list_stem, variant)


def teacher(work: Work, dataset: str, second: bool = False) -> Layout:
    """A teacher, trained on the dataset's training list; its network is `teacher` of the layout.

    Args:
        work: with what.
        dataset: its name; the moths' teacher begins from nothing, that of photographs from the generic features.
        second: another one, trained apart from the first: with the next seed.
    """
    files = layout(work, dataset, "second_teacher" if second else "teacher")
    train(work, dataset, files.out, "--seed", str(work.seed + second))
    return files


def train(work: Work, dataset: str, out: Path, *flags: str) -> None:
    """Trains a classifier as teachers are trained, into a folder; `flags` say what is other than a teacher's."""
    settings = QUICK if work.quick else DRAWN if dataset == MOTHS else PHOTOGRAPHS
    generic = [] if dataset == MOTHS else ["--pretrained", work.pretrained]
    where = ["--dataset", dataset, "--out", str(out), "--data-root", root(work, dataset)]
    work.script("train_butterflies_resnet18", *where, *generic, *settings.split(), *flags)


def simclr(work: Work) -> Path:
    """The SimCLR encoder, trained without labels: its checkpoint, as every --pretrained and --checkpoint takes it."""
    dataset, epochs = _of_simclr(work), 1 if work.quick else SIMCLR_EPOCHS
    files = layout(work, dataset, "simclr")
    settings = SIMCLR_QUICK if work.quick else SIMCLR
    work.script(
        "train_butterflies_simclr",
        "--dataset",
        dataset,
        "--out",
        str(files.out),
        "--epochs",
        str(epochs),
        *settings.split(),
    )
    return files.simclr_network(epochs)


def explanations(work: Work, dataset: str, kind: str) -> Layout:
    """Explanations of the dataset's training list by its teacher; `explanation_list` of the layout names them.

    Args:
        work: with what.
        dataset: its name.
        kind: one of `EXPLAINED`.
    """
    if kind == "disc":
        return discs(work, dataset, explanations(work, dataset, "margin"), side(work))
    files = layout(work, dataset, kind)
    where = ["--dataset", dataset, "--out", str(files.out), "--data-root", root(work, dataset)]
    how = ["--explanation", kind, "--checkpoint", str(teacher(work, dataset).teacher), "--image-size", str(side(work))]
    work.script("get_all_CE_butterflies", *where, *how)
    return files


def simclr_explanations(work: Work, dataset: str, kind: str) -> Layout:
    """As `explanations`, by a linear head on the SimCLR encoder."""
    if kind == "disc":
        return discs(work, dataset, simclr_explanations(work, dataset, "margin"), simclr_side(work))
    files = layout(work, dataset, f"simclr_{kind}", variant="simclr")
    where = [
        "--dataset",
        dataset,
        "--out",
        str(files.out),
        "--checkpoint",
        str(simclr(work)),
        "--image-size",
        str(simclr_side(work)),
    ]
    work.script(
        "get_all_CE_butterflies_simclr",
        *where,
        "--explanation",
        kind,
        *(["--probe-epochs", "20"] if work.quick else []),
    )
    return files


def discs(work: Work, dataset: str, explained: Layout, size: int) -> Layout:
    """Explanations with a disc in the middle of the picture in place of every mask of `explained`, of the same area, on `size` pixels."""
    files = Layout(explained.out.with_name(f"{explained.out.name}_disc"), explained.list_stem, explained.variant)
    images = open_list(found(work, dataset), "train", root(work, dataset), partial(whole_view, size=size))
    if not files.explanation_list().exists():  # it is written last
        write_discs(explained, files, images, len(found(work, dataset).classes))
    return files


def side(work: Work) -> int:
    """Side of the explanations' pictures, in pixels."""
    return QUICK_SIZE if work.quick else EXPLANATION_SIZE


def simclr_side(work: Work) -> int:
    """Side of the pictures that the SimCLR encoder sees, in pixels. Crops enlarged what it was trained on; whole pictures that are larger
    than them show things at the size that it knows (Touvron et al., NeurIPS 2019)."""
    return QUICK_SIZE if work.quick else SIMCLR_SIZE


def command(part: str) -> str:
    """The command that makes a part's tables alone."""
    return shlex.join(
        ["python", "-m", "benchmarks.results", "--only", part, "--data-root", "datasets", "--pretrained", "WEIGHTS"]
    )
