"""Brings the paper's lists, or drawn ones, beside the images, and proves that they fit them."""

import shutil
from pathlib import Path

from datasets.checking import label_of_folder
from datasets.download import fetch_text
from datasets.sources import SOURCES, Source
from datasets.splits import draw_lists, part_sizes
from utils.base.errors import InputError, RunError
from utils.base.files import make_folder, write_text
from utils.data.catalog import GULLS
from utils.data.lists import DATASETS_PREFIX, Example, check_files, read_examples, write_examples


def find_lists(source: Source, given: Path | None, base: str, into: Path) -> dict[str, Path]:
    """The paper's lists of a source by stem, each read once to prove it well-formed.

    Args:
        source: whose lists.
        given: the folder that holds them, flat or in a folder named like the dataset's; None to download them.
        base: the address to download from.
        into: where downloads are kept.

    Raises:
        InputError: a list is missing or malformed, or names images or labels that are not of this dataset.
        RunError: the download failed.
    """
    lists = {}
    for stem in source.list_stems:
        if given is None:
            lists[stem] = download_list(base, source.folder, stem, into)
        else:
            nested, flat = given / source.folder / f"{stem}.txt", given / f"{stem}.txt"
            lists[stem] = nested if nested.exists() else flat
        # ALLgull_gt_tr is the only list that takes images from two folders.
        folders = (
            {SOURCES[name].folder for name in ("gull", "nabirds")} if stem in source.more_lists else {source.folder}
        )
        refuse_foreign(lists[stem], source.classes, folders)
    return lists


def download_list(base: str, folder: str, stem: str, into: Path) -> Path:
    """Downloads one list, from `<base>/<folder>/` or else `<base>/`.

    Raises:
        RunError: it is in neither place, or the connection failed.
    """
    remedy = "correct --lists-url, or give --lists or --split-seed"
    for address in (f"{base.rstrip('/')}/{folder}/{stem}.txt", f"{base.rstrip('/')}/{stem}.txt"):
        if (text := fetch_text(address, remedy)) is not None:
            make_folder(into)
            write_text(into / f"{stem}.txt", text)
            return into / f"{stem}.txt"
    raise RunError(f"{stem}.txt is neither in {base}/{folder}/ nor in {base}/; {remedy}.")


def refuse_foreign(list_path: Path, classes: tuple[str, ...], folders: set[str]) -> None:
    """Proves that each row names an image `./datasets/<folder>/images/<Class>/<file>` of the class that it is labelled.

    Raises:
        InputError: naming the first line that does not; or the list is malformed.
    """
    for line, row in enumerate(read_examples(list_path, len(classes)), start=1):
        parts = row.path.removeprefix(DATASETS_PREFIX).split("/")
        well_formed = (
            row.path.startswith(DATASETS_PREFIX) and len(parts) == 4 and parts[0] in folders and parts[1] == "images"
        )
        if not well_formed or parts[3] in ("", ".", "..") or label_of_folder(row.path, classes) != row.label:
            expected = f"{DATASETS_PREFIX}{'|'.join(sorted(folders))}/images/{classes[row.label]}/<file> {row.label}"
            raise InputError(
                f"{list_path}, line {line}: expected '{expected}', found '{row.path} {row.label}'; correct the list."
            )


def place_lists(source: Source, folder: Path, lists: dict[str, Path], archive: Path) -> None:
    """Copies the lists beside the images, once every image of this folder that they name is proved to be there.

    Raises:
        InputError: naming the first line whose image the archive does not hold.
    """
    own = f"{DATASETS_PREFIX}{source.folder}/"
    for stem, path in lists.items():
        for line, row in enumerate(read_examples(path, len(source.classes)), start=1):
            if row.path.startswith(own) and not (folder / row.path.removeprefix(own)).is_file():
                raise InputError(
                    f"{path}, line {line}: {archive} does not hold {row.path}; the list or the archive is not the paper's."
                )
        shutil.copyfile(path, folder / f"{stem}.txt")


def write_drawn_lists(source: Source, folder: Path, files: dict[str, list[str]], seed: int) -> None:
    """Writes stratified lists, and says where they are smaller than the paper's."""
    available, wanted = sum(map(len, files.values())), sum(part.size for part in source.parts)
    if available < wanted:
        sizes = ", ".join(
            f"{part.stem} {size}" for part, size in zip(source.parts, part_sizes(source.parts, available), strict=True)
        )
        print(
            f"The archive holds {available} images, fewer than the paper's {wanted}; the lists are smaller in proportion: {sizes}."
        )
    for stem, rows in draw_lists(source.folder, files, source.parts, seed).items():
        write_examples(folder / f"{stem}.txt", rows)


def settle_whole_gulls(data_root: Path, renew: bool) -> None:
    """Makes ALLgull_gt_tr of both gull folders' training lists unless it is there, or proves that its images are there.

    Args:
        data_root: where the gull folders lie. Does nothing but say so until both are there.
        renew: whether a list that is there is made anew.

    Raises:
        InputError: naming the first line whose image is missing.
    """
    cub, nabirds = SOURCES["gull"], SOURCES["nabirds"]
    whole = data_root / cub.folder / "ALLgull_gt_tr.txt"
    halves = [data_root / source.folder / f"{source.parts[0].stem}.txt" for source in (cub, nabirds)]
    if not all(half.exists() for half in halves):
        print(
            f"{whole.stem} takes images from {cub.folder} and {nabirds.folder}: it is made and checked once both are there."
        )
        return
    if renew or not whole.exists():
        rows = [row for half in halves for row in read_examples(half, len(GULLS))]
        write_examples(whole, [Example(row.path, row.label, index) for index, row in enumerate(rows)])
    rows = read_examples(whole, len(GULLS))
    check_files(rows, whole, data_root)
    print(f"{whole} is ready: {len(rows)} images.")
