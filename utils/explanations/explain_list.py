"""Explaining a whole list: every image against every wrong answer, or the strongest, as pictures, lists and heat maps."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
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
from utils.data.loading import ImageSet, in_batches, open_list
from utils.data.outputs import DEMO, IMG, MASK, Layout, explanation_name, listed_size, name_problem
from utils.explanations import sheet
from utils.explanations.explained import Explainer, explain_batch
from utils.explanations.masks import masks
from utils.explanations.methods import EXPLAINERS
from utils.explanations.rendering import draw_borders, fill_outside
from utils.explanations.storage import HeatmapFile, listed_counters
from utils.running import checks
from utils.running.resuming import Unfinished
from utils.running.settings import pick
from utils.training import evaluation

KINDS = (IMG, MASK, DEMO)  # the renderings of an explanation
AT_ONCE = 64  # explanations that a thread draws at a time: of a batch with 200 classes all would take gigabytes, in every thread


@dataclass(frozen=True)
class ExplainSettings:
    """Settings of an explanation run.

    Attributes:
        mask_sizes: t, fractions of the image; one folder of pictures each.
        image_size: side of the pictures in pixels.
        batch_size: images per forward pass.
        workers: threads, each of which explains a batch at a time.
        device: where the network runs.
        explanation: a name of `EXPLAINERS`.
        explanation_layer: what `Margin` explains at.
        counters: how many wrong classes each image is explained against, those that the network finds strongest; 0 for all.
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
        """The way of explaining, with those of these settings that it has."""
        return pick(EXPLAINERS[self.explanation], self)

    def num_counters(self, num_classes: int) -> int:
        """B, the number of classes that each image is explained against, of C classes."""
        return min(self.counters, num_classes - 1) or num_classes - 1


def open_explained(dataset: Dataset, data_root: str | Path, image_size: int, out: str | Path) -> ImageSet[Example]:
    """The training list of a dataset, to be explained: in the whole view, and none held, since each image is looked at once or twice
    and the list may be longer than memory.

    Args:
        dataset: the dataset.
        data_root: the folder that holds the dataset's folder.
        image_size: side of the pictures in pixels.
        out: the output folder, whose file system must take the names of the explanations.

    Raises:
        InputError: what `open_list` refuses, or an image whose explanations would have names too long.
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
    """Explains every image of a list against every wrong class, or the strongest, and writes all that docs/files.md names.

    One forward pass per batch serves all classes and answers. Each thread takes a batch from decoding to encoding.

    Args:
        network: the teacher, in evaluation mode.
        images: the list, in the whole view of `image_size` (masks must fit the picture that was explained).
        layout: names of the output.
        classes: class names, for the contact sheet.
        how: mask sizes and so on.
        unfinished: where the run stands; batches that it finished before it was interrupted are not explained again.

    Returns:
        What was measured: number of images, of explanations, of pairs (image, counter class) whose relevance is constant, so that it
        points nowhere, how often the teacher is right on this list (percent), and what speaks against the results. Of several processes
        each explains its share of the batches, and the first alone concludes and returns something.

    Raises:
        InputError: an image cannot be decoded, or the teacher is no use: its outputs are not finite, or all of its maps are constant. In
            the last case no picture has been written.
    """
    _make_folders(layout, how)
    stored = how.explainer.stored(network, len(classes), how.image_size)
    heatmaps = HeatmapFile(layout.heatmaps, images, stored, how.num_counters(len(classes)), unfinished)
    _announce(len(images), heatmaps, how)
    _explain_missing(network.to(how.device).folded(), images, layout, heatmaps, how)
    processes.wait()
    return _conclude(images, layout, classes, heatmaps, how)


def _announce(count: int, heatmaps: HeatmapFile, how: ExplainSettings) -> None:
    """Says how much will come: with many classes and no `counters`, more than most would want."""
    explanations = count * heatmaps.num_counters * len(how.mask_sizes)
    pictures = f"{explanations:,} explanations, {len(KINDS) * explanations:,} pictures"
    processes.say(
        f"{count:,} images against {heatmaps.num_counters} classes each: {pictures}, heat maps of {heatmaps.size / 1e6:.1f} MB."
    )


@processes.first_only
def _make_folders(layout: Layout, how: ExplainSettings) -> None:
    for folder in _folders(layout, how).values():
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)


@processes.first_only
def _conclude(
    images: ImageSet[Example], layout: Layout, classes: Sequence[str], heatmaps: HeatmapFile, how: ExplainSettings
) -> dict:
    """Writes what needs all explanations: heat maps, lists, the contact sheet; returns what was measured."""
    heatmaps.write()
    for people in (False, True):
        counters = map(np.ndarray.tolist, heatmaps.counters())
        write_explanations(layout.explanation_list(people), _listed(layout, images.rows, counters, how, people))
    shown = sheet.spread(len(images), sheet.SHEET_ROWS)
    sheet.contact_sheet(
        layout.contact_sheet, [_sheet_row(number, images, layout, heatmaps, how) for number in shown], classes
    )
    answers, num_maps, flat = heatmaps.answers()[:, 0], len(images) * heatmaps.num_counters, heatmaps.constant_maps()
    accuracy = evaluation.accuracy(answers, images.labels)
    measured = {
        "images": len(images),
        "explanations": num_maps * len(how.mask_sizes),
        "constant_maps": flat,
        "teacher_accuracy_on_list": round(accuracy, 2),
    }
    doubts = [
        checks.constant_maps(flat, num_maps),
        checks.one_answer(evaluation.confusion(answers, images.labels, len(classes)), classes, images.source),
    ]
    return checks.with_warnings(measured, doubts)


def explanation_files(
    layout: Layout, rows: Sequence[Example], num_classes: int, how: ExplainSettings
) -> Iterator[Path]:
    """The files that `explain_list` leaves; which pictures these are, its list says, which comes before them.

    Raises:
        InputError: that list, or the one for people, is not what would be written beside these pictures.
    """
    yield from (layout.heatmaps, layout.contact_sheet, layout.explanation_list(), layout.explanation_list(people=True))
    counters = listed_counters(layout, rows, num_classes)
    for row, counter in zip(rows, counters, strict=True):
        if not len(counter) == len(set(counter)) == how.num_counters(num_classes):
            raise InputError(
                f"{layout.explanation_list()} has {len(counter)} explanations of {row.path}; explain that list anew."
            )
    for people in (False, True):
        path = layout.explanation_list(people)
        listed = read_explanations(path, num_classes)
        if any(one != other for one, other in zip_longest(listed, _listed(layout, rows, counters, how, people))):
            raise InputError(f"{path} names other explanations than there are of these images; explain that list anew.")
    for row, counter in zip(rows, counters, strict=True):
        yield from _pictures(layout, row, counter, how)


def _pictures(layout: Layout, row: Example, counter: Sequence[int], how: ExplainSettings) -> Iterator[Path]:
    """The pictures that explain one image against some classes: every rendering at every mask size."""
    for folder in _folders(layout, how).values():
        for name in _names(row, counter):
            yield folder / name


def _names(row: Example, counter: Sequence[int]) -> list[str]:
    """The file names of the explanations of an image against some classes."""
    return [explanation_name(row.path, row.label, b, row.index) for b in counter]


def _folders(layout: Layout, how: ExplainSettings) -> dict[tuple[str, float], Path]:
    """The folder of each rendering at each mask size."""
    return {(kind, size): layout.explanations(kind, size) for kind in KINDS for size in how.mask_sizes}


def _explain_missing(
    network: Network, images: ImageSet[Example], layout: Layout, heatmaps: HeatmapFile, how: ExplainSettings
) -> None:
    """Explains the batches that are not done, each thread one at a time from decoding to writing.

    Batches all of whose maps are constant wait until another is done, in this process or elsewhere: where none is, the teacher is no
    use, and no picture shall say otherwise.

    Raises:
        InputError: an image cannot be decoded, or the teacher is no use.
    """
    share = processes.share(in_batches(range(len(images)), how.batch_size))
    missing = _missing(share, images, layout, heatmaps, how)
    folders, on_device = _folders(layout, how), turns(how.device)

    def explain(numbers: list[int], patient: bool = True) -> bool:
        """Explains a batch; returns whether it did. A patient one leaves constant maps for later."""
        pixels, label = torch.stack([images[number] for number in numbers]), images.labels[numbers]
        with how.explainer.gradient_mode():
            with on_device:
                explained, flat = explain_batch(
                    network, how.explainer, pixels, label, heatmaps.num_counters, how.device
                )
            if patient and flat.all():
                return False
            heatmaps.add(numbers, label, explained)
            listed = zip(numbers, explained.counter.tolist(), strict=True)
            names = [name for number, counter in listed for name in _names(images.rows[number], counter)]
            _write_pictures(pixels, explained.relevance, names, folders, how, on_device)
        heatmaps.finish(numbers, label, explained, flat.sum(1))
        return True

    with _bar(share, missing) as bar:
        waiting = []
        for numbers, explained in zip(missing, side_by_side(explain, missing, how.workers), strict=True):
            bar.update(len(numbers) * explained)
            waiting += [] if explained else [numbers]
        _check_any_points(heatmaps)
        for numbers, _ in zip(
            waiting, side_by_side(partial(explain, patient=False), waiting, how.workers), strict=True
        ):
            bar.update(len(numbers))


def _check_any_points(heatmaps: HeatmapFile) -> None:
    """Proves that some batch of any process is done, which holds a map that is not constant.

    Raises:
        InputError: there is none; then there is nothing that a resumed run could go on from either.
    """
    processes.wait()  # the others' batches count
    points = heatmaps.done().any()
    processes.wait()  # whoever is refused removes what the others have yet to look at
    if not points:
        heatmaps.unfinished.advanced = False
        raise InputError(
            "--checkpoint: every map of this network is constant, so that no explanation would point at anything (its last layers have "
            "died); train it anew with a lower --lr, on other features where --pretrained names them, or give another."
        )


def _missing(
    groups: Sequence[list[int]], images: ImageSet[Example], layout: Layout, heatmaps: HeatmapFile, how: ExplainSettings
) -> list[list[int]]:
    """The batches that are not done: something was not stored, or a picture is not there whole.

    Whole batches, since the last digits of what a network says may depend on who else is in the batch.
    """
    done, counter = heatmaps.done(), heatmaps.counters()

    def finished(number: int) -> bool:
        pictures = _pictures(layout, images.rows[number], counter[number].tolist(), how)
        return bool(done[number]) and all(picture.exists() for picture in pictures)

    return [group for group in groups if not all(map(finished, group))]


def _bar(groups: Sequence[list[int]], missing: Sequence[list[int]]) -> tqdm:
    """Progress over this process's share of the batches."""
    total, left = sum(map(len, groups)), sum(map(len, missing))
    return tqdm(total=total, initial=total - left, desc="explaining", unit="image", disable=not processes.is_first())


def _write_pictures(
    images: Tensor,
    relevance: Tensor,
    names: Sequence[str],
    folders: dict[tuple[str, float], Path],
    how: ExplainSettings,
    on_device: AbstractContextManager,
) -> None:
    """Cuts masks, renders and writes: three renderings of every explanation of a batch at every mask size.

    Args:
        images: uint8 (N, 3, s, s).
        relevance: against B classes each, ascending, (N, B, H, W).
        names: the file names of those explanations, N B.
        folders: where each rendering at each mask size goes.
        how: mask sizes and so on.
        on_device: what is entered for as long as something of it is on the device (`machine.turns`).
    """
    maps = relevance.flatten(0, 1)  # (N B, H, W)
    for start in range(0, len(names), AT_ONCE):
        few = range(start, min(start + AT_ONCE, len(names)))
        with on_device:
            cut, upsampled = _cut(maps[start : start + AT_ONCE].to(how.device), how)
        # Out of its turn on the device: parts of masks are found on the CPU, one processor a thread, while others compute.
        cut = how.explainer.clean(cut, upsampled)
        pictures = images[[number // relevance.shape[1] for number in few]]  # (M, 3, s, s)
        for place, size in enumerate(how.mask_sizes):
            with on_device:
                rendered = _render(pictures.to(how.device), cut[:, place].to(how.device))
            for kind, rendering in rendered.items():
                for number, picture in zip(few, rendering, strict=True):
                    write_png(folders[kind, size] / names[number], picture)


def _cut(maps: Tensor, how: ExplainSettings) -> tuple[Tensor, Tensor]:
    """The masks of maps (M, H, W) at every mask size as they are cut, bool (M, T, s, s), and what they were cut from, (M, s, s); on the
    CPU."""
    upsampled = how.explainer.upsample(maps, how.image_size)
    return masks(upsampled, how.mask_sizes).cpu(), upsampled.cpu()


def _sheet_row(
    number: int, images: ImageSet[Example], layout: Layout, heatmaps: HeatmapFile, how: ExplainSettings
) -> sheet.SheetRow:
    """The contact sheet's row of an image against its strongest rival, from what is on disk."""
    row, (a, b) = images.rows[number], (images.rows[number].label, int(heatmaps.answers()[number, 1]))
    name, size = explanation_name(row.path, a, b, row.index), listed_size(how.mask_sizes)
    machine, people = (
        to_tensor(decode(layout.explanations(kind, size) / name, "the contact sheet")) for kind in (IMG, DEMO)
    )
    panels = how.explainer.panels(heatmaps.maps([number]), a, b, how.image_size)
    return sheet.SheetRow(images[number], panels, machine, people, a, b)


def _render(pictures: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """The three renderings of pictures uint8 (M, 3, s, s) with masks bool (M, s, s), on the CPU."""
    rendered = {
        IMG: fill_outside(pictures, inside),
        MASK: inside.to(torch.uint8) * 255,
        DEMO: draw_borders(pictures, inside),
    }
    return {kind: some.cpu() for kind, some in rendered.items()}


def _listed(
    layout: Layout, rows: Sequence[Example], counters: Iterable[Sequence[int]], how: ExplainSettings, people: bool
) -> Iterator[Explanation]:
    """The rows of an explanation list: images in list order, the classes that each is explained against ascending."""
    folder = layout.explanations(DEMO if people else IMG, listed_size(how.mask_sizes))
    for row, some in zip(rows, counters, strict=True):
        for b, name in zip(some, _names(row, some), strict=True):
            yield Explanation(listed_path(folder / name), row.label, b, row.index)
