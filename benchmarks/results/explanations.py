"""Where explanations fall: on drawn moths, whose true differences are known; on photographs, by blurring what is pointed at."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean, stdev

import numpy as np

from benchmarks.results import stages
from benchmarks.results.curves import draw_bars
from benchmarks.results.table import Table
from benchmarks.results.work import Work
from models.weights import load_classifier
from utils.data.images import whole_view
from utils.data.loading import open_list
from utils.data.outputs import TEACHING_SIZE
from utils.explanations import deletion, localization
from utils.explanations.sheet import spread

EXPLAINERS = ("margin", "scout")
IMAGES, QUICK_IMAGES = 100, 3  # whose explanations are blurred
LOCALIZATION, DELETION = "explanations_localization", "explanations_deletion"
TITLES = {LOCALIZATION: "Where explanations of drawn moths fall", DELETION: "What blurring the explained part costs"}
# The columns of `localization.COLUMNS`, as the page has them.
COLUMNS = (
    "mask: on T",
    "mask: of T",
    "mask: on marks of a",
    "mask: of marks of a",
    "map: largest value in T",
    "map: mass in T",
    "map: rank in T",
)
NETWORKS = ("the teacher", "the second network")


def tables(work: Work) -> Iterator[Table]:
    """The two tables of this part."""
    yield _localized(work)
    dataset = stages.MOTHS if work.quick else stages.BUTTERFLIES
    reason = stages.absent(work, dataset)
    if reason:
        print(reason)
    yield (
        Table.empty(DELETION, TITLES[DELETION], reason, stages.command("explanations"))
        if reason
        else _deleted(work, dataset)
    )


# ---------------------------------------------------------------- on moths


def _localized(work: Work) -> Table:
    """The table of drawn moths."""
    outs = {kind: str(stages.explanations(work, stages.MOTHS, kind).out) for kind in EXPLAINERS}
    found = work.kept(
        LOCALIZATION, partial(localize, outs, stages.root(work, stages.MOTHS), work.seed), {"size": TEACHING_SIZE}
    )
    text = (
        "A drawn moth's scene does not know its kind, so the same moth can be drawn as the wrong answer b too; the pixels that then "
        f"differ, T, are exactly why it is a and not b. They cover {found['covered']} % of the pictures. {found['explanations']} "
        f"explanations by one teacher, with the settings of `make demo`, masks of {TEACHING_SIZE:.0%} of the picture, in percent: how much "
        "of the mask lies on T and how much of T in the mask; the same for T on marks of a; of the map, whether its largest value lies in "
        "T, its mass in T, and how many of its largest values, as many as T has pixels, lie in T. Controls: the same masks and maps moved "
        "at random and mirrored, and a disc in the middle of the mask's area."
    )
    table = localized_rows(found["percent"])
    names = [f"{row['explanation']}, {row['variant']}" for row in table]
    bars = {column: [row[column] for row in table] for column in (COLUMNS[0], COLUMNS[4])}
    draw = partial(draw_bars, names=names, bars=bars, label="%")
    return Table(LOCALIZATION, TITLES[LOCALIZATION], text, stages.command("explanations"), table, draw)


def localize(outs: Mapping[str, str], data_root: str, seed: int) -> dict:
    """What `localization` measures of explanations of the moths.

    Args:
        outs: by explainer, the output folder.
        data_root: where the moths are.
        seed: what they were drawn from.

    Returns:
        By explainer and variant the percentages; the number of explanations, and the share of the pictures that T covers, in percent.
    """
    runs = {kind: localization.find_runs(out, data_root)[0] for kind, out in outs.items()}
    exact = localization.truths(next(iter(runs.values())).dataset, data_root, seed)
    percent = {kind: localization.measure(run, TEACHING_SIZE, exact, seed) for kind, run in runs.items()}
    differences = [one for _, of_image in exact for one in of_image.values()]
    covered = 100 * float(np.mean([one.all.mean() for one in differences]))
    return {"percent": percent, "explanations": len(differences), "covered": round(covered, 1)}


def localized_rows(percent: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict]:
    """The rows: explainers, and after each what it is compared with."""
    return [
        {"explanation": kind, "variant": variant}
        | {name: round(value, 1) for name, value in zip(COLUMNS, values, strict=True)}
        for kind, of_kind in percent.items()
        for variant, values in of_kind.items()
    ]


# ---------------------------------------------------------------- on photographs


def _deleted(work: Work, dataset: str) -> Table:
    """The table of photographs."""
    count = QUICK_IMAGES if work.quick else IMAGES
    found = work.kept(
        DELETION,
        partial(delete, work, dataset, count),
        {"size": TEACHING_SIZE, "images": count, "mean": "image by image"},
    )
    text = (
        f"On photographs nobody knows the truth, so what is pointed at is blurred: the mean margin z_a - z_b of {count} images of "
        f"{dataset} against every wrong answer b, and what it loses where the mask is blurred, or the same shape moved at random. In the "
        "teacher that was explained, and in a second network to which no explanation was fitted: trained alike, from the same weights, by "
        "another seed. `disc` is a control: a disc in the middle of the picture, where a photographer puts the animal. `sd` is that of the "
        "losses over the images, each the mean of its wrong answers."
    )
    table = deleted_rows(found)
    names = [f"{row['explanation']}, {row['network']}" for row in table]
    bars = {column: [row[column] for row in table] for column in ("lost, blurred", "lost, moved at random")}
    draw = partial(draw_bars, names=names, bars=bars, label="loss of z_a - z_b")
    return Table(DELETION, TITLES[DELETION], text, stages.command("explanations"), table, draw)


def delete(work: Work, dataset: str, count: int) -> dict:
    """What `deletion` measures of every kind of explanation of `count` images in two networks: by kind and network, image by image, the
    margin, and its two losses, means over the wrong answers."""
    described, root, side = stages.found(work, dataset), stages.root(work, dataset), stages.side(work)
    layouts = {kind: stages.explanations(work, dataset, kind) for kind in (*EXPLAINERS, "disc")}
    teachers = [stages.teacher(work, dataset, second) for second in (False, True)]
    paths = {name: files.teacher for name, files in zip(NETWORKS, teachers, strict=True)}
    networks = {name: load_classifier(str(path), described.classes).folded() for name, path in paths.items()}
    images = open_list(described, "train", root, partial(whole_view, size=side))
    chosen = spread(len(images), count)
    measured = {
        kind: deletion.measure(networks, images, files, TEACHING_SIZE, chosen) for kind, files in layouts.items()
    }
    return {kind: {name: values.tolist() for name, values in of_kind.items()} for kind, of_kind in measured.items()}


def deleted_rows(found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> list[dict]:
    """The rows: kinds of explanations in each network.

    Args:
        found: by kind and network, image by image, the margin, its loss, and its loss by the moved shape.
    """
    return [_deleted_row(kind, name, values) for kind, of_kind in found.items() for name, values in of_kind.items()]


def _deleted_row(kind: str, network: str, values: Sequence[Sequence[float]]) -> dict:
    margin, lost, moved = (list(column) for column in zip(*values, strict=True))
    row: dict[str, object] = {"explanation": kind, "network": network, "z_a - z_b": round(fmean(margin), 2) + 0.0}
    for name, losses in (("lost, blurred", lost), ("lost, moved at random", moved)):
        row |= {
            name: round(fmean(losses), 2) + 0.0,
            f"sd of {name}": round(stdev(losses), 2) if len(losses) > 1 else "",
        }
    return row
