"""Explains a whole list: every image against every wrong class, or the strongest, as pictures, lists and heat maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.resnet import Network
from utils.base import processes
from utils.base.errors import InputError
from utils.base.files import remove_leftovers, write_png
from utils.base.machine import side_by_side, turns
from utils.data.catalog import Dataset
from utils.data.images import decode, to_tensor, whole_view
from utils.data.lists import Example, Explanation, listed_path, read_explanations, write_explanations
from utils.data.loading import ImageSet, in_batches, open_list, to_float
from utils.data.outputs import DEMO, IMG, MASK, Layout, explanation_name, listed_size, name_problem
from utils.explanations import sheet
from utils.explanations.explainers import EXPLAINERS, Explainer, chosen_counters, strongest_counters
from utils.explanations.masks import constant, masks
from utils.explanations.rendering import draw_borders, fill_outside
from utils.explanations.storage import Heatmaps
from utils.running import checks
from utils.running.resuming import Unfinished
from utils.running.settings import pick
from utils.training import evaluation

KINDS = (IMG, MASK, DEMO)  # the renderings of an explanation
# Explanations that a thread draws at a time: a batch with 200 classes would need gigabytes in every thread.
AT_ONCE = 64


@dataclass(frozen=True)
class ExplainSettings:
    """Settings of an explanation run; scripts explain them."""

    mask_sizes: tuple[float, ...]  # t
    image_size: int
    batch_size: int
    workers: int  # threads, each of which explains one batch at a time
    device: str
    explanation: str = "margin"  # a name in EXPLAINERS
    explanation_layer: str = "layer1"
    counters: int = 0  # 0: all wrong classes

    @property
    def explainer(self) -> Explainer:
        return pick(EXPLAINERS[self.explanation], self)

    def num_counters(self, num_classes: int) -> int:
        """Returns B, the number of counter classes of each image, for C classes."""
        return min(self.counters, num_classes - 1) or num_classes - 1


def open_explained(dataset: Dataset, data_root: str | Path, image_size: int) -> ImageSet[Example]:
    """Opens the training list in the whole view; InputError if file names of explanations would be too long."""
    images = open_list(dataset, "train", data_root, partial(whole_view, size=image_size))
    for line, row in enumerate(images.rows, start=1):
        if problem := name_problem(row.path, row.label, row.index, len(dataset.classes)):
            raise InputError(f"{images.source}, line {line}: {row.path} {problem}.")
    return images


def explain_list(
    network: Network,
    images: ImageSet[Example],
    layout: Layout,
    classes: Sequence[str],
    how: ExplainSettings,
    unfinished: Unfinished,
) -> dict | None:
    """Explains a list and writes everything that docs/files.md names, except the record of the explanation list.

    One forward pass per batch serves all classes. Each thread takes a batch from decoding to the written pictures. Every rank explains
    its share of the batches; a batch that an interrupted run did not finish is explained again as a whole.

    Args:
        network: the teacher, in evaluation mode.
        images: the list, in the whole view of `image_size`, because masks must fit the explained picture.

    Returns:
        On rank 0 the numbers of images, explanations and constant maps, the teacher's accuracy on the list in percent, and warnings.

    Raises:
        InputError: an image cannot be decoded, the teacher's outputs are not finite, or all of its maps are constant.
    """
    run = _Run(network, images, layout, how, len(classes), unfinished)
    share, done = processes.share(in_batches(range(len(images)), how.batch_size)), run.heatmaps.done()
    missing = [numbers for numbers in share if not done[numbers].all()]
    total, left = sum(map(len, share)), sum(map(len, missing))
    bar = tqdm(total=total, initial=total - left, desc="explaining", unit="image", disable=not processes.is_first())
    with bar:
        for count in side_by_side(run.explain, missing, how.workers):
            bar.update(count)
    processes.wait()
    return run.conclude(classes)


class _Run:
    """An explanation run: its settings, its working arrays, and the network on its device."""

    def __init__(
        self,
        network: Network,
        images: ImageSet[Example],
        layout: Layout,
        how: ExplainSettings,
        num_classes: int,
        unfinished: Unfinished,
    ) -> None:
        self.images, self.layout, self.how, self.explainer = images, layout, how, how.explainer
        self.network, self.on_device = network.to(how.device).folded(), turns(how.device)
        self.folders = _folders(layout, how)
        self._prepare()
        stored = self.explainer.stored(network, num_classes, how.image_size)
        self.heatmaps = Heatmaps(layout.heatmaps, images, stored, how.num_counters(num_classes), unfinished)
        count = len(images) * self.heatmaps.num_counters * len(how.mask_sizes)
        counts = f"{count:,} explanations, {len(KINDS) * count:,} pictures"
        processes.say(f"{len(images):,} images against {self.heatmaps.num_counters} classes each: {counts}.")

    @processes.first_only
    def _prepare(self) -> None:
        """Makes the folders, and removes the lists of an earlier run, because its pictures are overwritten."""
        layout = self.layout
        for path in (layout.explanation_record, layout.explanation_list(), layout.explanation_list(people=True)):
            path.unlink(missing_ok=True)
        for folder in self.folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)

    @torch.no_grad()
    def explain(self, numbers: list[int]) -> int:
        """Explains a batch, from decoding to the written pictures; returns its size."""
        device, count = self.how.device, self.heatmaps.num_counters
        pixels, label = torch.stack([self.images[number] for number in numbers]), self.images.labels[numbers]
        with self.on_device:
            own = label.to(device)
            found = self.explainer(self.network, to_float(pixels, device), own, partial(chosen_counters, own, count))
            if not (found.logits.isfinite().all() and found.relevance.isfinite().all()):
                raise InputError("The teacher's outputs are not finite. Check --checkpoint and --pretrained.")
            flat = constant(found.relevance).sum(1)  # (N,)
            answers = torch.stack([found.logits.argmax(1), strongest_counters(found.logits, own)[:, 0], flat], dim=1)
            answers, relevance = torch.cat([answers, found.counter], dim=1).cpu(), found.relevance.cpu()
            maps = {name: values.cpu() for name, values in found.maps.items()}
        listed = zip(numbers, answers[:, 3:].tolist(), strict=True)
        names = [name for number, counter in listed for name in _names(self.images.rows[number], counter)]
        self._write_pictures(pixels, relevance, names)
        self.heatmaps.add(numbers, maps, answers)
        return len(numbers)

    def _write_pictures(self, images: Tensor, relevance: Tensor, names: Sequence[str]) -> None:
        """Cuts masks and writes the three renderings of every explanation at every mask size.

        Args:
            images: uint8 (N, 3, s, s).
            relevance: (N, B, H, W).
            names: file names of the explanations, N B.
        """
        device, sizes, maps = self.how.device, self.how.mask_sizes, relevance.flatten(0, 1)  # (N B, H, W)
        for start in range(0, len(names), AT_ONCE):
            few = range(start, min(start + AT_ONCE, len(names)))
            with self.on_device:
                upsampled = self.explainer.upsample(maps[start : start + AT_ONCE].to(device), self.how.image_size)
                cut, upsampled = masks(upsampled, sizes).cpu(), upsampled.cpu()
            # Components of masks are found on the CPU, so another thread may use the device meanwhile.
            cut = self.explainer.clean(cut, upsampled)
            pictures = images[[number // relevance.shape[1] for number in few]]  # (M, 3, s, s)
            for place, size in enumerate(sizes):
                with self.on_device:
                    rendered = _render(pictures.to(device), cut[:, place].to(device))
                for kind, rendering in rendered.items():
                    for number, picture in zip(few, rendering, strict=True):
                        write_png(self.folders[kind, size] / names[number], picture)

    @processes.first_only
    def conclude(self, classes: Sequence[str]) -> dict:
        """Writes heat maps, lists and contact sheet; returns what was measured."""
        images, layout, answers = self.images, self.layout, self.heatmaps.answers()
        predicted, rivals, flat = torch.from_numpy(answers[:, :3].T.copy())
        num_maps, num_flat = len(images) * self.heatmaps.num_counters, int(flat.sum())
        if num_flat == num_maps:
            self._refuse(answers)
        self.heatmaps.write()
        for people, kind in ((False, IMG), (True, DEMO)):
            folder = layout.explanations(kind, listed_size(self.how.mask_sizes))
            rows = (
                Explanation(listed_path(folder / name), row.label, b, row.index)
                for row, (_, _, _, *some) in zip(images.rows, map(np.ndarray.tolist, answers), strict=True)
                for b, name in zip(some, _names(row, some), strict=True)
            )
            write_explanations(layout.explanation_list(people), rows)
        shown = sheet.spread(len(images), sheet.SHEET_ROWS)
        sheet.contact_sheet(layout.contact_sheet, [self._sheet_row(n, int(rivals[n])) for n in shown], classes)
        measured = {
            "images": len(images),
            "explanations": num_maps * len(self.how.mask_sizes),
            "constant_maps": num_flat,
            "teacher_accuracy_on_list": round(evaluation.accuracy(predicted, images.labels), 2),
        }
        confusion = evaluation.confusion(predicted, images.labels, len(classes))
        warnings = [checks.constant_maps(num_flat, num_maps), checks.one_answer(confusion, classes, images.source)]
        return checks.with_warnings(measured, warnings)

    def _refuse(self, answers: np.ndarray) -> None:
        """Removes the pictures of a network whose maps are all constant.

        Raises:
            InputError: always.
        """
        for row, (_, _, _, *some) in zip(self.images.rows, answers.tolist(), strict=True):
            for folder in self.folders.values():
                for name in _names(row, some):
                    (folder / name).unlink()
        self.heatmaps.unfinished.advanced = False  # nothing to resume
        raise InputError(
            "--checkpoint: all maps of this network are constant, because its last layers have died. Train it again with a lower --lr, "
            "or pass another checkpoint."
        )

    def _sheet_row(self, number: int, rival: int) -> sheet.SheetRow:
        """Reads the contact sheet's row of an image and its strongest wrong class."""
        row, size = self.images.rows[number], listed_size(self.how.mask_sizes)
        (name,) = _names(row, [rival])
        machine, people = (
            to_tensor(decode(self.folders[kind, size] / name, "the contact sheet")) for kind in (IMG, DEMO)
        )
        maps = {array: self.heatmaps.maps(array, [number]) for array in self.heatmaps.stored}
        panels = self.explainer.panels(maps, row.label, rival, self.how.image_size)
        return sheet.SheetRow(self.images[number], panels, machine, people, row.label, rival)


def _render(pictures: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """Draws the three renderings of pictures uint8 (M, 3, s, s) with masks bool (M, s, s)."""
    rendered = {
        IMG: fill_outside(pictures, inside),
        MASK: inside.to(torch.uint8) * 255,
        DEMO: draw_borders(pictures, inside),
    }
    return {kind: some.cpu() for kind, some in rendered.items()}


def explanation_files(layout: Layout, num_classes: int, how: ExplainSettings) -> Iterator[Path]:
    """Yields the files of a finished run: first the lists and their record, then the pictures that the list names.

    Raises:
        InputError: the explanation list is malformed.
    """
    yield from (layout.heatmaps, layout.contact_sheet, layout.explanation_record)
    yield from (layout.explanation_list(), layout.explanation_list(people=True))
    names = [Path(row.path).name for row in read_explanations(layout.explanation_list(), num_classes)]
    for folder in _folders(layout, how).values():
        yield from (folder / name for name in names)


def _names(row: Example, counters: Sequence[int]) -> list[str]:
    """Names the pictures of an image against some counter classes."""
    return [explanation_name(row.path, row.label, b, row.index) for b in counters]


def _folders(layout: Layout, how: ExplainSettings) -> dict[tuple[str, float], Path]:
    """The folder of each rendering at each mask size."""
    return {(kind, size): layout.explanations(kind, size) for kind in KINDS for size in how.mask_sizes}
