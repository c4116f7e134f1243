"""Measures explanations of the drawn moths against exact counterfactuals.

    python -m utils.explanations.localization toy
    python -m utils.explanations.localization toy toy_scout

A moth's scene does not depend on its kind, so the same moth can be drawn as any wrong class. The pixels that then
differ, T, are the reason why it is class a and not class b. The table compares explanations, at every mask size, with
their masks and maps at random places and mirrored, and with a central disc. 600 explanations take about 15 seconds on a
CPU core.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

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
from utils.explanations.explain_list import EXPLAINERS
from utils.explanations.masks import moved
from utils.explanations.storage import listed_counters, read_masks
from utils.running.launch import command, command_line
from utils.running.records import check_explained, differing, read_explanation_record
from utils.running.settings import pick

COLUMNS = ("on T", "of T", "on own", "of own", "points", "mass", "rank")  # see `report`


class Run(NamedTuple):
    name: str
    layout: Layout
    dataset: Dataset
    record: dict  # how the list was made


def find_runs(out: str, data_root: str = "datasets") -> list[Run]:
    """Finds explanation lists by their records. Raises InputError if there are none, or one is not of drawn moths."""
    runs = []
    for path in [*sorted(Path(out).glob("*_CE.json")), *sorted(Path(out).glob("*_CE_simclr.json"))]:
        record = read_explanation_record(path)
        dataset = find(record["dataset"], data_root, out)
        if dataset.folder != toy_moths.FOLDER:
            problem = f"{dataset.name} has no exact counterfactuals, only the drawn moths have"
            raise InputError(f"{path}: {problem}. Explain toy.")
        name = f"{out}: {record['explanation']}{', SimCLR features' if record['variant'] else ''}"
        runs.append(Run(name, Layout(Path(out), dataset.list_stem, record["variant"]), dataset, record))
    if not runs:
        raise InputError(f"{out} contains no record of an explanation list (*_CE.json). Explain a list first.")
    return runs


def truths(dataset: Dataset, data_root: str, seed: int) -> list[tuple[Example, dict[int, toy_moths.Difference]]]:
    """Returns the rows of a dataset's training list, and how each moth differs from the same moth of each other kind.

    Raises InputError if a picture is not the one drawn from the seed.
    """
    path = dataset.list_path(data_root, "train")
    rows = read_examples(path, len(dataset.classes))

    def compare(number: int) -> dict[int, toy_moths.Difference]:
        row, listed_at = rows[number], f"{path}, line {number + 1}"
        file = locate(row.path, data_root)
        moth = int(Path(file).stem.removeprefix("moth"))
        picture, differences = toy_moths.counterfactuals(seed, moth, row.label)
        if not np.array_equal(picture, np.array(decode(file, listed_at))):
            raise InputError(
                f"{listed_at}: {file} is not the moth drawn from seed {seed}, so its counterfactuals are unknown. "
                "Pass the --seed of datasets/prepare.py toy, or draw the moths again on this machine."
            )
        return differences

    exact = side_by_side(compare, range(len(rows)), default_workers())
    bar = tqdm(exact, desc="drawing counterfactuals", total=len(rows), unit="image", leave=False)
    return list(zip(rows, bar, strict=True))


def disc(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Draws a centered disc of each mask's area, and a map that falls from the center to 0 in the corners."""
    height, width = masks.shape[1:]
    down, across = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    distance = down[:, None].hypot(across)  # (s, s)
    order = distance.flatten().argsort(stable=True).argsort()  # 0 at the center
    discs = (order < masks.sum((1, 2))[:, None]).view(masks.shape)
    return discs, (distance.max() - distance).expand(masks.shape)


def variants(masks: Tensor, maps: Tensor, rng: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns masks bool (M, s, s) and maps (M, s, s) with their controls, by name."""
    moved_masks, moved_maps = moved(rng, masks, maps)
    return {
        "explanation": (masks, maps),
        "moved at random": (moved_masks, moved_maps),
        "mirrored left-right": (masks.flip(2), maps.flip(2)),
        "mirrored top-bottom": (masks.flip(1), maps.flip(1)),
        "disc in the middle": disc(masks),
    }


def map_scores(maps: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores maps (M, s, s), 0 or more, against truths T bool (M, s, s), from 0 to 1. Constant maps score 0.

    Returns pointing game (1 if the largest value lies in T), relevance mass (fraction of the map in T) and relevance
    rank (fraction of the |T| largest values in T), (M,) each.
    """
    maps, truth = maps.flatten(1).double(), truth.flatten(1)
    points = truth.gather(1, maps.argmax(1, keepdim=True))[:, 0].double()
    mass = (maps * truth).sum(1) / maps.sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    rank = [here[value.topk(int(here.sum())).indices].double().mean() for value, here in zip(maps, truth, strict=True)]
    varies = maps.amax(1) > maps.amin(1)
    return points * varies, mass * varies, torch.stack(rank).nan_to_num() * varies


def tally(masks: Tensor, maps: Tensor, truth: Tensor, own: Tensor, has_own: Tensor) -> Tensor:
    """Computes the `COLUMNS` of M explanations: numerators and denominators (2, 7), to be added up over images.

    Args:
        masks: bool (M, s, s).
        maps: the maps that they were cut from, (M, s, s).
        truth: T, bool (M, s, s).
        own: T_own, the part of T on marks of the own class, bool (M, s, s).
        has_own: False if the own class has no mark that the counter class lacks; then T_own does not count. Bool (M,).
    """
    with_own, own, count = masks[has_own], own[has_own], len(masks)
    hit, own_hit = (masks & truth).sum(), (with_own & own).sum()
    numerators = [hit, hit, own_hit, own_hit, *(score.sum() for score in map_scores(maps, truth))]
    denominators = [masks.sum(), truth.sum(), with_own.sum(), own.sum(), count, count, count]
    return torch.tensor([numerators, denominators], dtype=torch.float64)


def measure(
    run: Run, size: float, exact: Sequence[tuple[Example, dict[int, toy_moths.Difference]]], seed: int = 0
) -> dict[str, list[float]]:
    """Computes the rows of the table for one run at one mask size, in percent. `seed` draws the random places.

    Raises InputError if a mask is missing, or the heat maps belong to another list.
    """
    rows, rng, side = [row for row, _ in exact], generator(seed), run.record["image_size"]
    explainer = pick(
        EXPLAINERS[run.record["explanation"]], SimpleNamespace(**{"focus": 0.0} | run.record)
    )  # old records have no focus
    with np.load(run.layout.heatmaps) as file:
        stored = dict(file)
    if stored.pop("path").tolist() != [row.path for row in rows]:
        raise InputError(f"{run.layout.heatmaps} contains maps of other images. Explain the training list again.")
    label = torch.from_numpy(stored.pop("label"))

    def resized(differences: Sequence[np.ndarray]) -> Tensor:
        """Brings bool (h, w) to the size of the masks: (B, s, s)."""
        pictures = [Image.fromarray(one).resize((side, side), Image.Resampling.NEAREST) for one in differences]
        return torch.from_numpy(np.stack([np.array(picture) for picture in pictures]))

    sums: dict[str, Tensor] = {}
    listed = listed_counters(run.layout, rows, len(run.dataset.classes))
    for number, (row, differences) in enumerate(exact):
        maps = {name: torch.from_numpy(values[[number]]) for name, values in stored.items()}
        relevance = explainer.relevance(maps, label[[number]], torch.tensor([listed[number]]))[0]
        found = [differences[b] for b in listed[number]]
        truth, has_own = resized([one.all for one in found]), torch.tensor([one.own is not None for one in found])
        own = resized([one.all if one.own is None else one.own for one in found])
        masks = read_masks(run.layout, row, listed[number], size)
        for name, (mask, values) in variants(masks, explainer.upsample(relevance, side), rng).items():
            sums[name] = sums.get(name, 0) + tally(mask, values, truth, own, has_own)
    return {name: (100 * numerators / denominators).tolist() for name, (numerators, denominators) in sums.items()}


def report(outs: Sequence[str], data_root: str, seed: int) -> Iterator[str]:
    """Yields the table line by line. Raises InputError as `find_runs` and `truths`."""
    yield "In %. Masks: precision and recall on T, and on the part of T on marks of a."
    yield "Maps: pointing game, mass and rank in T."
    yield f"{'':<24}" + "".join(f"{column:>9}" for column in COLUMNS)
    exact: dict[str, list] = {}
    runs = [run for out in outs for run in find_runs(out, data_root)]
    if unequal := differing({run.name: run.record for run in runs}, aside={"pictures"}):
        yield f"The lists differ in {unequal}."
    for run in runs:
        check_explained(run.layout.explanation_list(), data_root)
        if run.dataset.name not in exact:
            exact[run.dataset.name] = truths(run.dataset, data_root, seed)
        for size in run.record["mask_sizes"]:
            yield f"{run.name}, t = {size:.2f}"
            for variant, values in measure(run, size, exact[run.dataset.name]).items():
                yield f"  {variant:<22}" + "".join(f"{value:>9.1f}" for value in values)


def main() -> None:
    parser = command_line("utils.explanations.localization", __doc__)
    parser.add_argument("outs", nargs="+", type=expanded, metavar="OUT", help="output folder of an explanation script")
    parser.add_argument("--data-root", type=expanded, default="datasets", help="folder of datasets (default: datasets)")
    parser.add_argument("--seed", type=int, default=0, help="seed of datasets/prepare.py toy (default: 0)")
    arguments = parser.parse_args()
    with command("localization"):
        for line in report(arguments.outs, arguments.data_root, arguments.seed):
            print(line)


if __name__ == "__main__":
    main()
