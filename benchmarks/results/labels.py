"""What people's labels are worth: the study of annotators."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.results import runs
from utils.base.files import TableReader
from utils.people.study import alternatives

DATASET, SEEDS = runs.BUTTERFLIES, 3


def make(cfg) -> None:
    """Runs study_annotators.py on pretrained and on SimCLR features. Merges its seeds."""
    files = runs.layout(cfg, DATASET, "annotators")
    encoders = ("--pretrained", cfg.pretrained, "--simclr-checkpoint", runs.simclr(cfg))
    size = ("--simclr-image-size", runs.SIMCLR_SIDE)
    runs.run_script(cfg, "study_annotators", DATASET, files.out, *encoders, *size, "--repeats", SEEDS)
    rows = TableReader(files.annotator_study(".csv").read_text(encoding="utf-8"))
    typed = [{key: float(value) if value and key != "labels" else value for key, value in row.items()} for row in rows]
    runs.save_table(cfg, "labels", by_source(typed))
    shutil.copyfile(files.annotator_study(".png"), Path(cfg.out, "labels.png"))


def by_source(rows: Sequence[dict]) -> list[dict]:
    """Merges the seeds of the study. `people_pay_above` is the break-even accuracy of annotators."""
    without_people = {one.labels: one for one in alternatives(rows)}
    merged = []
    for labels, quality in dict.fromkeys((row["labels"], row["annotator_accuracy"]) for row in rows):
        seeds = [row for row in rows if (row["labels"], row["annotator_accuracy"]) == (labels, quality)]
        row = {"labels": labels, "people": round(100 * quality, 1) if quality != "" else ""}
        for name in ("label_accuracy", "test_accuracy"):
            numbers = [one[name] for one in seeds if one[name] != ""]
            row[name] = round(fmean(numbers), 2) if numbers else ""
        row["deviation"] = round(stdev(one["test_accuracy"] for one in seeds), 2)
        one = without_people.get(labels)
        limits = (one.pays_from, one.by_seed[0], one.by_seed[-1]) if one else ()
        shown = ["never" if limit is None else round(100 * limit, 1) for limit in limits] or ["", "", ""]
        merged.append(row | dict(zip(("people_pay_above", "lowest", "highest"), shown, strict=True)))
    return merged
