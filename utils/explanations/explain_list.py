"""Explains a whole list: every image against every wrong class, or the strongest, as pictures, lists and heat maps."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
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
AT_ONCE = (
    64  # explanations that a thread draws at a time; a batch with 200 classes would need gigabytes in every thread
)


@dataclass(frozen=True)
class ExplainSettings:
    """Settings of an explanation run.

    Attributes:
        mask_sizes: t, fractions of the image; each has its own folders of pictures.
        image_size: side of the pictures in pixels.
        batch_size: images per forward pass.
        workers: threads, each of which explains one batch at a time.
        device: where the network runs.
        explanation: a name in `EXPLAINERS`.
        explanation_layer: the layer of `Margin`.
        counters: number of counter classes of each image, the strongest first; 0 for all.
    """

    mask_sizes: tuple[float, ...]
    image_size: int
    batch_size: int
    workers: int
    device: str
    explanation: str = "margin"
    explanation_layer: str = "layer1"
    counters: int = 0

    @property
    def explainer(self) -> Explainer:
        """The explainer, with these settings."""
        return pick(EXPLAINERS[self.explanation], self)

    def num_counters(self, num_classes: int) -> int:
        """Returns B, the number of counter classes of each image, for C classes."""
        return min(self.counters, num_classes - 1) or num_classes - 1


def open_explained(dataset: Dataset, data_root: str | Path, image_size: int, out: str | Path) -> ImageSet[Example]:
    """Opens the training list of a dataset in the whole view. Nothing is kept in memory: each image is read once or twice.

    Raises:
        InputError: as in `open_list`, or the file names of the explanations would be too long for the file system of `out`.
    """
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
        images: the list, in the whole view of `image_size`: masks must fit the picture that is explained.
        layout: names of the output.
        classes: class names, for the contact sheet.
        how: the settings.
        unfinished: the run.

    Returns:
        Numbers of images, explanations and constant maps, the teacher's accuracy on the list in percent, and warnings; None on other
        ranks than 0.

    Raises:
        InputError: an image cannot be decoded, or the teacher's outputs are not finite, or all of its maps are constant. In the last
            case the pictures are removed.
    """
    _prepare(layout, how)
    stored = how.explainer.stored(network, len(classes), how.image_size)
    heatmaps = Heatmaps(layout.heatmaps, images, stored, how.num_counters(len(classes)), unfinished)
    count = len(images) * heatmaps.num_counters * len(how.mask_sizes)
    processes.say(
        f"{len(images):,} images against {heatmaps.num_counters} classes each: {count:,} explanations, "
        f"{len(KINDS) * count:,} pictures, heat maps of {heatmaps.size / 1e6:.1f} MB."
    )
    share, done = processes.share(in_batches(range(len(images)), how.batch_size)), heatmaps.done()
    missing = [numbers for numbers in share if not done[numbers].all()]
    network, on_device = network.to(how.device).folded(), turns(how.device)
    explain = partial(_explain_batch, network, images, layout, heatmaps, how, on_device)
    total, left = sum(map(len, share)), sum(map(len, missing))
    with tqdm(
        total=total, initial=total - left, desc="explaining", unit="image", disable=not processes.is_first()
    ) as bar:
        for number in side_by_side(explain, missing, how.workers):
            bar.update(number)
    processes.wait()
    return _conclude(images, layout, classes, heatmaps, how)


@processes.first_only
def _prepare(layout: Layout, how: ExplainSettings) -> None:
    """Makes the folders, and removes the lists of an earlier run, since its pictures are overwritten."""
    for path in (layout.explanation_record, layout.explanation_list(), layout.explanation_list(people=True)):
        path.unlink(missing_ok=True)
    for folder in _folders(layout, how).values():
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)


def _explain_batch(
    network: Network,
    images: ImageSet[Example],
    layout: Layout,
    heatmaps: Heatmaps,
    how: ExplainSettings,
    on_device: AbstractContextManager,
    numbers: list[int],
) -> int:
    """Explains the images `numbers`, from decoding to the written pictures; returns how many they are."""
    pixels, label = torch.stack([images[number] for number in numbers]), images.labels[numbers]
    with torch.no_grad():
        with on_device:
            own = label.to(how.device)
            choose = partial(chosen_counters, own, heatmaps.num_counters)
            explained = how.explainer(network, to_float(pixels, how.device), own, choose)
            if not (explained.logits.isfinite().all() and explained.relevance.isfinite().all()):
                raise InputError("The teacher's outputs are not finite. Check --checkpoint and --pretrained.")
            flat = constant(explained.relevance).sum(1).cpu()  # (N,)
            logits, counter, relevance = explained.logits.cpu(), explained.counter.cpu(), explained.relevance.cpu()
            maps = {name: values.cpu() for name, values in explained.maps.items()}
        listed = zip(numbers, counter.tolist(), strict=True)
        names = [name for number, some in listed for name in _names(images.rows[number], some)]
        _write_pictures(pixels, relevance, names, _folders(layout, how), how, on_device)
    answers = torch.stack([logits.argmax(1), strongest_counters(logits, label)[:, 0], flat], dim=1)
    heatmaps.add(numbers, maps, torch.cat([answers, counter], dim=1))
    return len(numbers)


def _write_pictures(
    images: Tensor,
    relevance: Tensor,
    names: Sequence[str],
    folders: dict[tuple[str, float], Path],
    how: ExplainSettings,
    on_device: AbstractContextManager,
) -> None:
    """Cuts masks and writes the three renderings of every explanation at every mask size.

    Args:
        images: uint8 (N, 3, s, s).
        relevance: (N, B, H, W).
        names: file names of the explanations, N B.
        folders: folder of each rendering at each mask size.
        how: the settings.
        on_device: entered while something is on the device (`machine.turns`).
    """
    explainer, maps = how.explainer, relevance.flatten(0, 1)  # (N B, H, W)
    for start in range(0, len(names), AT_ONCE):
        few = range(start, min(start + AT_ONCE, len(names)))
        with on_device:
            upsampled = explainer.upsample(maps[start : start + AT_ONCE].to(how.device), how.image_size)
            cut, upsampled = masks(upsampled, how.mask_sizes).cpu(), upsampled.cpu()
        # Components of masks are found on the CPU, so another thread may use the device meanwhile.
        cut = explainer.clean(cut, upsampled)
        pictures = images[[number // relevance.shape[1] for number in few]]  # (M, 3, s, s)
        for place, size in enumerate(how.mask_sizes):
            with on_device:
                rendered = _render(pictures.to(how.device), cut[:, place].to(how.device))
            for kind, rendering in rendered.items():
                for number, picture in zip(few, rendering, strict=True):
                    write_png(folders[kind, size] / names[number], picture)


def _render(pictures: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """Draws the three renderings of pictures uint8 (M, 3, s, s) with masks bool (M, s, s)."""
    rendered = {
        IMG: fill_outside(pictures, inside),
        MASK: inside.to(torch.uint8) * 255,
        DEMO: draw_borders(pictures, inside),
    }
    return {kind: some.cpu() for kind, some in rendered.items()}


@processes.first_only
def _conclude(
    images: ImageSet[Example], layout: Layout, classes: Sequence[str], heatmaps: Heatmaps, how: ExplainSettings
) -> dict:
    """Writes heat maps, lists and contact sheet; returns what was measured."""
    predicted, rivals, flat, counters = heatmaps.answers()
    num_maps, num_flat = counters.size, int(flat.sum())
    if num_flat == num_maps:
        for row, some in zip(images.rows, counters, strict=True):
            for name in _names(row, some.tolist()):
                for folder in _folders(layout, how).values():
                    (folder / name).unlink()
        heatmaps.unfinished.advanced = False  # nothing to resume
        raise InputError(
            "--checkpoint: all maps of this network are constant, because its last layers have died. Train it again with a lower --lr, "
            "or pass another checkpoint."
        )
    heatmaps.write()
    for people in (False, True):
        folder = layout.explanations(DEMO if people else IMG, listed_size(how.mask_sizes))
        rows = (
            Explanation(listed_path(folder / name), row.label, b, row.index)
            for row, some in zip(images.rows, map(np.ndarray.tolist, counters), strict=True)
            for b, name in zip(some, _names(row, some), strict=True)
        )
        write_explanations(layout.explanation_list(people), rows)
    shown = sheet.spread(len(images), sheet.SHEET_ROWS)
    rows = [_sheet_row(number, int(rivals[number]), images, layout, heatmaps, how) for number in shown]
    sheet.contact_sheet(layout.contact_sheet, rows, classes)
    accuracy = evaluation.accuracy(predicted, images.labels)
    measured = {
        "images": len(images),
        "explanations": num_maps * len(how.mask_sizes),
        "constant_maps": num_flat,
        "teacher_accuracy_on_list": round(accuracy, 2),
    }
    warnings = [
        checks.constant_maps(num_flat, num_maps),
        checks.one_answer(evaluation.confusion(predicted, images.labels, len(classes)), classes, images.source),
    ]
    return checks.with_warnings(measured, warnings)


def _sheet_row(
    number: int, rival: int, images: ImageSet[Example], layout: Layout, heatmaps: Heatmaps, how: ExplainSettings
) -> sheet.SheetRow:
    """Reads the contact sheet's row of an image against its strongest rival."""
    row, size = images.rows[number], listed_size(how.mask_sizes)
    name = explanation_name(row.path, row.label, rival, row.index)
    machine, people = (
        to_tensor(decode(layout.explanations(kind, size) / name, "the contact sheet")) for kind in (IMG, DEMO)
    )
    maps = {array: heatmaps.maps(array, [number]) for array in heatmaps.stored}
    panels = how.explainer.panels(maps, row.label, rival, how.image_size)
    return sheet.SheetRow(images[number], panels, machine, people, row.label, rival)


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
