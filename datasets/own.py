"""From a folder of the user's own images to a dataset: names that lists can express, lists, and a description that the scripts find."""

import csv
import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from datasets.apart import refuse_foreign, refuse_name, refuse_outputs, refuse_overlap
from datasets.checking import count_table
from datasets.images import inspections
from datasets.labels import label_by_table, read_labels
from datasets.names import LONGEST_CLASS, Namer, file_name
from datasets.splits import Shares, share_out
from datasets.trees import Picture, Tree, label_by_folders, shown, some, walk
from utils.base.errors import InputError
from utils.base.files import refuse_existing, replacing_folder, write_json
from utils.data.catalog import DESCRIPTION
from utils.data.lists import DATASETS_PREFIX, UNKNOWN, Example, write_examples

# Formats, by Pillow's names, whose decoders run no other program, as that of EPS does.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
ENDINGS = {"train": "_gt_tr", "test": "_gt_te", "rest": "_gt_rest_tr"}  # of the lists' names


@dataclass(frozen=True)
class Own:
    """What a user asks for.

    Attributes:
        folder: where the images are; it is only read.
        name: of the dataset.
        data_root: where the dataset goes.
        shares: how the labelled images are shared out.
        copy: whether images are copied; otherwise links lead to them.
        labels: a table of labels; None takes the folders' names.
        path_column, label_column: names of the table's columns.
        things: what a picture shows, in the singular and in the plural; () if not told.
        force: whether a dataset of this name is replaced.
    """

    folder: Path
    name: str
    data_root: Path
    shares: Shares
    copy: bool = False
    labels: Path | None = None
    path_column: str = "path"
    label_column: str = "label"
    things: tuple[str, ...] = ()
    force: bool = False


@dataclass
class Made:
    """What became of it.

    Attributes:
        table: images per list and class, as text.
        skipped: paths that were left out, and why.
        remarks: sentences about what a user should know.
        images: how many the lists hold.
    """

    table: str
    skipped: dict[str, str]
    images: int
    remarks: list[str] = field(default_factory=list)


def make_own_dataset(own: Own) -> Made:
    """Makes `<data root>/<name>/`: images, lists, dataset.json, and tables of the original names and of what was left out.

    Raises:
        InputError: the name or the folder cannot be used, or holds no two classes of images; nothing was changed.
    """
    refuse_name(own.name)
    target = own.data_root / own.name
    refuse_existing(target, own.force)
    tree = walk(own.folder)
    refuse_overlap(tree.top, target)
    refuse_foreign(target)
    refuse_outputs(tree.top, own.name)
    if own.labels is None:
        pictures = label_by_folders(tree)
    else:
        pictures = label_by_table(tree, read_labels(own.labels, own.path_column, own.label_column), own.labels)
    if own.shares.test is not None and any(picture.part for picture in pictures):
        raise InputError(
            f"--test-share {own.shares.test:g}: {own.folder} has a test/ of its own; leave the setting out."
        )
    named = classes_of(pictures)
    pictures = separate_twins(look_into(pictures, tree), tree.skipped)
    tree.skipped = dict(sorted(tree.skipped.items()))  # folders are listed in no certain order
    classes = sorted(classes_of(pictures))
    refuse_too_few(own, classes, pictures, tree)
    lists = share_out(pictures, own.shares)
    refuse_untaught(own.folder, classes, lists)
    with replacing_folder(own.data_root, own.name, own.force) as staging:
        rows = write_dataset(staging / own.name, tree, classes, lists, own)
    made = Made(count_table(tuple(classes), rows), tree.skipped, len(pictures))
    made.remarks += [
        f"Class {shown(name)} has no usable image and is left out." for name in sorted(named - set(classes))
    ]
    made.remarks += remarks(classes, lists, own.shares)
    return made


def classes_of(pictures: Sequence[Picture]) -> set[str]:
    """The names of the classes that pictures are of."""
    return {picture.label for picture in pictures if picture.label is not None}


def look_into(pictures: Sequence[Picture], tree: Tree) -> list[Picture]:
    """Decodes every file, and keeps those that are pictures; the others are put among what is skipped."""
    kept = []
    files = [tree.top / picture.source for picture in pictures]
    for picture, found in zip(pictures, inspections(files, FORMATS), strict=True):
        if found.problem:
            tree.skipped[picture.source] = found.problem
        else:
            picture.pixels = found.pixels
            kept.append(picture)
    return kept


def separate_twins(pictures: Sequence[Picture], skipped: dict[str, str]) -> list[Picture]:
    """Leaves out what the lists could not keep apart: pictures that look the same and are of two classes, or of none and of one, or
    that the user has put into the test list and into the other."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.pixels, []).append(picture)
    for group in groups.values():
        for picture in group if len(group) > 1 else ():
            if reason := _twin_problem(picture, group):
                skipped[picture.source] = reason
    return [picture for picture in pictures if picture.source not in skipped]


def _twin_problem(picture: Picture, group: Sequence[Picture]) -> str:
    """Why a picture cannot stay, given all that look like it; "" if it can."""
    known = [twin for twin in group if twin.label is not None]
    tested = [twin for twin in known if twin.part == "test"]
    if len({twin.label for twin in known}) > 1:
        other = next(twin for twin in known if twin.label != picture.label)
        return f"looks the same as an image of another class: {shown(other.source)}"
    if picture.label is None and known:
        return f"looks the same as an image with a label: {shown(known[0].source)}"
    if tested and picture.part != "test":
        return f"looks the same as an image of the test part: {shown(tested[0].source)}"
    return ""


def refuse_too_few(own: Own, classes: Sequence[str], pictures: Sequence[Picture], tree: Tree) -> None:
    """Proves that there are two classes at least.

    Raises:
        InputError: there are not; it says what there is.
    """
    if len(classes) < 2:
        found = f"{len(classes)} class{'' if len(classes) == 1 else 'es'} ({', '.join(map(shown, classes)) or 'none'})"
        left_out = "; ".join(told(kind, paths) for kind, paths in by_kind(tree.skipped).items()) or "nothing"
        remedy = "put images into folders <Class>/, or give --labels"
        if own.labels is not None:
            remedy = (
                f"correct {own.labels}, whose column '{own.path_column}' (--path-column) must name the images and '{own.label_column}' "
                "(--label-column) their classes"
            )
        raise InputError(
            f"{own.folder} holds usable images of {found}, {len(pictures)} in all (left out: {left_out}), and a classifier needs two "
            f"classes; {remedy}."
        )


def refuse_untaught(folder: Path, classes: Sequence[str], lists: dict[str, list[Picture]]) -> None:
    """Proves that each class has a training image, and that there is a test image.

    Raises:
        InputError: naming the first class that has none.
    """
    taught = {picture.label for picture in lists["train"]}
    if untaught := [name for name in classes if name not in taught]:
        raise InputError(
            f"{folder}: class {shown(untaught[0])} has test images and no other; add some to train/, or take it away."
        )
    if not lists["test"]:
        raise InputError(f"{folder}: no class has two different images, so that there is none to test with; add some.")


def write_dataset(
    folder: Path, tree: Tree, classes: Sequence[str], lists: dict[str, list[Picture]], own: Own
) -> dict[str, list[Example]]:
    """Writes all files of a dataset into a new folder; returns the rows of its lists by the lists' names."""
    namer = Namer()
    folders = {name: namer.name(name, LONGEST_CLASS) for name in classes}
    nowhere = namer.name("unlabeled", LONGEST_CLASS)
    number = {name: label for label, name in enumerate(classes)}
    placed: dict[str, list[tuple[int, str]]] = {split: [] for split in lists}
    folder.mkdir()
    with open(folder / "original_names.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "original", "class", "list"))
        for split, picture, inside in _named(lists, folders, nowhere):
            _put(tree.top / picture.source, folder / "images" / inside, own.copy)
            table.writerow((inside, shown(picture.source), picture.label or "", split))
            label = UNKNOWN if picture.label is None else number[picture.label]
            placed[split].append((label, f"{DATASETS_PREFIX}{own.name}/images/{inside}"))
    _write_skipped(folder, tree.skipped)
    stems = {split: f"{own.name}{ending}" if placed[split] else "" for split, ending in ENDINGS.items()}
    names = {folders[name]: name for name in classes}
    things = {"things": list(own.things)} if own.things else {}
    write_json(
        folder / DESCRIPTION, {"name": own.name, "classes": list(names), **stems, "display_names": names, **things}
    )
    return _write_lists(folder, {stem: placed[split] for split, stem in stems.items() if stem})


def _write_lists(folder: Path, placed: dict[str, list[tuple[int, str]]]) -> dict[str, list[Example]]:
    """Writes lists of labels and paths, sorted by them, images without a label at the end."""
    rows = {}
    for stem, pairs in placed.items():
        in_order = sorted(pairs, key=lambda pair: (pair[0] == UNKNOWN, pair))
        rows[stem] = [Example(path, label, index) for index, (label, path) in enumerate(in_order)]
        write_examples(folder / f"{stem}.txt", rows[stem])
    return rows


def _write_skipped(folder: Path, skipped: dict[str, str]) -> None:
    """Writes the table of what was left out, if anything was."""
    if skipped:
        with open(folder / "skipped.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("path", "reason"))
            table.writerows((shown(path), shown(reason)) for path, reason in skipped.items())


def _named(
    lists: dict[str, list[Picture]], folders: dict[str, str], nowhere: str
) -> Iterator[tuple[str, Picture, str]]:
    """Each picture with its list and the path that it gets below `images/`, with a progress bar.

    Named in the order of the originals, so that the names are the same however the lists are drawn.
    """
    every = sorted(
        ((split, picture) for split, members in lists.items() for picture in members), key=lambda pair: pair[1].source
    )
    namers: dict[str, Namer] = {}
    for split, picture in tqdm(every, unit="image", desc="place"):
        inside = nowhere if picture.label is None else folders[picture.label]
        yield split, picture, f"{inside}/{file_name(namers.setdefault(inside, Namer()), picture.source)}"


def _put(source: Path, target: Path, copy: bool) -> None:
    """Copies an image, or links to it.

    Raises:
        InputError: links cannot be made there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copyfile(source, target)
        return
    try:
        os.symlink(source, target)
    except OSError as error:
        if error.errno in NO_LINKS:
            raise InputError(f"The data root takes no links ({error.strerror}); give --copy.") from None
        raise


def by_kind(skipped: dict[str, str]) -> dict[str, list[str]]:
    """What was left out, by the kind of reason, the most frequent first."""
    kinds: dict[str, list[str]] = {}
    for path, reason in skipped.items():
        kinds.setdefault(re.split(r": | \(", reason)[0], []).append(path)
    return dict(sorted(kinds.items(), key=lambda kind: -len(kind[1])))


def told(kind: str, paths: Sequence[str]) -> str:
    """How many paths were left out for a kind of reason, and one of them."""
    one = shown(paths[0])
    return (
        f"1, which {shown(kind)}: {one}"
        if len(paths) == 1
        else f"{len(paths)}, each of which {shown(kind)}, such as {one}"
    )


def remarks(classes: Sequence[str], lists: dict[str, list[Picture]], shares: Shares) -> list[str]:
    """What a user should know about the lists."""
    counts = {split: Counter(picture.label for picture in members) for split, members in lists.items()}
    sentences = []
    if untested := [name for name in classes if not counts["test"][name]]:
        sentences.append(f"Without a test image, since they have too few: {some(untested)}.")
    if shares.expert is not None and (small := [name for name in classes if counts["train"][name] < shares.expert]):
        sentences.append(f"With fewer than --expert {shares.expert} training images: {some(small)}.")
    looks = Counter(picture.pixels for members in lists.values() for picture in members)
    if twins := sum(count for count in looks.values() if count > 1):
        sentences.append(f"{twins} images look the same as others; each stays in the list of its like.")
    if unknown := counts["rest"][None]:
        images = "1 image" if unknown == 1 else f"{unknown} images"
        sentences.append(
            f"The class of {images} of the rest list is unknown: people's labels of such images cannot be checked."
        )
    return sentences
