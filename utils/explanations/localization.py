"""Measures explanations of the drawn moths against exact counterfactuals.

    python -m utils.explanations.localization toy
    python -m utils.explanations.localization toy toy_scout --checkpoint TEACHER.pth.tar

A moth's scene does not depend on its kind, so the same moth can be drawn as any wrong class. The pixels that then
differ, T, are the reason why it is class a and not class b. The table compares explanations, at every mask size, with
controls, and precision when fewer are outlined. With --checkpoint, 30 images are explained again while the teacher's
layers get random weights, head first (Adebayo et al., NeurIPS 2018). 600 explanations take half a minute on a core.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from models.resnet import LAYERS, Network, build
from models.weights import load_classifier
from utils.base.errors import InputError
from utils.base.files import TableReader, expanded, file_digest
from utils.base.machine import default_workers, side_by_side
from utils.base.randomness import generator
from utils.data import toy_moths
from utils.data.catalog import Dataset, find
from utils.data.images import decode
from utils.data.lists import Example, locate
from utils.data.loading import ImageSet, to_float
from utils.data.outputs import Layout, faithfulness_of
from utils.explanations.explain_list import EXPLAINERS, open_explained, spread
from utils.explanations.explainers import Explainer
from utils.explanations.faithfulness import box_blur
from utils.explanations.masks import masks as cut
from utils.explanations.masks import moved
from utils.explanations.storage import listed_counters, read_masks
from utils.running.launch import command, command_line
from utils.running.records import check_explained, differing, read_explanation_record
from utils.running.settings import pick

MAP_SCORES = ("pointing game", "relevance mass accuracy", "relevance rank accuracy")  # as Quantus names them
COLUMNS = ("precision on T", "recall of T", "precision on T_own", "recall of T_own", *MAP_SCORES)
SANITY_IMAGES = 30  # explained by randomized teachers

Exact = list[dict[int, toy_moths.Difference]]  # see `truths`


class Run(NamedTuple):
    name: str
    layout: Layout
    dataset: Dataset
    record: dict  # how the list was made
    images: ImageSet[Example]
    explainer: Explainer


def find_runs(out: str, data_root: str = "datasets") -> list[Run]:
    """Finds explanation lists by their records. Raises InputError if there are none, or one is not of drawn moths."""
    runs = []
    for path in [*sorted(Path(out).glob("*_CE.json")), *sorted(Path(out).glob("*_CE_simclr.json"))]:
        record = read_explanation_record(path)
        dataset = find(record["dataset"], data_root, out)
        if dataset.folder != toy_moths.FOLDER:
            raise InputError(f"{path}: {dataset.name} has no exact counterfactuals, only drawn moths do. Explain toy.")
        name = f"{out}: {record['explanation']}{', SimCLR features' if record['variant'] else ''}"
        layout = Layout(Path(out), dataset.list_stem, record["variant"])
        images = open_explained(dataset, data_root, record["image_size"])
        how = SimpleNamespace(**{"focus": 0.0} | record)  # old records have no focus
        runs.append(Run(name, layout, dataset, record, images, pick(EXPLAINERS[record["explanation"]], how)))
    if not runs:
        raise InputError(f"{out} contains no record of an explanation list (*_CE.json). Explain a list first.")
    return runs


def truths(images: ImageSet[Example], seed: int) -> Exact:
    """Returns how each moth of a list differs from the same moth of each other kind.

    Raises InputError if a picture is not the one drawn from the seed.
    """

    def compare(number: int) -> dict[int, toy_moths.Difference]:
        row, listed_at = images.rows[number], f"{images.source}, line {number + 1}"
        file = locate(row.path, images.data_root)
        moth = int(Path(file).stem.removeprefix("moth"))
        picture, differences = toy_moths.counterfactuals(seed, moth, row.label)
        if not np.array_equal(picture, np.array(decode(file, listed_at))):
            raise InputError(
                f"{listed_at}: {file} is not the moth drawn from seed {seed}, so its counterfactuals are unknown. "
                "Pass the --seed of datasets/prepare.py toy, or draw the moths again on this machine."
            )
        return differences

    exact = side_by_side(compare, range(len(images)), default_workers())
    return list(tqdm(exact, desc="drawing counterfactuals", total=len(images), unit="image", leave=False))


def center(images: Tensor) -> Tensor:
    """A map (s, s), for images or masks (..., s, s), that falls from the center to 0 in the corners."""
    across = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    distance = across[:, None].hypot(across)
    return distance.max() - distance


def contrast(image: Tensor) -> Tensor:
    """The local contrast (s, s) of an image (1, 3, s, s)."""
    return (image - box_blur(image)).abs().sum(1)[0]


def of_same_area(masks: Tensor, scores: Tensor) -> Tensor:
    """Returns a mask for each mask (M, s, s), of the same area, where a map (s, s) has its largest values."""
    return cut(scores[None], tuple(masks.double().mean((1, 2)).tolist()))[0]


def variants(masks: Tensor, maps: Tensor, rng: torch.Generator) -> dict[str, tuple[Tensor, ...]]:
    """Returns masks bool (M, s, s) and maps (M, s, s) with their controls, by name."""
    near = center(masks)
    return {
        "explanation": (masks, maps),
        "moved at random": moved(rng, masks, maps),
        "mirrored left-right": (masks.flip(2), maps.flip(2)),
        "mirrored top-bottom": (masks.flip(1), maps.flip(1)),
        "another class b": (masks.roll(1, 0), maps.roll(1, 0)),
        "disc in the middle": (of_same_area(masks, near), near.expand(masks.shape)),
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


def tally(masks: Tensor, maps: Tensor, truth: Tensor, own: Tensor) -> Tensor:
    """Computes the `COLUMNS` of masks bool (M, s, s), the maps (M, s, s) that they were cut from, T and T_own.

    T_own is the part of T on marks of the own class; if it is empty, it does not count. Returns numerators and
    denominators (2, 7, M), to be added up.
    """
    counted = (masks & truth, masks & own, masks, truth, own)
    hit, own_hit, marked, true, part = (pixels.sum((1, 2)).double() for pixels in counted)
    numerators = [hit, hit, own_hit, own_hit, *map_scores(maps, truth)]
    denominators = [marked, true, marked * (part > 0), part, *[torch.ones_like(marked)] * len(MAP_SCORES)]
    return torch.stack([*numerators, *denominators]).view(2, len(COLUMNS), -1)


def percent(tallies: Tensor) -> list[float]:
    """Averages the `COLUMNS` over explanations (2, 7, M)."""
    return (100 * tallies[0].sum(1) / tallies[1].sum(1)).round(decimals=1).tolist()


def resized(differences: dict[int, toy_moths.Difference], counter: Sequence[int], side: int) -> tuple[Tensor, ...]:
    """Returns the true differences from B classes in the size of the masks: T and T_own, bool (B, s, s)."""
    found = [differences[b] for b in counter]
    pixels = [one.all for one in found] + [np.zeros_like(one.all) if one.own is None else one.own for one in found]
    pictures = [np.array(Image.fromarray(one).resize((side, side), Image.Resampling.NEAREST)) for one in pixels]
    return torch.from_numpy(np.stack(pictures)).chunk(2)


def measure(run: Run, size: float, exact: Exact, seed: int = 0) -> dict[str, Tensor]:
    """Tallies the explanations of a list at one mask size (2, 7, M), and their controls, by name.

    `seed` draws the random places. Raises InputError if a mask is missing, or the heat maps belong to another list.
    """
    rows, rng, side = run.images.rows, generator(seed), run.record["image_size"]
    with np.load(run.layout.heatmaps) as file:
        stored = dict(file)
    if stored.pop("path").tolist() != [row.path for row in rows]:
        raise InputError(f"{run.layout.heatmaps} contains maps of other images. Explain the training list again.")
    label, tallies = torch.from_numpy(stored.pop("label")), defaultdict(list)
    listed = listed_counters(run.layout, rows, len(run.dataset.classes))
    for number, row in enumerate(rows):
        maps = {name: torch.from_numpy(values[[number]]) for name, values in stored.items()}
        relevance = run.explainer.relevance(maps, label[[number]], torch.tensor([listed[number]]))[0]
        masks, truth = read_masks(run.layout, row, listed[number], size), resized(exact[number], listed[number], side)
        pairs = variants(masks, run.explainer.upsample(relevance, side), rng)
        image = to_float(run.images[number][None], "cpu")
        sharp = run.explainer.upsample(contrast(image)[None], side).expand(len(masks), -1, -1)
        for name, pair in (pairs | {"contrast of the image": (cut(sharp, (size,))[:, 0], sharp)}).items():
            tallies[name].append(tally(*pair, *truth))
    return {name: torch.cat(some, dim=2) for name, some in tallies.items()}


def coverage(run: Run, tallies: Tensor) -> list[dict]:
    """Computes precision on T, in percent, when only a share of the explanations (2, 7, M) is outlined.

    Returns a row for each value that ranks them, with its rank correlation to their precision; none if not measured.
    """
    from scipy.stats import spearmanr  # imported here because it is slow, and --help must be fast

    path = faithfulness_of(run.layout.explanation_list())
    table, rows = list(TableReader(path.read_text(encoding="utf-8"))) if path.exists() else [], []
    for name in ("faithfulness", "lost", "margin") if table else ():
        values = torch.tensor([float(row[name]) for row in table])
        ranked = values.argsort(descending=True, stable=True)
        kept = {f"{share} %": ranked[: round(share / 100 * len(ranked))] for share in (100, 75, 50, 25)}
        kept["worst 25 %"] = ranked[len(kept["75 %"]) :]
        correlation = spearmanr(values, tallies[0, 0] / tallies[1, 0]).statistic
        precision = {share: percent(tallies[:, :, some])[0] for share, some in kept.items()}
        rows.append({"ranked by": name} | precision | {"rank correlation": round(correlation, 2)})
    return rows


def randomized(teacher: Network, seed: int) -> Iterator[tuple[str, Network]]:
    """Yields a copy of the teacher, then the same copy with random weights in one layer more each time, head first."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = build(teacher.arch, teacher.fc.out_features, teacher.fc.bias is not None).folded()
    network = teacher.folded()  # its stem is conv1
    yield "trained", network
    for layer in ("fc", *reversed(LAYERS), "conv1"):
        setattr(network, layer, getattr(untrained, layer))
        yield f"random from {layer} on", network


@torch.no_grad()
def cascade(run: Run, teacher: Network, exact: Exact, seed: int = 0) -> dict[str, Tensor]:
    """Tallies explanations of `SANITY_IMAGES` at the listed size while the teacher is randomized, as `measure`."""
    listed = listed_counters(run.layout, run.images.rows, len(run.dataset.classes))

    def explain(network: Network, number: int) -> Tensor:
        image, counter = to_float(run.images[number][None], "cpu"), torch.tensor([listed[number]])
        found = run.explainer(network, image, run.images.labels[[number]], lambda logits: counter)
        maps = run.explainer.upsample(found.relevance[0], run.record["image_size"])
        masks = run.explainer.clean(cut(maps, (run.record["mask_size"],)), maps)[:, 0]
        return tally(masks, maps, *resized(exact[number], listed[number], masks.shape[-1]))

    chosen = spread(len(exact), SANITY_IMAGES)
    bar = tqdm(randomized(teacher, seed), desc="randomizing", total=len(LAYERS) + 3, unit="network", leave=False)
    return {name: torch.cat([explain(network, number) for number in chosen], dim=2) for name, network in bar}


def report(outs: Sequence[str], data_root: str, seed: int, checkpoint: str = "") -> Iterator[str]:
    """Yields the table line by line. Raises InputError as its callees, or if `checkpoint` is another network."""
    yield "In %. T: true differences. T_own: those on marks of a."
    for words in zip_longest(*map(str.split, COLUMNS), fillvalue=""):
        yield f"{'':<24}" + "".join(f"{word:>10}" for word in words)
    exact: dict[str, Exact] = {}
    digest = file_digest(checkpoint, "sha256")[:16] if checkpoint else None
    runs = [run for out in outs for run in find_runs(out, data_root)]
    if checkpoint and digest not in [run.record["content of checkpoint"] for run in runs]:
        raise InputError(f"--checkpoint: these lists were not explained by {checkpoint}. Pass their teacher.")
    if unequal := differing({run.name: run.record for run in runs}, aside={"pictures"}):
        yield f"The lists differ in {unequal}."
    for run in runs:
        check_explained(run.layout.explanation_list(), data_root)
        truth = exact[run.dataset.name] = exact.get(run.dataset.name) or truths(run.images, seed)
        for size in run.record["mask_sizes"]:
            yield f"{run.name}, t = {size:.2f}"
            found, listed = measure(run, size, truth), size == run.record["mask_size"]
            if listed and digest == run.record["content of checkpoint"]:
                found |= cascade(run, load_classifier(checkpoint, run.dataset.classes), truth)
            for name, tallies in found.items():
                yield f"  {name:<22}" + "".join(f"{value:>10.1f}" for value in percent(tallies))
            for row in coverage(run, found["explanation"]) if listed else []:
                yield "  " + ", ".join(f"{name} {value}" for name, value in row.items())


def main() -> None:
    parser = command_line("utils.explanations.localization", __doc__)
    parser.add_argument("outs", nargs="+", type=expanded, metavar="OUT", help="output folder of an explanation script")
    parser.add_argument("--data-root", type=expanded, default="datasets", help="folder of datasets (default: datasets)")
    parser.add_argument("--seed", type=int, default=0, help="seed of datasets/prepare.py toy (default: 0)")
    parser.add_argument("--checkpoint", type=expanded, default="", help="the explained teacher, to be randomized")
    arguments = parser.parse_args()
    with command("localization"):
        for line in report(arguments.outs, arguments.data_root, arguments.seed, arguments.checkpoint):
            print(line)


if __name__ == "__main__":
    main()
