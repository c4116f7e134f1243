"""Explains a whole list: every image against every wrong class, or the strongest, as pictures, lists and heat maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.resnet import Network
from utils.base import figures, processes
from utils.base.errors import InputError
from utils.base.files import remove_leftovers, write_png
from utils.base.machine import side_by_side, turns
from utils.data.catalog import Dataset
from utils.data.images import decode, to_tensor, whole_view
from utils.data.lists import Example, Explanation, check_unchanged, listed_path, read_explanations, write_explanations
from utils.data.loading import ImageSet, in_batches, open_list, to_float
from utils.data.outputs import DEMO, IMG, MASK, Layout, explanation_name, faithfulness_of, listed_size, name_problem
from utils.explanations.explainers import Explainer, chosen_counters, strongest_counters
from utils.explanations.faithfulness import blurred_logits, effects, trusted, write_faithfulness
from utils.explanations.margin import Margin
from utils.explanations.masks import constant, masks
from utils.explanations.rendering import draw_borders, fill_outside
from utils.explanations.scout import Scout
from utils.explanations.storage import CHECKSUM, CONSTANT, EFFECTS, LOGITS, Results
from utils.running import checks
from utils.running.records import check_explained
from utils.running.resuming import Unfinished
from utils.running.settings import pick
from utils.training import evaluation

Method = Literal["margin", "scout"]
EXPLAINERS: dict[str, type[Explainer]] = {"margin": Margin, "scout": Scout}

KINDS = (IMG, MASK, DEMO)  # the renderings of an explanation
SHEET_ROWS = 12  # images on the contact sheet
# Explanations that a thread draws at a time: a batch with 200 classes would need gigabytes in every thread.
AT_ONCE = 64


@dataclass(frozen=True)
class ExplainSettings:
    mask_sizes: tuple[float, ...]  # t
    image_size: int
    batch_size: int
    workers: int  # threads, each of which explains one batch at a time
    device: str
    explanation: str = "margin"  # a name in EXPLAINERS
    explanation_layer: str = "layer1"
    focus: float = 0.5
    faithfulness: bool = True
    outlined_share: float = 0.75  # on the contact sheet
    counters: int = 0  # 0: all wrong classes


def open_explained(dataset: Dataset, data_root: str | Path, image_size: int) -> ImageSet[Example]:
    """Opens the training list in the whole view. Raises InputError if file names of explanations would be too long."""
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

    Each thread takes a batch from decoding to the written pictures. Every rank explains its share of the batches. A
    batch that an interrupted run did not finish is explained again as a whole.

    Args:
        network: the teacher, in evaluation mode.
        images: the list, in the whole view of `image_size`, because masks must fit the explained picture.

    Returns on rank 0 the measurements for the run record, and warnings. Raises InputError if an image cannot be
    decoded or has changed since a stopped run, the teacher's outputs are not finite, or all maps are constant.
    """
    run = _Run(network, images, layout, classes, how, unfinished)
    check_unchanged(run.results.checksums(images.rows), images.data_root, "it was explained. Start without --resume")
    share = processes.share(run.results.batches)
    missing = run.results.missing(share)
    total, left = sum(map(len, share)), sum(map(len, missing))
    bar = tqdm(total=total, initial=total - left, desc="explaining", unit="image", disable=not processes.is_first())
    with bar:
        for count in side_by_side(run.explain, missing, how.workers):
            bar.update(count)
    processes.wait()
    return run.conclude()


@dataclass
class _Run:
    """An explanation run; see `explain_list`."""

    network: Network
    images: ImageSet[Example]
    layout: Layout
    classes: Sequence[str]
    how: ExplainSettings
    unfinished: Unfinished

    def __post_init__(self) -> None:
        how, wrong = self.how, len(self.classes) - 1
        self.network, self.on_device = self.network.to(how.device).folded(), turns(how.device)
        self.explainer = pick(EXPLAINERS[how.explanation], how)
        self.num_counters = min(how.counters, wrong) or wrong  # B
        batches = in_batches(range(len(self.images)), how.batch_size)
        self.results = Results(self.unfinished.folder, batches, gaps=self.num_counters < wrong)
        self.folders = _folders(self.layout, how)
        self._prepare()
        processes.wait()  # barrier: the folders exist

    @processes.first_only
    def _prepare(self) -> None:
        """Makes the folders, and removes the lists of an earlier run, because its pictures are overwritten."""
        layout, count = self.layout, len(self.images) * self.num_counters * len(self.how.mask_sizes)
        lists = layout.explanation_list(), layout.explanation_list(people=True)
        for path in (layout.explanation_record, *lists, faithfulness_of(lists[0])):
            path.unlink(missing_ok=True)
        for folder in self.folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        counts = f"{count:,} explanations, {len(KINDS) * count:,} pictures"
        print(f"{len(self.images):,} images against {self.num_counters} classes each: {counts}.")

    @torch.no_grad()
    def explain(self, numbers: list[int]) -> int:
        """Explains a batch, from decoding to the written pictures; returns its size."""
        checksums = torch.tensor([self.images.checksum(number) for number in numbers])
        pixels = torch.stack([self.images[number] for number in numbers])
        with self.on_device:
            label = self.images.labels[numbers].to(self.how.device)
            choose = partial(chosen_counters, label, self.num_counters)
            found = self.explainer(self.network, to_float(pixels, self.how.device), label, choose)
            if not (found.logits.isfinite().all() and found.relevance.isfinite().all()):
                raise InputError("The teacher's outputs are not finite. Check --checkpoint and --pretrained.")
            arrays = found.maps | {LOGITS: found.logits, CONSTANT: constant(found.relevance).sum(1)}
            arrays = {name: values.cpu() for name, values in arrays.items()} | {CHECKSUM: checksums}
            label, counter, relevance = label.cpu(), found.counter.cpu(), found.relevance.cpu()
        listed = zip(numbers, counter.tolist(), strict=True)
        names = [name for number, some in listed for name in _names(self.images.rows[number], some)]
        blurred = self._write_pictures(pixels, relevance, names)
        if self.how.faithfulness:
            arrays[EFFECTS] = effects(arrays[LOGITS], blurred.view(*counter.shape, -1), label, counter)
        self.results.add(numbers, arrays)
        self.unfinished.advanced = True
        return len(numbers)

    def _write_pictures(self, images: Tensor, relevance: Tensor, names: Sequence[str]) -> Tensor:
        """Cuts masks and writes the three renderings of every explanation at every mask size.

        Args:
            images: uint8 (N, 3, s, s).
            relevance: (N, B, H, W).
            names: file names of the explanations, N B.

        Returns the logits (N B, C) after blurring the masks of the listed size; empty without faithfulness.
        """
        blurred, listed = [torch.empty(0)], self.how.mask_sizes.index(listed_size(self.how.mask_sizes))
        device, maps = self.how.device, relevance.flatten(0, 1)  # (N B, H, W)
        owners = torch.arange(len(images)).repeat_interleave(relevance.shape[1])  # (N B,)
        for start in range(0, len(names), AT_ONCE):
            few = slice(start, start + AT_ONCE)
            with self.on_device:
                upsampled = self.explainer.upsample(maps[few].to(device), self.how.image_size)
                cut, upsampled = masks(upsampled, self.how.mask_sizes).cpu(), upsampled.cpu()
            # Components of masks are found on the CPU, so another thread may use the device meanwhile.
            cut = self.explainer.clean(cut, upsampled)
            if self.how.faithfulness:
                with self.on_device:
                    whole, inside = to_float(images, device), cut[:, listed].to(device)
                    blurred.append(blurred_logits(self.network, whole, inside, owners[few].to(device)).cpu())
            for place, size in enumerate(self.how.mask_sizes):
                with self.on_device:
                    rendered = _render(images[owners[few]].to(device), cut[:, place].to(device))
                for kind, pictures in rendered.items():
                    for name, picture in zip(names[few], pictures, strict=True):
                        write_png(self.folders[kind, size] / name, picture)
        return torch.cat(blurred)

    @processes.first_only
    def conclude(self) -> dict | None:
        """Writes heat maps, lists and contact sheet; returns what was measured.

        If all maps are constant, removes the pictures and raises InputError.
        """
        images, layout, how = self.images, self.layout, self.how
        logits, flat = (torch.from_numpy(np.concatenate(list(self.results.read(name)))) for name in (LOGITS, CONSTANT))
        predicted, strongest = logits.argmax(1), strongest_counters(logits, images.labels)
        counter = strongest[:, : self.num_counters].sort(1).values.tolist()
        explained = list(zip(images.rows, counter, strict=True))
        num_maps, num_flat = len(images) * self.num_counters, int(flat.sum())
        if num_flat == num_maps:
            for folder in self.folders.values():
                for row, some in explained:
                    for name in _names(row, some):
                        (folder / name).unlink()
            self.unfinished.advanced = False  # nothing to resume
            raise InputError(
                "--checkpoint: all maps of this network are constant, because its last layers have died. "
                "Train it again with a lower --lr, or pass another checkpoint."
            )
        self.results.write_heatmaps(layout.heatmaps, images.rows)
        for people, kind in ((False, IMG), (True, DEMO)):
            folder = self.folders[kind, listed_size(how.mask_sizes)]
            rows = [
                Explanation(listed_path(folder / name), row.label, b, row.index)
                for row, some in explained
                for b, name in zip(some, _names(row, some), strict=True)
            ]
            write_explanations(layout.explanation_list(people), rows)
            if how.faithfulness and not people:
                found = torch.from_numpy(np.concatenate(list(self.results.read(EFFECTS)))).flatten(0, 1)
                write_faithfulness(faithfulness_of(layout.explanation_list()), rows, found)
        names = figures.drawable(self.classes)
        shown = spread(len(images), SHEET_ROWS)
        outlined, threshold = trusted(layout.explanation_list(), how.outlined_share)
        print(threshold)
        figures.tiles(layout.contact_sheet, [self._tiles(n, int(strongest[n, 0]), outlined, names) for n in shown])
        measured = {
            "images": len(images),
            "explanations": num_maps * len(how.mask_sizes),
            "constant_maps": num_flat,
            "teacher_accuracy_on_list": round(evaluation.accuracy(predicted, images.labels), 2),
        }
        confusion = evaluation.confusion(predicted, images.labels, len(self.classes))
        warnings = [checks.constant_maps(num_flat, num_maps), checks.one_answer(confusion, self.classes, images.source)]
        return checks.with_warnings(measured, warnings)

    def _tiles(self, number: int, rival: int, outlined: dict[str, bool], names: Sequence[str]) -> list[figures.Tile]:
        """Returns a row of the contact sheet: an image, its maps, E, and what people see against one wrong class."""
        row, image, size = self.images.rows[number], self.images[number], listed_size(self.how.mask_sizes)
        (file,) = _names(row, [rival])
        files = [self.folders[kind, size] / file for kind in (IMG, DEMO)]
        machine, people = (to_tensor(decode(file, "the contact sheet")) for file in files)
        panels = self.explainer.panels(self.results.maps(number), row.label, rival, self.how.image_size)
        title = f"a = {names[row.label]}\nb = {names[rival]}"
        seen = (people, "red border (people)") if outlined.get(file, True) else (image, "no border (people)")
        return [(image, title), *panels, (machine, "E (machine)"), seen]


def spread(total: int, wanted: int) -> list[int]:
    """Returns up to `wanted` numbers, evenly spread over 0 .. total - 1, ascending."""
    return sorted({round(place * (total - 1) / max(1, wanted - 1)) for place in range(wanted)})


def _render(pictures: Tensor, inside: Tensor) -> dict[str, Tensor]:
    """Draws the three renderings of pictures uint8 (M, 3, s, s) with masks bool (M, s, s)."""
    rendered = {
        IMG: fill_outside(pictures, inside),
        MASK: inside.to(torch.uint8) * 255,
        DEMO: draw_borders(pictures, inside),
    }
    return {kind: some.cpu() for kind, some in rendered.items()}


def explanation_files(layout: Layout, images: ImageSet, num_classes: int, how: ExplainSettings) -> Iterator[Path]:
    """Yields the files of a finished run: first the lists and their record, then the pictures that the list names.

    Raises InputError if the explanation list is malformed, or a picture has changed since it was explained.
    """
    yield from (layout.heatmaps, layout.contact_sheet, layout.explanation_record)
    yield from (layout.explanation_list(), layout.explanation_list(people=True))
    yield from [faithfulness_of(layout.explanation_list())] * how.faithfulness
    names = [Path(row.path).name for row in read_explanations(layout.explanation_list(), num_classes)]
    check_explained(layout.explanation_list(), images.data_root)
    for folder in _folders(layout, how).values():
        yield from (folder / name for name in names)


def _names(row: Example, counters: Sequence[int]) -> list[str]:
    return [explanation_name(row.path, row.label, b, row.index) for b in counters]


def _folders(layout: Layout, how: ExplainSettings) -> dict[tuple[str, float], Path]:
    return {(kind, size): layout.explanations(kind, size) for kind in KINDS for size in how.mask_sizes}
