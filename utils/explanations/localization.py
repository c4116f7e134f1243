"""Where explanations fall, held against exact counterfactuals.

    python -m utils.explanations.localization toy
    python -m utils.explanations.localization toy toy_scout

The scene of a drawn moth does not know its kind, so the same moth can be drawn as the wrong answer: the pixels that then differ are why
it is class a and not class b. All that the folders hold, each explainer at each mask size, comes into one table, beside the same masks and
maps at random places and mirrored, and a disc in the middle.

Reads: output folders of get_all_CE_*.py that ran on the toy moths, and those moths.

Writes: nothing; it prints the table.

Takes: about 15 seconds for 600 explanations on a CPU core. No GPU is used.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from utils.base.errors import InputError
from utils.base.files import expanded
from utils.base.machine import default_workers, side_by_side
from utils.base.randomness import generator
from utils.data import toy_moths
from utils.data.catalog import Dataset, find
from utils.data.images import decode
from utils.data.lists import Example, locate, read_examples
from utils.data.outputs import Layout
from utils.explanations.explained import Explainer
from utils.explanations.masks import moved
from utils.explanations.methods import EXPLAINERS
from utils.explanations.storage import listed_counters, read_masks
from utils.running.launch import command, command_line
from utils.running.records import EXPLAINING, last_records
from utils.running.settings import pick

COLUMNS = ("on T", "of T", "on own", "of own", "points", "mass", "rank")  # what `percentages` gives


@dataclass(frozen=True)
class Run:
    """An explanation run that has ended.

    Attributes:
        out: its output folder.
        layout: names of its files.
        dataset: what it explained.
        explainer: how.
        name: for people.
        mask_sizes: t, those that it cut.
        image_size: side of its pictures in pixels.
    """

    out: str
    layout: Layout
    dataset: Dataset
    explainer: Explainer
    name: str
    mask_sizes: tuple[float, ...]
    image_size: int


def find_runs(out: str, data_root: str = "datasets") -> list[Run]:
    """The explanation runs whose records lie in an output folder: that of the scripts and that of their SimCLR variant.

    Raises:
        InputError: there is none, or one explained something else than the drawn moths.
    """
    last = last_records(out)
    if not last:
        raise InputError(f"{out} holds no record of an explanation script (run_{EXPLAINING}.json); run one to its end.")
    return [_run(out, data_root, path, variant) for variant, path in sorted(last.items())]


def _run(out: str, data_root: str, record: Path, variant: str) -> Run:
    try:
        settings = {"explanation": "scout"} | json.loads(record.read_text(encoding="utf-8"))["settings"]
        kind, dataset = EXPLAINERS[settings["explanation"]], find(settings["dataset"], data_root, out)
        sizes, image_size = tuple(settings["mask_sizes"]), settings["image_size"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} is no record of an explanation run ({error!r}); run the script again.") from error
    if dataset.folder != toy_moths.FOLDER:
        raise InputError(
            f"{record}: {dataset.name} was explained, but only drawn moths have exact counterfactuals; explain toy."
        )
    name = f"{out}: {settings['explanation']}{', SimCLR features' if variant else ''}"
    explainer = pick(kind, SimpleNamespace(**settings))
    return Run(out, Layout(Path(out), dataset.list_stem, variant), dataset, explainer, name, sizes, image_size)


# ---------------------------------------------------------------- what is true


def exact_differences(row: Example, data_root: str, seed: int, listed_at: str) -> dict[int, toy_moths.Difference]:
    """How a listed moth differs from the same moth of each other kind.

    Raises:
        InputError: the picture on disk is not the one that is drawn from the seed.
    """
    file = locate(row.path, data_root)
    number = re.fullmatch(r"moth(\d+)", Path(file).stem)
    picture, differences = toy_moths.counterfactuals(seed, int(number[1]), row.label) if number else (None, {})
    if picture is None or not np.array_equal(picture, np.array(decode(file, listed_at))):
        raise InputError(
            f"{listed_at}: {file} is not the moth that is drawn from seed {seed}, so its counterfactuals are unknown; give the --seed "
            "that datasets/prepare.py toy had, or draw the moths anew on this machine."
        )
    return differences


def truths(dataset: Dataset, data_root: str, seed: int) -> list[tuple[Example, dict[int, toy_moths.Difference]]]:
    """The rows of a dataset's training list with their `exact_differences`.

    Raises:
        InputError: the list or a picture is missing, or is not what is drawn from the seed.
    """
    path = dataset.list_path(data_root, "train")
    rows = list(enumerate(read_examples(path, len(dataset.classes)), start=1))
    exact = side_by_side(
        lambda at: exact_differences(at[1], data_root, seed, f"{path}, line {at[0]}"), rows, default_workers()
    )
    bar = tqdm(exact, desc="drawing counterfactuals", total=len(rows), unit="image", leave=False)
    return [(row, differences) for (_, row), differences in zip(rows, bar, strict=True)]


# ---------------------------------------------------------------- what is measured


def disc(masks: Tensor) -> tuple[Tensor, Tensor]:
    """A disc of each mask's area in the middle of the picture, and a map that falls from there to 0 in the corners."""
    height, width = masks.shape[1:]
    down, across = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    distance = down.hypot(across)
    order = distance.flatten().argsort(stable=True).argsort()  # 0 for the middle
    discs = (order < masks.sum((1, 2))[:, None]).view(masks.shape)
    return discs, (distance.max() - distance).expand(masks.shape)


def variants(masks: Tensor, maps: Tensor, rng: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Masks bool (M, s, s) and maps (M, s, s), and what they are compared with."""
    moved_masks, moved_maps = moved(rng, masks, maps)
    return {
        "explanation": (masks, maps),
        "moved at random": (moved_masks, moved_maps),
        "mirrored left-right": (masks.flip(2), maps.flip(2)),
        "mirrored top-bottom": (masks.flip(1), maps.flip(1)),
        "disc in the middle": disc(masks),
    }


def map_scores(maps: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How well maps (M, s, s), 0 or more, find truths bool (M, s, s), for each of them in 0 .. 1; a constant map finds nothing.

    Returns:
        (M,) each: whether the largest value lies in the truth; the share of the map inside the truth; the share of as many largest
        values as the truth has pixels that lie in it.
    """
    maps, truth = maps.flatten(1).double(), truth.flatten(1)
    points = truth.gather(1, maps.argmax(1, keepdim=True))[:, 0].double()
    mass = (maps * truth).sum(1) / maps.sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    rank = [here[value.topk(int(here.sum())).indices].double().mean() for value, here in zip(maps, truth, strict=True)]
    telling = maps.amax(1) > maps.amin(1)
    return points * telling, mass * telling, torch.stack(rank).nan_to_num() * telling


def tally(masks: Tensor, maps: Tensor, truth: Tensor, own: Tensor, has_own: Tensor) -> Tensor:
    """What `percentages` needs of some explanations, to be added up: 10 sums.

    Args:
        masks: bool (M, s, s).
        maps: what they were cut from, (M, s, s).
        truth: T, bool (M, s, s).
        own: T_own, bool (M, s, s).
        has_own: whether T_own counts, bool (M,).
    """
    with_own = masks & has_own[:, None, None]
    pixels = [
        (masks & truth).sum(),
        masks.sum(),
        truth.sum(),
        (with_own & own).sum(),
        with_own.sum(),
        own[has_own].sum(),
    ]
    counts = [*pixels, torch.tensor(len(masks))]
    return torch.stack([*(count.double() for count in counts), *(score.sum() for score in map_scores(maps, truth))])


def percentages(sums: Tensor) -> list[float]:
    """Of all explanations together, in percent, in the order of `COLUMNS`: precision and recall of the masks against T and against
    T_own, and the means of the three `map_scores`."""
    hit, inside, true, own_hit, own_inside, own_true, count, points, mass, rank = sums.tolist()
    pairs = [
        (hit, inside),
        (hit, true),
        (own_hit, own_inside),
        (own_hit, own_true),
        (points, count),
        (mass, count),
        (rank, count),
    ]
    return [100 * part / whole if whole else float("nan") for part, whole in pairs]


def load(run: Run, size: float, exact: Sequence[tuple[Example, dict]]) -> Iterator[tuple[Tensor, ...]]:
    """Image by image, the arguments of `tally`: one row for each counter class, ascending.

    Raises:
        InputError: a mask is missing, or the heat maps are those of another list.
    """
    try:
        with np.load(run.layout.heatmaps, allow_pickle=False) as file:
            stored = {name: torch.from_numpy(file[name]) for name in file if name != "path"}
            paths = file["path"].tolist()
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{run.layout.heatmaps} cannot be read ({error}); run the explanation script again."
        ) from error
    if paths != [row.path for row, _ in exact]:
        raise InputError(
            f"{run.layout.heatmaps} holds the maps of other images than the training list; explain that list anew."
        )
    label = stored.pop("label")
    listed = listed_counters(run.layout, [row for row, _ in exact], len(run.dataset.classes))
    for number, (row, differences) in enumerate(exact):
        counter = torch.tensor([listed[number]])
        relevance = run.explainer.relevance(
            {name: maps[[number]] for name, maps in stored.items()}, label[[number]], counter
        )
        masks = read_masks(run.layout, row, counter[0].tolist(), size)
        found = [differences[b] for b in counter[0].tolist()]
        truth = torch.stack([_at_size(one.all, run.image_size) for one in found])
        own = torch.stack([_at_size(one.all if one.own is None else one.own, run.image_size) for one in found])
        has_own = torch.tensor([one.own is not None for one in found])
        yield masks, run.explainer.upsample(relevance[0], run.image_size), truth, own, has_own


def _at_size(truth: np.ndarray, size: int) -> Tensor:
    """A truth bool (h, w) at the size of the masks, (size, size)."""
    return torch.from_numpy(np.array(Image.fromarray(truth).resize((size, size), Image.Resampling.NEAREST)))


def measure(run: Run, size: float, exact: Sequence[tuple[Example, dict]], seed: int = 0) -> dict[str, list[float]]:
    """The rows of the table for one run at one mask size, by variant; `seed` moves the masks."""
    rng = generator(seed)
    sums: dict[str, Tensor] = {}
    for masks, maps, *true in load(run, size, exact):
        for name, (mask, values) in variants(masks, maps, rng).items():
            sums[name] = sums.get(name, 0) + tally(mask, values, *true)
    return {name: percentages(total) for name, total in sums.items()}


def report(outs: Sequence[str], data_root: str, seed: int) -> Iterator[str]:
    """The table, line by line.

    Raises:
        InputError: a folder holds no explanation of the drawn moths, or the moths on disk are others.
    """
    runs = [run for out in outs for run in find_runs(out, data_root)]
    exact = {
        name: truths(dataset, data_root, seed)
        for name, dataset in {run.dataset.name: run.dataset for run in runs}.items()
    }
    for name, rows in exact.items():
        covered = np.mean([one.all.mean() for _, differences in rows for one in differences.values()])
        yield f"{name}: {sum(len(of) for _, of in rows)} explanations; the true differences T cover {100 * covered:.1f} % of the pictures."
    yield "In %. Masks: precision on T, recall of T, the same for T on marks of a. Maps: largest value in T, mass in T, rank in T."
    yield f"{'':<24}" + "".join(f"{column:>9}" for column in COLUMNS)
    for run in runs:
        for size in run.mask_sizes:
            yield f"{run.name}, t = {size:.2f}"
            for variant, values in measure(run, size, exact[run.dataset.name]).items():
                yield f"  {variant:<22}" + "".join(f"{value:>9.1f}" for value in values)


def main() -> None:
    """The command line."""
    parser = command_line("utils.explanations.localization", __doc__)
    parser.add_argument("outs", nargs="+", type=expanded, metavar="OUT", help="output folder of an explanation script")
    parser.add_argument(
        "--data-root",
        type=expanded,
        default="datasets",
        help="folder that holds the dataset's folder (default: datasets)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of datasets/prepare.py toy, which drew the moths (default: 0)"
    )
    arguments = parser.parse_args()
    with command("localization"):
        for line in report(arguments.outs, arguments.data_root, arguments.seed):
            print(line)


if __name__ == "__main__":
    main()
