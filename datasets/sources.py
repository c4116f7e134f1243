"""Datasets of the paper: where their archives and lists come from, and which members of an archive are which class."""

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
from datasets.splits import Part, draw_lists
from utils.base.errors import InputError, RunError
from utils.base.files import file_digest
from utils.data.catalog import BUTTERFLIES, CHARACTERS, GULLS
from utils.data.lists import Example, check_files, locate, plain_name, read_examples, write_examples

LISTS_URL = "https://raw.githubusercontent.com/peiwang062/MEMORABLE/HEAD/datasets"
PAPER_GULLS_PAGE = "https://drive.google.com/file/d/1gjt2GIiGtvpsUoQywktP6RE0KhHunAzI/view"
IMAGE = r"([^/]+)/([^/.][^/]*\.(?:png|jpe?g))"  # <Class>/<file>; files that start with a dot are added by macOS
# RuntimeError: encrypted zip files; NotImplementedError: compression methods that Python lacks.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Source:
    """A dataset of the paper."""

    name: str  # command of prepare.py
    folder: str  # below the data root
    classes: tuple[str, ...]  # in label order
    url: str | None  # address of the archive; None if its owner asks people to accept terms first
    archive: str  # file name of the download
    pages: tuple[str, ...]  # where people find a suitable archive
    layouts: tuple[
        str, ...
    ]  # folders in an archive that may contain the class folders; the first one that does is used
    parts: tuple[Part, ...]  # the paper's lists
    more_lists: tuple[str, ...] = ()  # lists of the paper that also name images of another folder
    md5: str | None = None  # checksum of what `url` returns, if known

    @property
    def list_stems(self) -> list[str]:
        """Names of all lists in this folder."""
        stems = [stem for part in self.parts for stem in (part.whole, part.stem) if stem]
        return list(dict.fromkeys([*stems, *self.more_lists]))

    @property
    def remedy(self) -> str:
        return f"Download the archive from {' or '.join(self.pages)} and pass it with --archive."


# Addresses and checksums are those of the owners; README.md says which ones we have not tried.
TEACH_URL = "https://homepages.inf.ed.ac.uk/omacaod/files/cvpr_2018_teach_data.zip"
TEACH_PAGE = "https://github.com/macaodha/explain_teach"
BUTTERFLY_PARTS = (
    Part("butterflies_gt_s300_tr", 300, whole="butterflies_gt_tr"),
    Part("butterflies_gt_s300_rest_tr", 1244, whole="butterflies_gt_tr"),
    Part("butterflies_gt_te", 386),
)
SOURCES = {
    source.name: source
    for source in (
        Source(
            name="butterflies",
            folder="butterflies_crop",
            classes=BUTTERFLIES,
            url=TEACH_URL,
            archive="cvpr_2018_teach_data.zip",
            pages=(TEACH_PAGE,),
            layouts=("butterflies_crop/images", "butterflies_crop"),
            parts=BUTTERFLY_PARTS,
        ),
        Source(
            name="chinese_chars",
            folder="chinese_chars",
            classes=CHARACTERS,
            url=TEACH_URL,
            archive="cvpr_2018_teach_data.zip",
            pages=(TEACH_PAGE,),
            layouts=("chinese_chars/images", "chinese_chars"),
            parts=(Part("ChineseChars_gt_tr", 568), Part("ChineseChars_gt_te", 143)),
        ),
        Source(
            name="gull",
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
        Source(
            name="nabirds",
            folder="NAbirdsgull",
            classes=GULLS,
            url=None,
            archive="nabirds.tar.gz",
            pages=(PAPER_GULLS_PAGE, "https://dl.allaboutbirds.org/nabirds"),
            layouts=("NAbirdsgull/images", "nabirds/images"),
            # Numbered after the 150 images of CUBgull_gt_tr, with which they make up ALLgull_gt_tr.
            parts=(Part("NAbirdsgull_gt_tr", 431, first_index=150),),
        ),
    )
}


def obtain_archive(source: Source, archive: Path | None, url: str | None, md5: str | None, downloads: Path) -> Path:
    """Returns the given archive, or else downloads one. Raises InputError if it is missing or not the right file."""
    if archive is None:
        archive, address = downloads / source.archive, url or source.url
        if not address:
            raise InputError(f"{source.archive} cannot be downloaded automatically. {source.remedy}")
        if address == source.url:
            md5 = md5 or source.md5
        if archive.exists():
            print(f"Using {archive}, which was downloaded earlier.")
        else:
            download(address, archive, f"Check --url. Or: {source.remedy}")
    if not archive.is_file():
        raise InputError(f"{archive} is not a file. Check --archive.")
    with open(archive, "rb") as file:
        if file.read(512).lstrip().startswith(b"<"):
            raise InputError(f"{archive} is a web page, not an archive. Delete it. {source.remedy}")
    if md5 and file_digest(archive, "md5") != md5.lower():
        raise InputError(f"{archive} does not have the MD5 checksum {md5}. Delete it and download it again.")
    return archive


def download(url: str, target: Path, remedy: str) -> None:
    """Downloads a file with a progress bar. `target` appears only when the download is complete."""
    from torchvision.datasets.utils import download_url  # takes seconds to import

    if not re.match("https?://", url):
        raise InputError(f"'{url}' is not an http or https address. {remedy}")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        download_url(url, part.parent, part.name)
        part.replace(target)
    except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
        raise RunError(f"The download of {url} failed ({error}). {remedy}") from None


def obtain_lists(source: Source, given: Path | None, base: str, downloads: Path) -> dict[str, Path]:
    """Finds the paper's lists in a folder, or downloads them. Both may have a subfolder for the dataset."""
    lists = {}
    remedy = "Check --lists-url, or use --lists or --split-seed."
    for stem in source.list_stems:
        nested = f"{source.folder}/{stem}.txt"
        if given is not None:
            lists[stem] = given / nested if (given / nested).exists() else given / f"{stem}.txt"
        else:
            lists[stem] = downloads / f"{stem}.txt"
            try:
                download(f"{base}/{nested}", lists[stem], remedy)
            except RunError:
                download(f"{base}/{stem}.txt", lists[stem], remedy)
        read_examples(lists[stem], len(source.classes))
    return lists


def extract_images(archive: Path, source: Source, folder: Path) -> dict[str, list[str]]:
    """Extracts the images of a source to `folder/<Class>/<file>` and decodes each one.

    Returns:
        File names by class, in label order.

    Raises:
        InputError: the archive is damaged, or contains no image of a class.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                members = {member.name: member for member in tar if member.isfile()}
                places = find_images(source, list(members), lambda name: tar.extractfile(members[name]).read())  # type: ignore[union-attr]
                for name, place in tqdm(places.items(), unit="image", desc="extract"):
                    tar.extract(members[name].replace(name=place, deep=False), folder, filter="data")
        else:
            with zipfile.ZipFile(archive) as packed:
                places = find_images(source, packed.namelist(), packed.read)
                for name, place in tqdm(places.items(), unit="image", desc="extract"):
                    member = packed.getinfo(name)
                    member.filename = place
                    packed.extract(member, folder)
    except DAMAGED as error:
        raise InputError(
            f"{archive} is damaged or not an archive ({error}). Delete it and download it again."
        ) from error
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

    A folder may have digits, spaces and punctuation that the class lacks: `Cabbage White`, `059.California_Gull`.
    NABirds numbers its folders, and classes.txt names them: `817 California Gull (Adult)`. As in the paper's lists, its
    file names lose their hyphens.
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
                raise InputError(
                    f"{path}, line {line}: {row.path} with label {row.label} does not match {archive}. "
                    "Check that list and archive are the paper's."
                )
        shutil.copyfile(path, data_root / source.folder / f"{stem}.txt")


def write_drawn_lists(source: Source, folder: Path, files: dict[str, list[str]], seed: int) -> None:
    """Writes stratified lists and reports if they are smaller than the paper's."""
    lists = draw_lists(source.folder, files, source.parts, seed)
    for stem, rows in lists.items():
        write_examples(folder / f"{stem}.txt", rows)
    available, wanted = sum(map(len, files.values())), sum(part.size for part in source.parts)
    if available < wanted:
        sizes = ", ".join(f"{part.stem} {len(lists[part.stem])}" for part in source.parts)
        print(f"The archive has {available} images, fewer than the paper's {wanted}. Sizes of the lists: {sizes}.")


def update_whole_gulls(data_root: Path, redraw: bool) -> None:
    """Joins the training lists of both gull folders to ALLgull_gt_tr if it is missing or redrawn. Checks its images."""
    whole = data_root / "CUBgull/ALLgull_gt_tr.txt"
    halves = [data_root / "CUBgull/CUBgull_gt_tr.txt", data_root / "NAbirdsgull/NAbirdsgull_gt_tr.txt"]
    if not all(half.exists() for half in halves):
        print(f"{whole.stem} needs both CUBgull and NAbirdsgull, and is made with the second one.")
        return
    if redraw or not whole.exists():
        rows = [row for half in halves for row in read_examples(half, len(GULLS))]
        write_examples(whole, [Example(row.path, row.label, index) for index, row in enumerate(rows)])
    rows = read_examples(whole, len(GULLS))
    check_files(rows, whole, data_root)
    print(f"{whole} is ready: {len(rows)} images.")
