"""Where explanations fall on drawn moths, and what the margin loses on photographs when they are blurred."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev

from benchmarks.results import runs, tables
from models.weights import load_classifier
from utils.data.catalog import find
from utils.data.images import whole_view
from utils.data.loading import open_list
from utils.data.outputs import TEACHING_SIZE
from utils.explanations import deletion, localization
from utils.explanations.explain_list import spread

DATASET, IMAGES = runs.BUTTERFLIES, 100  # whose explanations are blurred
# The values of `localization.percentages`, as docs/results.md calls them.
COLUMNS = (
    "mask: on T",
    "mask: of T",
    "mask: on marks of a",
    "mask: of marks of a",
    "map: largest value in T",
    "map: mass in T",
    "map: rank in T",
)


def make(cfg) -> None:
    """Makes the tables of localization and deletion."""
    rows = localized(cfg)
    bars = partial(tables.draw_bars, named_by=("explanation", "variant"), columns=COLUMNS[::4], label="%")
    tables.save(cfg, "explanations_localization", rows, lambda path: bars(path, rows))
    rows = deleted(cfg)
    columns = ("lost, blurred", "lost, moved at random")
    bars = partial(tables.draw_bars, named_by=("explanation", "network"), columns=columns, label="loss of z_a - z_b")
    tables.save(cfg, "explanations_deletion", rows, lambda path: bars(path, rows))


def localized(cfg) -> list[dict]:
    """Measures how much of masks and maps falls on true differences, in percent."""
    root = runs.data_root(cfg, runs.MOTHS)
    exact = localization.truths(find(runs.MOTHS, root), root, cfg.seed)
    rows = []
    for kind in ("margin", "scout"):
        (run,) = localization.find_runs(str(runs.explain(cfg, runs.MOTHS, kind).out), root)
        for variant, values in localization.measure(run, TEACHING_SIZE, exact, cfg.seed).items():
            percent = {name: round(value, 1) for name, value in zip(COLUMNS, values, strict=True)}
            rows.append({"explanation": kind, "variant": variant} | percent)
    return rows


def deleted(cfg) -> list[dict]:
    """Measures the margins of two teachers and their loss when the mask, or the mask moved at random, is blurred."""
    root = runs.data_root(cfg, DATASET)
    dataset = find(DATASET, root)
    paths = {"the teacher": runs.teacher(cfg, DATASET), "the second network": runs.teacher(cfg, DATASET, second=True)}
    networks = {name: load_classifier(str(files.teacher), dataset.classes).folded() for name, files in paths.items()}
    images = open_list(dataset, "train", root, partial(whole_view, size=runs.SIDE))
    chosen = spread(len(images), IMAGES)
    rows = []
    for kind in ("margin", "scout", "disc"):
        files = runs.explain(cfg, DATASET, kind)
        for network, values in deletion.measure(networks, images, files, TEACHING_SIZE, chosen).items():
            rows.append({"explanation": kind, "network": network} | deleted_columns(values.tolist()))
    return rows


def deleted_columns(values: Sequence[Sequence[float]]) -> dict:
    """Returns means and standard deviations over the images.

    Args:
        values: for each image the margin, its loss, and its loss with the moved mask.
    """
    margin, lost, moved = (list(column) for column in zip(*values, strict=True))
    row: dict = {"z_a - z_b": round(fmean(margin), 2) + 0.0}
    for name, losses in (("lost, blurred", lost), ("lost, moved at random", moved)):
        row[name] = round(fmean(losses), 2) + 0.0
        row[f"sd of {name}"] = round(stdev(losses), 2) if len(losses) > 1 else ""
    return row
