"""Datasets of the paper: sources of their archives and lists, and which members of an archive belong to which class."""

import http.client
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from datasets.checking import fingerprints, label_of_folder
from datasets.splits import Part
from utils.base.errors import InputError, RunError
from utils.data.catalog import BUTTERFLIES, CHARACTERS, GULLS
from utils.data.lists import Example, locate, plain_name, read_examples, write_examples

# Addresses and checksums are those of the owners; README.md says which ones we have not tried.
LISTS_URL = "https://raw.githubusercontent.com/peiwang062/MEMORABLE/HEAD/datasets"
PAPER_GULLS_PAGE = "https://drive.google.com/file/d/1gjt2GIiGtvpsUoQywktP6RE0KhHunAzI/view"
TEACH_URL = "https://homepages.inf.ed.ac.uk/omacaod/files/cvpr_2018_teach_data.zip"
TEACH_PAGE = "https://github.com/macaodha/explain_teach"
IMAGE = r"([^/]+)/([^/.][^/]*\.(?:png|jpe?g))"  # <Class>/<file>; files that start with a dot are added by macOS
# RuntimeError: encrypted zip files, and compression that Python lacks.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class Source:
    folder: str  # below the data root
    classes: tuple[str, ...]  # in label order
    url: str | None  # address of the archive; None if its owner asks people to accept terms first
    archive: str  # file name of the download
    pages: tuple[str, ...]  # where people find a suitable archive
    layouts: tuple[str, ...]  # possible folders of the class folders in an archive; the first one found is used
    parts: tuple[Part, ...]  # the paper's lists
    more_lists: tuple[str, ...] = ()  # lists of the paper that also name images of another folder
    md5: str | None = None  # checksum of what `url` returns, if known

    @property
    def list_stems(self) -> list[str]:
        stems = [stem for part in self.parts for stem in (part.whole, part.stem) if stem]
        return list(dict.fromkeys([*stems, *self.more_lists]))

    @property
    def remedy(self) -> str:
        return f"Download the archive from {' or '.join(self.pages)} and pass it with --archive."


SOURCES = {
    "butterflies": Source(
        folder="butterflies_crop",
        classes=BUTTERFLIES,
        url=TEACH_URL,
        archive="cvpr_2018_teach_data.zip",
        pages=(TEACH_PAGE,),
        layouts=("butterflies_crop/images", "butterflies_crop"),
        parts=(
            Part("butterflies_gt_s300_tr", 300, whole="butterflies_gt_tr"),
            Part("butterflies_gt_s300_rest_tr", 1244, whole="butterflies_gt_tr"),
            Part("butterflies_gt_te", 386),
        ),
    ),
    "chinese_chars": Source(
        folder="chinese_chars",
        classes=CHARACTERS,
        url=TEACH_URL,
        archive="cvpr_2018_teach_data.zip",
        pages=(TEACH_PAGE,),
        layouts=("chinese_chars/images", "chinese_chars"),
        parts=(Part("ChineseChars_gt_tr", 568), Part("ChineseChars_gt_te", 143)),
    ),
    "gull": Source(
        folder="CUBgull",
        classes=GULLS,
        url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        archive="CUB_200_2011.tgz",
        pages=(PAPER_GULLS_PAGE, "https://data.caltech.edu/records/65de6-vp158"),
        layouts=("CUBgull/images", "CUB_200_2011/images"),
        parts=(Part("CUBgull_gt_tr", 150), Part("CUBgull_gt_te", 149)),
        more_lists=("ALLgull_gt_tr",),
        md5="97eceeb196236b17998738112f37df78",
    ),
    "nabirds": Source(
        folder="NAbirdsgull",
        classes=GULLS,
        url=None,
        archive="nabirds.tar.gz",
        pages=(PAPER_GULLS_PAGE, "https://dl.allaboutbirds.org/nabirds"),
        layouts=("NAbirdsgull/images", "nabirds/images"),
        # Numbered after the 150 images of CUBgull_gt_tr. Both lists make up ALLgull_gt_tr.
        parts=(Part("NAbirdsgull_gt_tr", 431, first_index=150),),
    ),
}


def obtain_archive(source: Source, archive: Path | None, url: str | None, downloads: Path) -> Path:
    if archive is None:
        archive, address = downloads / source.archive, url or source.url
        if not address:
            raise InputError(f"{source.archive} cannot be downloaded automatically. {source.remedy}")
        if not archive.exists():
            download(address, archive, source.remedy, source.md5 if address == source.url else None)
    if not archive.is_file():
        raise InputError(f"{archive} is not a file. Check --archive.")
    return archive


def download(url: str, target: Path, remedy: str, md5: str | None = None) -> None:
    """Downloads a file with a progress bar. `target` appears only when it is complete and has its checksum."""
    from torchvision.datasets.utils import download_url  # takes seconds to import

    if not re.match("https?://", url):
        raise InputError(f"'{url}' is not an http or https address. {remedy}")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        download_url(url, part.parent, part.name, md5)
        part.replace(target)
    except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
        raise RunError(f"The download of {url} failed ({error}). {remedy}") from None


def obtain_lists(source: Source, given: Path | None, base: str, downloads: Path) -> dict[str, Path]:
    """Finds the paper's lists in the folder `given` or its subfolder for the dataset, or downloads them."""
    if given is None:
        given = downloads
        for stem in source.list_stems:
            download(f"{base}/{source.folder}/{stem}.txt", given / f"{stem}.txt", "Check --lists-url, or use --lists.")
    lists = {}
    for stem in source.list_stems:
        nested = given / source.folder / f"{stem}.txt"
        lists[stem] = nested if nested.exists() else given / f"{stem}.txt"
        read_examples(lists[stem], len(source.classes))
    return lists


def extract_images(archive: Path, source: Source, folder: Path) -> dict[str, list[str]]:
    """Extracts the images of a source to `folder/<Class>/<file>` and decodes each one.

    Returns the file names of each class, in label order. Raises InputError if a file is damaged or a class is missing.
    """
    try:
        with tarfile.open(archive) if tarfile.is_tarfile(archive) else zipfile.ZipFile(archive) as packed:
            if isinstance(packed, tarfile.TarFile):
                members = {member.name: member for member in packed if member.isfile()}
                names, read = list(members), lambda name: packed.extractfile(members[name]).read()  # type: ignore[union-attr]
            else:
                names, read = packed.namelist(), packed.read
            for name, place in tqdm(find_images(source, names, read).items(), unit="image", desc="extract"):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes(read(name))
    except DAMAGED as error:
        advice = f"If it is another kind, such as 7z, pack its folder as zip. Otherwise delete it. {source.remedy}"
        raise InputError(f"{archive} is damaged or not an archive (zip or tar): {error}. {advice}") from error
    files = {name: sorted(file.name for file in (folder / name).glob("*")) for name in source.classes}
    if empty := [name for name, found in files.items() if not found]:
        layouts = " or ".join(f"{layout}/<Class>/<file>" for layout in source.layouts)
        raise InputError(f"{archive} has no images of {', '.join(empty)} (expected at {layouts}). {source.remedy}")
    paths = [folder / name / file for name, found in files.items() for file in found]
    for path, (problem, _) in zip(paths, fingerprints(paths), strict=True):
        if problem:
            raise InputError(f"{archive}: the image {path.parent.name}/{path.name} {problem}.")
    return files


def find_images(source: Source, names: Sequence[str], read: Callable[[str], bytes]) -> dict[str, str]:
    """Maps the images of an archive to `<Class>/<file>`.

    Digits, spaces and punctuation in the names of folders are ignored: `Cabbage White`, `059.California_Gull`. NABirds
    numbers its folders and names them in classes.txt: `817 California Gull (Adult)`. Its file names lose their hyphens,
    as in the paper's lists.
    """
    classes = {name.lower(): name for name in source.classes}
    table = next((name for name in names if name.endswith("nabirds/classes.txt")), None)
    lines = read(table).decode().splitlines() if table else []
    numbered = {f"{int(number):04d}": name for number, _, name in (line.partition(" ") for line in lines)}
    for layout in source.layouts:
        places = {}
        for name in names:
            match = re.search(rf"(?:^|/){layout}/{IMAGE}$", name, re.IGNORECASE)
            if match and "__MACOSX" not in name:
                folder, file = match.groups()
                species = numbered.get(folder, folder).partition("(")[0].lower()
                if label := classes.get(re.sub(r"['’]s\b|[^a-z]", "", species)):
                    file = file.replace("-", "") if folder in numbered else file
                    places[name] = f"{label}/{plain_name(file)}"
        if places:
            return places
    return {}


def place_lists(source: Source, data_root: Path, lists: dict[str, Path], archive: Path) -> None:
    """Copies the paper's lists to the images. Raises InputError if an image is missing or has the wrong label."""
    own = f"./datasets/{source.folder}/"
    for stem, path in lists.items():
        for line, row in enumerate(read_examples(path, len(source.classes)), start=1):
            missing = row.path.startswith(own) and not Path(locate(row.path, data_root)).is_file()
            if missing or label_of_folder(row.path, source.classes) != row.label:
                where = f"{path}, line {line}: {row.path} with label {row.label}"
                raise InputError(f"{where} does not match {archive}. Check that both are the paper's.")
        shutil.copyfile(path, data_root / source.folder / f"{stem}.txt")


def join_gulls(data_root: Path, redraw: bool) -> None:
    """Joins the training lists of both gull folders to ALLgull_gt_tr, if it is missing or redrawn."""
    whole = data_root / "CUBgull/ALLgull_gt_tr.txt"
    halves = [data_root / "CUBgull/CUBgull_gt_tr.txt", data_root / "NAbirdsgull/NAbirdsgull_gt_tr.txt"]
    if all(half.exists() for half in halves) and (redraw or not whole.exists()):
        rows = [row for half in halves for row in read_examples(half, len(GULLS))]
        write_examples(whole, [Example(row.path, row.label, index) for index, row in enumerate(rows)])
