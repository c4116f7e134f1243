"""Where explanations fall on drawn moths, and what the margin loses on photographs when they are blurred."""

from functools import partial
from statistics import fmean, stdev

from benchmarks.results import runs
from models.weights import load_classifier
from utils.data.catalog import find
from utils.data.images import whole_view
from utils.data.loading import open_list
from utils.data.outputs import TEACHING_SIZE
from utils.explanations import deletion, localization
from utils.explanations.explain_list import spread

DATASET, IMAGES = runs.BUTTERFLIES, 100  # whose explanations are blurred
# The values that `localization.measure` returns, as docs/results.md calls them.
LOCALIZATION = (
    "mask: on T",
    "mask: of T",
    "mask: on marks of a",
    "mask: of marks of a",
    "map: largest value in T",
    "map: mass in T",
    "map: rank in T",
)


def make(cfg) -> None:
    runs.save_table(cfg, "explanations_localization", localized(cfg))
    runs.save_table(cfg, "explanations_deletion", deleted(cfg))


def localized(cfg) -> list[dict]:
    """Measures how much of masks and maps falls on true differences, in percent."""
    root = runs.data_root(cfg, runs.MOTHS)
    exact = localization.truths(find(runs.MOTHS, root), root, cfg.seed)
    rows = []
    for kind in ("margin", "scout"):
        (run,) = localization.find_runs(str(runs.explain(cfg, runs.MOTHS, kind).out), root)
        for variant, values in localization.measure(run, TEACHING_SIZE, exact, cfg.seed).items():
            percent = [round(value, 1) for value in values]
            rows.append({"explanation": kind, "variant": variant} | dict(zip(LOCALIZATION, percent, strict=True)))
    return rows


def deleted(cfg) -> list[dict]:
    """Measures the margins of two teachers and their loss when the mask, or the mask moved at random, is blurred."""
    root = runs.data_root(cfg, DATASET)
    dataset = find(DATASET, root)
    files = {"the teacher": runs.teacher(cfg, DATASET), "the second network": runs.teacher(cfg, DATASET, second=True)}
    networks = {name: load_classifier(str(one.teacher), dataset.classes).folded() for name, one in files.items()}
    images = open_list(dataset, "train", root, partial(whole_view, size=runs.SIDE))
    rows = []
    for kind in ("margin", "scout", "disc"):
        layout, chosen = runs.explain(cfg, DATASET, kind), spread(len(images), IMAGES)
        for network, values in deletion.measure(networks, images, layout, TEACHING_SIZE, chosen).items():
            margin, lost, moved = values.T.tolist()
            row = {"explanation": kind, "network": network, "z_a - z_b": round(fmean(margin), 2) + 0.0}
            for name, losses in (("lost, blurred", lost), ("lost, moved at random", moved)):
                row |= {name: round(fmean(losses), 2) + 0.0, f"sd of {name}": round(stdev(losses), 2)}
            rows.append(row)
    return rows
