"""Explanations: ours, the released procedure's, and the limits of both."""

import contextlib
import io
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import baseline, limits
from benchmarks.report import Row
from benchmarks.timing import Work
from models.resnet import Network
from utils.data.lists import Example, locate
from utils.data.loading import ImageSet, to_float
from utils.data.outputs import TEACHING_SIZE, Layout
from utils.explanations.explain_list import ExplainSettings, explain_list
from utils.explanations.explainers import counters
from utils.explanations.scout import discriminant, explanation_maps
from utils.running.resuming import Unfinished

LIST = "list_gt"  # stem of the list that is explained


def subset(images: ImageSet[Example], count: int) -> ImageSet[Example]:
    """`count` images of a list spread evenly over its classes, none of them decoded yet."""
    by_class = sorted(images.rows, key=lambda row: row.label)
    rows = [by_class[place * len(by_class) // count] for place in range(count)]
    return ImageSet(rows, images.source, images.data_root, images.view)


def whole(images: ImageSet) -> Tensor:
    """All images of a list, (N, ...); they stay in memory."""
    return torch.stack([images[number] for number in range(len(images))])


def explain(
    network: Network,
    images: ImageSet[Example],
    sizes: tuple[float, ...],
    classes: tuple[str, ...],
    cfg,
    layout: Layout,
    method: str = "scout",
) -> None:
    """All that the scripts do with a list: pictures, explanation lists, heat maps and the contact sheet; without progress bars."""
    layout.out.mkdir(exist_ok=True)
    how = ExplainSettings(sizes, cfg.image_size, cfg.batch_size, cfg.workers, cfg.device, method)
    unfinished = Unfinished(layout.out / ".unfinished", {})
    unfinished.begin()
    with contextlib.redirect_stderr(io.StringIO()):
        explain_list(network, images, layout, classes, how, unfinished)
    unfinished.remove()


class Explanations:
    """The pieces of work on explanations.

    Args:
        network: the classifier that is explained.
        images: the list, in the whole view.
        classes: class names.
        cfg: settings of the benchmark.
        folder: for pictures that live as long as the benchmark.
    """

    def __init__(
        self, network: Network, images: ImageSet[Example], classes: tuple[str, ...], cfg, folder: Path
    ) -> None:
        self.network, self.folded = network, network.folded()
        self.classes, self.cfg = classes, cfg
        self.images, self.few = subset(images, cfg.images), subset(images, cfg.images_30)
        self.pixels = whole(self.images)
        floats = to_float(self.pixels, cfg.device)
        self.forward = limits.BareForward(network, floats, cfg.device)
        self.prepared = self.forward.prepare(floats)
        self.pictures = {}
        one, many = (self.images, (TEACHING_SIZE,)), (self.few, baseline.SIZES)
        made = {"": (*one, "scout"), ", 30 sizes": (*many, "scout"), ", margin": (*one, "margin")}
        for number, (name, chosen) in enumerate(made.items()):
            self.explain(*chosen, folder / f"{number}")
            self.pictures[name] = limits.read_pictures(folder / f"{number}")
        self.margins = Layout(folder / f"{number}", LIST).explanation_list()  # those made last

    def works(self) -> dict[str, Work]:
        """What is timed."""
        workers = self.cfg.workers
        return {
            "forward": lambda _: self.forward(self.prepared),
            "maps": lambda _: self.maps(),
            "decode": lambda _: limits.decode(subset(self.images, len(self.images)), workers),
            "encode": lambda _: limits.encode(self.pictures[""], workers),
            "explain": partial(self.explain, self.images, (TEACHING_SIZE,), "scout"),
            "encode, 30 sizes": lambda _: limits.encode(self.pictures[", 30 sizes"], workers),
            "explain, 30 sizes": partial(self.explain, self.few, baseline.SIZES, "scout"),
            "forward and backward": lambda _: self.forward.and_backward(self.prepared),
            "encode, margin": lambda _: limits.encode(self.pictures[", margin"], workers),
            "explain, margin": partial(self.explain, self.images, (TEACHING_SIZE,), "margin"),
            "released": partial(self.as_released, baseline.SIZES),
            "released, one size": partial(self.as_released, (TEACHING_SIZE,)),
        }

    @torch.inference_mode()
    def maps(self) -> None:
        """Maps of all classes, confidence, and D against every wrong class, of images in memory."""
        labels = self.images.labels.to(self.cfg.device)
        for pixels, label in zip(
            self.pixels.split(self.cfg.batch_size), labels.split(self.cfg.batch_size), strict=True
        ):
            outputs = self.folded(to_float(pixels, self.cfg.device))
            discriminant(explanation_maps(outputs, self.folded.head), label, counters(label, len(self.classes)))

    def explain(self, images: ImageSet[Example], sizes: tuple[float, ...], method: str, out: Path) -> None:
        """Ours, each image decoded anew."""
        explain(self.network, subset(images, len(images)), sizes, self.classes, self.cfg, Layout(out, LIST), method)

    def as_released(self, sizes: tuple[float, ...], out: Path) -> None:
        """The released procedure, on fewer images."""
        chosen = subset(self.images, self.cfg.baseline_images)
        files = [locate(row.path, chosen.data_root) for row in chosen.rows]
        baseline.explain(
            self.network, files, chosen.labels.tolist(), len(self.classes), self.cfg.image_size, out, sizes
        )

    def rows(self, times: dict[str, dict[str, list[float]]]) -> list[Row]:
        """The table's rows of what `works` took."""
        cfg = self.cfg
        counts = {"explain, 30 sizes": cfg.images_30, "encode, 30 sizes": cfg.images_30}
        counts |= {"released": cfg.baseline_images, "released, one size": cfg.baseline_images}
        took = {
            name: np.array(times[name]["wall"]) / counts.get(name, cfg.images) for name in self.works()
        }  # seconds per image
        limit, limit_30 = (took["decode"] + took["forward"] + took[encode] for encode in ("encode", "encode, 30 sizes"))
        limit_margin = took["decode"] + took["forward and backward"] + took["encode, margin"]
        return [
            Row("maps of all classes, S, all D (limit: forward)", took["maps"], None, took["forward"], None, 1.10),
            Row(
                "explanations, t = 0.05 (released: always 30 sizes)", took["explain"], took["released"], limit, 50, 1.25
            ),
            Row(
                "  the same (released: made to stop at one size)",
                took["explain"],
                took["released, one size"],
                limit,
                None,
                None,
            ),
            Row("explanations, 30 sizes", took["explain, 30 sizes"], took["released"], limit_30, 5, None),
            Row(
                "explanations by margins (limit: backward too)",
                took["explain, margin"],
                took["released"],
                limit_margin,
                40,
                1.25,
            ),
        ]
