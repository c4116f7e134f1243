"""Makes a dataset out of a folder of the user's own images."""

import csv
import os
import posixpath
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from datasets.checking import MOST_NAMES, fingerprints, in_subfolder
from datasets.splits import Picture
from utils.base.errors import InputError, first_of, printable
from utils.base.files import TableReader, write_json, write_table
from utils.data.catalog import AFTER_LABELING, DATASETS, DESCRIPTION, REST
from utils.data.lists import DATASETS_PREFIX, UNKNOWN, Example, safe_name, shortened, write_examples

# Bytes of a name, of the 255 that file systems allow; explanations append `_groundtruth_<a>_counter_<b>_index_<i>.png`.
LONGEST_STEM = 150
LONGEST_CLASS = 100
LONGEST_DATASET = 80
ENDING = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?|ppm|pgm|jp2)", re.IGNORECASE)
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}  # in lower case
UNLABELED = {"unlabeled", "unlabelled"}
# Folders of a split, in lower case: train, training, test_set, seg_test, val ...
SPLIT = re.compile(r"(?:seg[_-])?(train|test|val|valid|validation|dev)(?:ing)?(?:[ _-]?(?:set|images|data))?")
LIST_ENDINGS = {"train": "_gt_tr", "test": "_gt_te", "rest": "_gt_rest_tr"}
RESERVED = {"NAbirdsgull", "bench", "benchmarks", "datasets", "docs", "models", "results", "tests", "utils"}


def check_places(folder: Path, name: str, data_root: Path) -> None:
    """Raises InputError if a dataset cannot be called `name`, or if images, dataset and output folder overlap."""
    known = {one for dataset in DATASETS.values() for one in (dataset.name, dataset.folder, dataset.out)}
    if name in known | RESERVED or name.endswith((AFTER_LABELING, REST)) or safe_name(name, LONGEST_DATASET) != name:
        allowed = f"letters, digits, _, . and -, at most {LONGEST_DATASET} bytes, starting with a letter or digit"
        raise InputError(f"--name '{name}' is reserved or not allowed ({allowed}). Choose another.")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give the folder that contains the images; unpack archives first.")
    target = data_root / name
    if os.path.lexists(target) and not (target / DESCRIPTION).exists():
        raise InputError(f"{target} exists but is not a dataset ({DESCRIPTION} is missing). Choose another --name.")
    top = folder.resolve()
    for place in (target.resolve(), Path(name).resolve()):  # the dataset, and the default output folder
        if top == place or place in top.parents or top in place.parents:
            raise InputError(f"The images in {top} overlap with the results in {place}. Choose another --name.")


def find_files(top: Path, skipped: dict[str, str]) -> list[str]:
    """Returns the sorted paths of the files below a folder, without hidden and system files.

    Adds links to folders, out of the folder and to nothing to `skipped`.
    """
    files = []
    for path in top.rglob("*"):
        inside = path.relative_to(top)
        if any(part.startswith(".") or part.lower() in SYSTEM_FILES for part in inside.parts):
            continue
        if path.is_symlink() and not (path.is_file() and top in path.resolve().parents):
            kind = "to a folder" if path.is_dir() else "out of the folder" if path.exists() else "to a missing file"
            skipped[inside.as_posix()] = f"link {kind}"
        elif path.is_file():
            files.append(inside.as_posix())
    return sorted(files)


def user_splits(names: Sequence[str]) -> dict[str, str]:
    """Returns the top folders that are the user's "train" or "test" split; {} without a training folder."""
    tops = {top for name in names if "/" in name and (top := name.split("/")[0]).lower() not in UNLABELED}
    splits = {top: match[1] for top in tops if (match := SPLIT.fullmatch(top.lower()))}
    kinds, others = set(splits.values()), tops - splits.keys()
    if "train" not in kinds or (kinds == {"train"} and others):  # "train" may also be a class
        return {}
    if others or kinds - {"train", "test"}:
        listed = ", ".join(f"{shown(name)}/" for name in sorted(tops))
        raise InputError(f"Found {listed}. Next to train/ and test/ only unlabeled/ is allowed. Move the other images.")
    return splits


def label_by_folders(files: Sequence[str]) -> list[Picture]:
    """Takes the class from the top folder, or from the folder below `train/` and `test/`.

    Files outside of class folders and those in `unlabeled/` have no label.
    """
    splits = user_splits(files)
    pictures = []
    for name in files:
        folders = name.split("/")[:-1]
        split = splits.get(folders[0]) if folders else None
        if split:
            folders = folders[1:]
        label = class_name(folders[0]) if folders and folders[0].lower() not in UNLABELED else None
        pictures.append(Picture(name, label or None, tested=split == "test" and bool(label)))
    return pictures


def label_by_table(
    files: Sequence[str], skipped: dict[str, str], top: Path, table: Path, *columns: str
) -> list[Picture]:
    """Takes the class from a table; files that it does not list have no label. `train/` and `test/` stay separate.

    `columns` are those of paths, classes and, optionally, groups. Adds the rows that match no file and the files with
    two labels to `skipped`.
    """
    table = table.resolve()
    rows = read_table(table, *columns)
    labels: dict[str, tuple[str, int]] = {}
    matched = match_paths([row[0] for row in rows], files, top, table)
    group_of = {name: row[3] for name, row in zip(matched, rows, strict=True)}
    for name, (path, label, line, _) in zip(matched, rows, strict=True):
        if name is None:
            skipped.setdefault(path, f"listed in {table.name}, but not in the folder: line {line}")
        elif labels.setdefault(name, (label, line))[0] != label:
            skipped[name] = f"two labels in {table.name}: lines {labels[name][1]} and {line}"
    kept = [name for name in files if name not in skipped and top / name != table]
    label_of = {name: labels[name][0] for name in kept if name in labels and labels[name][0]}
    splits = user_splits(list(label_of))
    tested = {name for name in label_of if splits.get(name.split("/")[0]) == "test"}
    return [Picture(name, label_of.get(name), name in tested, group=group_of.get(name, "")) for name in kept]


def read_table(table: Path, path_column: str, label_column: str, group: str = "") -> list[tuple[str, str, int, str]]:
    """Reads path, class ("" if unknown), line and group ("" if there is no such column) from a CSV file."""
    rows = []
    try:
        reader = TableReader(table.read_bytes().decode("utf-8-sig"))
        if missing := {path_column, label_column} - set(reader.fieldnames or ()):
            found = ", ".join(reader.fieldnames or ())
            advice = "Set --path-column and --label-column."
            raise InputError(f"--labels {table} has no column '{min(missing)}', only {found}. {advice}")
        for row in reader:
            if None in row.values() or any(row.get(None, ())):
                raise InputError(f"--labels {table}, line {reader.line_num}: wrong number of fields. Correct it.")
            path, label = row[path_column].strip(), class_name(row[label_column])
            rows.append((path, label, reader.line_num, row.get(group, "") if group else ""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--labels {table} cannot be read ({error}). Save it as 'CSV UTF-8'.") from None
    return rows


def match_paths(written: Sequence[str], files: Sequence[str], top: Path, table: Path) -> list[str | None]:
    """Finds the file for each path in a table, or None.

    Paths start from `top` or from the table's folder, or are absolute. The end of a path is enough if only one file has
    it, and an image ending may be missing.
    """
    whole = {normal(name): name for name in files}
    ends: dict[str, str | None] = {}
    for path, name in whole.items():
        stem, ending = posixpath.splitext(path)
        for spelling in (path, stem) if ENDING.fullmatch(ending) else (path,):
            parts = spelling.split("/")
            for end in ("/".join(parts[start:]) for start in range(len(parts))):
                ends[end] = None if end in ends else name
    found = []
    for path in map(normal, written):
        keys = [path, *(normal(os.path.relpath(os.path.join(base, path), top)) for base in (top, table.parent))]
        found.append(next((match for key in keys if (match := whole.get(key) or ends.get(key))), None))
    return found


def normal(path: str) -> str:
    """Returns a path with slashes and composed letters (NFC)."""
    return unicodedata.normalize("NFC", posixpath.normpath(path.replace("\\", "/")))


def group_by_path(pictures: Sequence[Picture], pattern: str) -> None:
    """Groups images in whose paths a pattern finds the same: its groups, or else the whole match."""
    try:
        found = [re.search(pattern, picture.source) for picture in pictures]
    except re.error as error:
        raise InputError(f"--group-by '{pattern}' is not a regular expression ({error}). Correct it.") from None
    if not any(found):
        raise InputError(f"--group-by '{pattern}' is neither in a path nor a column of --labels. Correct it.")
    for picture, match in zip(pictures, found, strict=True):
        picture.group = repr(match.groups() or match[0]) if match else ""


def keep_usable(pictures: Sequence[Picture], skipped: dict[str, str], top: Path) -> list[Picture]:
    """Decodes every image and sets `pixels`. Adds the images left out to `skipped`.

    These are files that cannot be decoded, and images that look the same but have different labels or splits.
    """
    found = fingerprints([top / picture.source for picture in pictures])
    groups: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture, (problem, pixels) in zip(pictures, found, strict=True):
        picture.pixels = pixels
        if problem:
            skipped[picture.source] = problem
        else:
            groups[picture.pixels].append(picture)
    for group in groups.values():
        known = [twin for twin in group if twin.label is not None]
        tested = [twin for twin in known if twin.tested]
        for picture in group:
            if picture.label is None and known:
                skipped[picture.source] = f"looks the same as an image with a label: {known[0].source}"
            elif others := [twin for twin in known if twin.label != picture.label]:
                skipped[picture.source] = f"looks the same as an image of another class: {others[0].source}"
            elif tested and not picture.tested:
                skipped[picture.source] = f"looks the same as a test image: {tested[0].source}"
    return [picture for picture in pictures if picture.source not in skipped]


def check_lists(folder: Path, lists: dict[str, list[Picture]], skipped: dict[str, str]) -> None:
    """Raises InputError unless there are two classes, a training image of each, and a test image."""
    classes = {picture.label for pictures in lists.values() for picture in pictures if picture.label}
    if len(classes) < 2:
        remedy = "Put images into folders <Class>/, or check --labels."
        if any(reason.startswith("link") for reason in skipped.values()):
            remedy = "Replace the links by copies (cp -rL)."
        elif classes and all(map(in_subfolder, lists["train"])):
            remedy = f"If the classes are the folders in {folder / max(classes)}, give that folder."
        problem = f"{folder} has usable images of {len(classes)} classes, but a classifier needs two"
        raise InputError(f"{problem} (left out: {skip_summary(skipped) or 'nothing'}). {remedy}")
    if untrained := sorted(classes - {picture.label for picture in lists["train"]}):
        names = shown(first_of(untrained, MOST_NAMES))
        raise InputError(f"{folder} has only test images of {names}. Add others (or smaller groups), or remove it.")
    if not lists["test"]:
        raise InputError(f"{folder}: no class has two different images or groups to test on. Add some.")


def write_dataset(
    target: Path, top: Path, lists: dict[str, list[Picture]], skipped: dict[str, str], things: Sequence[str], copy: bool
) -> tuple[list[str], dict[str, list[Example]]]:
    """Writes images, lists, dataset.json, original_names.csv and skipped.csv into the new folder `target`.

    Images are named in the order of the originals, so their names do not depend on the draw of the lists.
    Returns the class names in label order and the rows of each list.
    """
    pictures = [(split, picture) for split, members in lists.items() for picture in members]
    classes = sorted({picture.label for _, picture in pictures if picture.label})
    labels: dict[str | None, int] = {name: label for label, name in enumerate(classes)} | {None: UNKNOWN}
    taken: dict[str, int] = {}
    folders = {name: unique_name(name or "unlabeled", LONGEST_CLASS, taken) for name in labels}
    taken_in: defaultdict[str, dict[str, int]] = defaultdict(dict)
    listed: dict[str, list[tuple[int, str]]] = {split: [] for split in lists}
    originals = []
    target.mkdir()
    for split, picture in tqdm(sorted(pictures, key=lambda pair: pair[1].source), unit="image", desc="place"):
        folder = folders[picture.label]
        inside = f"{folder}/{file_name(picture.source, taken_in[folder])}"
        place(top / picture.source, target / "images" / inside, copy)
        names = {"file": inside, "original": shown(picture.source), "class": picture.label or "", "list": split}
        originals.append(names)
        listed[split].append((labels[picture.label], f"{DATASETS_PREFIX}{target.name}/images/{inside}"))
    write_table(target / "original_names.csv", originals)
    if skipped:
        reasons = [{"path": shown(path), "reason": shown(why)} for path, why in sorted(skipped.items())]
        write_table(target / "skipped.csv", reasons)
    stems = {split: f"{target.name}{ending}" if listed[split] else "" for split, ending in LIST_ENDINGS.items()}
    names = {folders[name]: name for name in classes}
    description = {"name": target.name, "classes": list(names), **stems, "display_names": names}
    write_json(target / DESCRIPTION, description | ({"things": list(things)} if things else {}))
    rows = {}
    for split, stem in stems.items():
        if stem:
            in_order = sorted(listed[split], key=lambda pair: (pair[0] == UNKNOWN, pair))
            rows[stem] = [Example(path, label, index) for index, (label, path) in enumerate(in_order)]
            write_examples(target / f"{stem}.txt", rows[stem])
    return classes, rows


def place(source: Path, target: Path, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        (shutil.copyfile if copy else os.symlink)(source, target)
    except PermissionError as error:
        raise InputError(f"Cannot write {target} ({error.strerror}). If it cannot contain links, use --copy.") from None


def skip_summary(skipped: dict[str, str]) -> str:
    """Counts the paths left out by reason, the most frequent first."""
    counts = Counter(re.split(r": | \(", reason)[0] for reason in skipped.values())
    return "; ".join(f"{shown(reason)} ({count})" for reason, count in counts.most_common())


def unique_name(text: str, longest: int, taken: dict[str, int], ending: str = "") -> str:
    """Returns a safe name like `text`; appends `_2`, `_3` ... if it is taken, ignoring case as some file systems do.

    `longest` is in bytes, without `ending`. `taken` maps the names in use to the last number appended to each.
    """
    stem = safe_name(text, longest)
    name = first = f"{stem}{ending}"
    while name.casefold() in taken:
        taken[first.casefold()] = number = taken[first.casefold()] + 1
        name = f"{shortened(stem, longest - len(str(number)) - 1)}_{number}{ending}"
    taken[name.casefold()] = 1
    return name


def file_name(source: str, taken: dict[str, int]) -> str:
    """Returns a safe name for a file, with its ending in lower case."""
    stem, ending = posixpath.splitext(source.rsplit("/", 1)[-1])
    if not ENDING.fullmatch(ending):
        stem, ending = stem + ending, ""
    return unique_name(stem, LONGEST_STEM, taken, ending.lower())


def class_name(text: str) -> str:
    """Returns a class name with composed letters (NFC) and single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def shown(name: str) -> str:
    """Returns a file name as printable text; bytes that are not UTF-8 and invisible characters are escaped."""
    return printable(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
