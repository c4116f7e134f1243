"""Checks a dataset: counts its images and compares its lists with its files."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from datasets.splits import Picture
from utils.base.errors import first_of, printable
from utils.base.files import TableReader
from utils.base.machine import processors, side_by_side
from utils.data.catalog import Dataset
from utils.data.images import Undecodable, read_picture
from utils.data.lists import DATASETS_PREFIX, UNKNOWN, Example, locate, read_examples
from utils.data.outputs import name_problem

MOST_NAMES = 5  # class names in a sentence
MISSING = {"", "na", "nan", "none", "null", "empty"}  # what programs write for a missing class, without punctuation
SERIES = r"(.*?)\d+[^\d/]*$"  # --group-by with this pattern keeps series together
SERIES_WORDS = re.compile("burst|frame|video|clip|sequence", re.IGNORECASE)


def check_dataset(dataset: Dataset, data_root: Path) -> tuple[str, list[str], list[str]]:
    """Reads the lists of a dataset and decodes every image in them.

    Returns a table of the counts, the problems (one line each), and remarks on what is not an error.
    """
    lists = {split: dataset.list_path(data_root, split) for split in ("train", "test")}
    # The rest list of the gulls belongs to NABirds, which not everybody has.
    if dataset.rest and (path := dataset.list_path(data_root, "rest")).exists():
        lists["rest"] = path
    rows = {
        split: read_examples(path, len(dataset.classes), unique=True, rest=split != "train" or dataset.trains_on_rest)
        for split, path in lists.items()
    }
    listed = list(dict.fromkeys(row.path for split in rows.values() for row in split))
    found = dict(zip(listed, fingerprints([Path(locate(path, data_root)) for path in listed]), strict=True))

    names, problems = dataset.display_names, []
    originals = data_root / dataset.folder / "original_names.csv"  # of prepare.py folder
    named = TableReader(originals.read_text(encoding="utf-8")) if originals.exists() else ()
    source_of = {f"{DATASETS_PREFIX}{dataset.folder}/images/{row['file']}": row["original"] for row in named}

    def picture(row: Example) -> Picture:
        label = None if row.label == UNKNOWN else names[row.label]
        return Picture(source_of.get(row.path, row.path), label)

    pictures = {split: list(map(picture, members)) for split, members in rows.items()}
    if (absent := absent_classes(pictures["train"], names)) and not dataset.trains_on_rest:
        missing = first_of(absent, MOST_NAMES)
        problems.append(f"{lists['train']} has no image of {missing}. Add some to train a classifier.")
    seen: dict[str, str] = {}  # images in earlier lists, by path and by pixels
    for split, path in lists.items():
        lines: dict[str, int] = {}
        for line, row in enumerate(rows[split], start=1):
            where, (problem, pixels) = f"{path}, line {line}: {row.path}", found[row.path]
            if problem:
                problems.append(f"{where} {problem}.")
            if row.label != UNKNOWN and label_of_folder(row.path, dataset.classes) not in (None, row.label):
                problems.append(f"{where} is labeled {row.label} ({names[row.label]}).")
            if lines.setdefault(row.path, line) != line:
                problems.append(f"{where} is already listed on line {lines[row.path]}.")
            if split == "train" and (too_long := name_problem(row.path, row.label, row.index, len(dataset.classes))):
                problems.append(f"{where} {too_long}.")
            if twin := seen.get(row.path) or seen.get(pixels):
                problems.append(f"{where} has the same {'path' if row.path in seen else 'pixels'} as {twin}.")
        for row in rows[split]:
            for key in (row.path, found[row.path][1]):
                seen.setdefault(key or row.path, f"{row.path} in {path}")
    table = count_table(names, {path.stem: rows[split] for split, path in lists.items()})
    return table, problems, find_remarks(names, pictures)


def absent_classes(pictures: Iterable[Picture], classes: Sequence[str]) -> list[str]:
    """Returns the classes without an image, or [] if some labels are unknown, since these may be of any class."""
    present = {picture.label for picture in pictures}
    return [name for name in classes if name not in present and None not in present]


def find_remarks(classes: Sequence[str], lists: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Describes what looks like a mistake in a dataset, one line each."""
    pictures = [picture for members in lists.values() for picture in members]
    spelled = [list(names) for _, names in groupby(sorted(classes, key=spelling), spelling)]
    same = [" / ".join(names) for names in spelled if len(names) > 1]
    missing = [name for name in classes if re.sub(r"[\W_]", "", name).casefold() in MISSING]
    nested = {picture.label for picture in pictures} - {one.label for one in pictures if not in_subfolder(one)}
    together = f"If one shows a single scene, accuracies are too high: use prepare.py folder --group-by '{SERIES}'."
    found = (
        (absent_classes(lists["test"], classes), "No test image of {}. Accuracies and the page's test leave them out."),
        (same, "Class names differ only in spelling: {}. If they mean one class, give it one name."),
        (missing, "Classes look like missing values: {}. If they are, leave the label empty or use unlabeled/."),
        (
            [name for name in classes if name in nested],
            "Class folders contain only folders: {}. If those are the classes, move them up.",
        ),
        (split_series(lists), f"Numbered series are in both training and test list: {{}}. {together}"),
    )
    return [printable(sentence.format(first_of(names, MOST_NAMES))) for names, sentence in found if names]


def spelling(name: str) -> str:
    """Returns what names have in common that differ in case, spaces, dashes, leading zeros or a trailing `.0`."""
    plain = re.sub(r"[\s_\-\u2010-\u2015]", "", unicodedata.normalize("NFKC", name).casefold())
    return re.sub(r"^0+(?=\d)|\.0+$", "", plain)


def in_subfolder(picture: Picture) -> bool:
    """True if an image is in a folder below the folder that is named after its class."""
    folders = list(map(spelling, picture.source.split("/")[:-1]))
    return spelling(picture.label or "") in folders[:-1] and spelling(picture.label or "") != folders[-1]


def split_series(lists: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Finds images of one class whose names differ in the last number only and that are in both lists.

    A series that is more than half of its class counts only if its name says so: most files are numbered.
    """
    members: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for split in ("train", "test"):
        for picture in lists[split]:
            if picture.label and (match := re.match(SERIES, picture.source)):
                members[picture.label, match[1]].append(split)
    sizes = Counter(picture.label for split in ("train", "test") for picture in lists[split])
    return [
        f"{start}*"
        for (label, start), splits in members.items()
        if len(set(splits)) == 2 and (2 * len(splits) <= sizes[label] or SERIES_WORDS.search(start))
    ]


def fingerprints(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Decodes images in threads. Returns for each file the problem ("" if none), and the SHA-256 of size and pixels."""
    found = side_by_side(fingerprint, files, processors())
    return list(tqdm(found, total=len(files), unit="image", desc="decode"))


def fingerprint(file: Path) -> tuple[str, str]:
    try:
        image = read_picture(file)
    except Undecodable as error:
        return str(error), ""
    return "", hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def count_table(classes: Sequence[str], lists: dict[str, list[Example]]) -> str:
    """Formats the number of images per class (rows) and list (columns)."""
    counts = [Counter(row.label for row in rows) for rows in lists.values()]
    table = [["class", *lists]]
    for label, name in [*enumerate(classes), (UNKNOWN, "unknown")]:
        table.append([name, *(str(count[label]) for count in counts)])
    table.append(["total", *(str(count.total()) for count in counts)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in table)


def label_of_folder(listed: str, classes: Sequence[str]) -> int | None:
    """Returns the label of the class that the folder of a listed image is named after, or None."""
    parts = listed.split("/")
    return classes.index(parts[-2]) if len(parts) > 1 and parts[-2] in classes else None
