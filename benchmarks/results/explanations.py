"""Where explanations fall on drawn moths, and what the margin loses on photographs when they are blurred."""

from functools import partial
from statistics import fmean, stdev

from benchmarks.results import runs
from models.weights import load_classifier
from utils.base import figures
from utils.data.catalog import find
from utils.data.images import read_picture, to_tensor, whole_view
from utils.data.loading import open_list, to_float
from utils.data.outputs import DEMO, TEACHING_SIZE, explanation_name
from utils.explanations import deletion, localization
from utils.explanations.explain_list import spread
from utils.explanations.explainers import strongest_counters

DATASET, IMAGES, SHOWN = runs.BUTTERFLIES, 100, 24  # images whose explanations are blurred, and drawn


def make(cfg) -> None:
    localized, covered = located(cfg)
    runs.save_table(cfg, "explanations_localization", localized)
    runs.save_table(cfg, "explanations_coverage", covered)
    root = runs.data_root(cfg, DATASET)
    dataset = find(DATASET, root)
    images = open_list(dataset, "train", root, partial(whole_view, size=runs.SIDE))
    files = {"the teacher": runs.teacher(cfg, DATASET), "the second network": runs.teacher(cfg, DATASET, second=True)}
    networks = {name: load_classifier(str(one.teacher), dataset.classes).folded() for name, one in files.items()}
    runs.save_table(cfg, "explanations_deletion", deleted(cfg, images, networks))
    draw_focus(f"{cfg.out}/focus.png", cfg, images, networks["the teacher"], dataset.display_names)


def located(cfg) -> tuple[list[dict], list[dict]]:
    """Measures how much of masks and maps lies on true differences, and how much if fewer are outlined, in percent."""
    root, localized, covered = runs.data_root(cfg, runs.MOTHS), [], []
    explained = {kind: str(runs.explain(cfg, runs.MOTHS, kind).out) for kind in ("margin", "scout")}
    lists = {kind: localization.find_runs(out, root)[0] for kind, out in explained.items()}
    exact = localization.truths(lists["margin"].images, cfg.seed)
    for kind, run in lists.items():
        teacher = load_classifier(str(runs.teacher(cfg, runs.MOTHS).teacher), run.dataset.classes)
        rows = localization.measure(run, TEACHING_SIZE, exact, cfg.seed)
        covered += [{"explanation": kind} | row for row in localization.coverage(run, rows["explanation"])]
        for variant, tallies in (rows | localization.cascade(run, teacher, exact, cfg.seed)).items():
            percent = dict(zip(localization.COLUMNS, localization.percent(tallies), strict=True))
            localized.append({"explanation": kind, "variant": variant} | percent)
    return localized, covered


def deleted(cfg, images, networks) -> list[dict]:
    """Measures the margins of two teachers and their loss when the mask, or the mask moved at random, is blurred."""
    rows = []
    for kind in ("margin", "unfocused", "scout", "disc", "contrast"):
        layout, chosen = runs.explain(cfg, DATASET, kind), spread(len(images), IMAGES)
        for network, values in deletion.measure(networks, images, layout, TEACHING_SIZE, chosen).items():
            margin, lost, moved = values.T.tolist()
            row = {"explanation": kind, "network": network, "z_a - z_b": round(fmean(margin), 2) + 0.0}
            for name, losses in (("lost, blurred", lost), ("lost, moved at random", moved)):
                row |= {name: round(fmean(losses), 2) + 0.0, f"sd of {name}": round(stdev(losses), 2)}
            rows.append(row)
    return rows


def draw_focus(path: str, cfg, images, network, names) -> None:
    """Draws images as people see them, without focus and with it, against the strongest wrong class."""
    panels = []
    for number in spread(len(images), SHOWN):
        row, logits = images.rows[number], network(to_float(images[number][None], "cpu")).logits
        counter = int(strongest_counters(logits, images.labels[[number]])[0, 0])
        file = explanation_name(row.path, row.label, counter, row.index)
        titles = {"unfocused": f"{names[row.label]}\nwithout focus", "margin": f"not {names[counter]}\nwith focus"}
        for kind, title in titles.items():
            folder = runs.explain(cfg, DATASET, kind).explanations(DEMO, TEACHING_SIZE)
            panels.append((to_tensor(read_picture(folder / file)), title))
    figures.tiles(path, [panels[start : start + 8] for start in range(0, len(panels), 8)])
    read_picture(path).quantize().save(path, optimize=True)  # 256 colors: a seventh of the size
