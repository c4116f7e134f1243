"""Where the pictures come from, and which member of an archive is which class."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.archives import Chooser, first_fitting, read_text_member
from datasets.splits import Part
from utils.base.errors import InputError
from utils.data.catalog import BUTTERFLIES, CHARACTERS, GULLS

# The addresses and the checksum are those that the owners published; README.md says which of them were never tried.
TEACH_ARCHIVE = "cvpr_2018_teach_data.zip"
TEACH_URL = f"https://homepages.inf.ed.ac.uk/omacaod/files/{TEACH_ARCHIVE}"
CUB_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
CUB_MD5 = "97eceeb196236b17998738112f37df78"
# Where people find the archives. The paper's README offers its gulls on the second page, which no program gets past.
TEACH_PAGE = "https://github.com/macaodha/explain_teach"
PAPER_GULLS_PAGE = "https://drive.google.com/file/d/1gjt2GIiGtvpsUoQywktP6RE0KhHunAzI/view"
CUB_PAGE = "https://data.caltech.edu/records/65de6-vp158"
NABIRDS_PAGE = "https://dl.allaboutbirds.org/nabirds"
# HEAD stands for the repository's default branch, whatever it is called.
LISTS_URL = "https://raw.githubusercontent.com/peiwang062/MEMORABLE/HEAD/datasets"

CUB_FOLDERS = {
    "059.California_Gull": "CaliforniaGull",
    "060.Glaucous_winged_Gull": "GlaucouswingedGull",
    "061.Heermann_Gull": "HeermannGull",
    "064.Ring_billed_Gull": "RingbilledGull",
    "066.Western_Gull": "WesternGull",
}
NABIRDS_SPECIES = {
    "California Gull": "CaliforniaGull",
    "Glaucous-winged Gull": "GlaucouswingedGull",
    "Heermann's Gull": "HeermannGull",
    "Ring-billed Gull": "RingbilledGull",
    "Western Gull": "WesternGull",
}

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Layout:
    """A way in which an archive may be laid out.

    Attributes:
        shape: where the images lie in it, for people.
        fits: takes some file of an archive that is laid out like this, and none of another.
        chooser: given the archive, makes the function that picks and renames its members.
    """

    shape: str
    fits: Chooser
    chooser: Callable[[Path], Chooser]


@dataclass(frozen=True)
class Source:
    """One archive's contribution to the data root.

    Attributes:
        name: the subcommand.
        folder: the folder under the data root.
        classes: class names in label order.
        archive: the name under which a download is kept.
        url: where the archive is, or None where its owner wants terms agreed to first.
        pages: the pages on which a person finds an archive that will do, the best first.
        md5: the checksum of what `url` gives, or None where none is known.
        parts: the lists of the paper's split.
        more_lists: lists that the paper keeps in this folder and that are not drawn from it alone.
        layouts: the layouts that its archive may have; of those that fit one, the first counts.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    archive: str
    url: str | None
    pages: tuple[str, ...]
    md5: str | None
    parts: tuple[Part, ...]
    layouts: tuple[Layout, ...]
    more_lists: tuple[str, ...] = ()

    @property
    def list_stems(self) -> list[str]:
        """The names of all lists of this folder."""
        stems = [stem for part in self.parts for stem in (part.whole, part.stem) if stem]
        return list(dict.fromkeys([*stems, *self.more_lists]))

    @property
    def shapes(self) -> str:
        """Where the images may lie in an archive, for people."""
        return " or at ".join(layout.shape for layout in self.layouts)

    @property
    def remedy(self) -> str:
        """What to do where the archive cannot be had, or is another one; the end of a sentence."""
        return f"get the archive at {' or at '.join(self.pages)} by hand, and give it with --archive FILE"

    def layout_of(self, archive: Path) -> Layout:
        """The layout of an archive, by what is in it.

        Raises:
            InputError: it has none of this source's; or it is unreadable or damaged, or holds an unsafe member.
        """
        if (found := first_fitting(archive, [layout.fits for layout in self.layouts])) is None:
            raise InputError(f"{archive} holds no images of {', '.join(self.classes)} at {self.shapes}; {self.remedy}.")
        return self.layouts[found]


def _image_name(parts: tuple[str, ...]) -> str | None:
    """The file name of a member that looks like an image; macOS puts `._x.png` beside `x.png` or below `__MACOSX`, which is none."""
    name = parts[-1] if parts else ""
    return (
        name if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".") and "__MACOSX" not in parts else None
    )


def _folder_layout(folder: str, classes: tuple[str, ...]) -> Layout:
    """As the data root is laid out, and explain_teach: `.../<folder>/[images/]<Class>/<file>`, the class with or without blanks."""
    by_letters = {name.lower(): name for name in classes}

    def choose(parts: tuple[str, ...]) -> tuple[str, str] | None:
        name = _image_name(parts)
        label = by_letters.get(re.sub(r"[\s_-]", "", parts[-2]).lower()) if len(parts) > 2 else None
        inside = parts[-3:-2] == (folder,) or parts[-4:-2] == (folder, "images")
        return (label, name) if name and label and inside else None

    return Layout(f"{folder}/images/<Class>/<file>", choose, lambda _archive: choose)


def _cub_layout() -> Layout:
    """CUB: `.../images/<number>.<Class>/<file>`, the file names kept."""

    def choose(parts: tuple[str, ...]) -> tuple[str, str] | None:
        name = _image_name(parts)
        return (
            (CUB_FOLDERS[parts[-2]], name)
            if name and len(parts) > 2 and parts[-3] == "images" and parts[-2] in CUB_FOLDERS
            else None
        )

    return Layout(f"CUB_200_2011/images/{next(iter(CUB_FOLDERS))}/<file>", choose, lambda _archive: choose)


def _nabirds_layout() -> Layout:
    """NABirds: `.../images/<class id>/<file>`; classes.txt says which ids are gulls, and file names lose their hyphens."""

    def numbered(parts: tuple[str, ...]) -> tuple[str, str] | None:
        name = _image_name(parts)
        return (
            (parts[-2], name) if name and len(parts) > 2 and parts[-3] == "images" and parts[-2].isdecimal() else None
        )

    def chooser(archive: Path) -> Chooser:
        by_id = gull_ids(read_text_member(archive, "classes.txt"))
        if missing := [gull for gull in GULLS if gull not in by_id.values()]:
            raise InputError(
                f"classes.txt in {archive} names no {' or '.join(missing)}; give NABirds as its owner published it."
            )

        def choose(parts: tuple[str, ...]) -> tuple[str, str] | None:
            number, name = numbered(parts) or ("", "")
            gull = by_id.get(int(number)) if number else None
            return (gull, name.replace("-", "")) if gull else None

        return choose

    return Layout("nabirds/images/<class number>/<file>", numbered, chooser)


def gull_ids(classes_text: str) -> dict[int, str]:
    """The NABirds class ids of the five gulls, from the lines `id name` of classes.txt.

    A species has several ids, one per plumage, which stands in parentheses: `Ring-billed Gull (Adult)`.
    """
    ids = {}
    for line in classes_text.splitlines():
        number, _, name = line.strip().partition(" ")
        species = name.partition("(")[0].strip().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        if number.isdecimal() and species in NABIRDS_SPECIES:
            ids[int(number)] = NABIRDS_SPECIES[species]
    return ids


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="butterflies",
            folder="butterflies_crop",
            classes=BUTTERFLIES,
            archive=TEACH_ARCHIVE,
            url=TEACH_URL,
            pages=(TEACH_PAGE,),
            md5=None,
            parts=(
                Part("butterflies_gt_s300_tr", 300, whole="butterflies_gt_tr"),
                Part("butterflies_gt_s300_rest_tr", 1244, whole="butterflies_gt_tr"),
                Part("butterflies_gt_te", 386),
            ),
            layouts=(_folder_layout("butterflies_crop", BUTTERFLIES),),
        ),
        Source(
            name="chinese_chars",
            folder="chinese_chars",
            classes=CHARACTERS,
            archive=TEACH_ARCHIVE,
            url=TEACH_URL,
            pages=(TEACH_PAGE,),
            md5=None,
            parts=(Part("ChineseChars_gt_tr", 568), Part("ChineseChars_gt_te", 143)),
            layouts=(_folder_layout("chinese_chars", CHARACTERS),),
        ),
        Source(
            name="gull",
            folder="CUBgull",
            classes=GULLS,
            archive="CUB_200_2011.tgz",
            url=CUB_URL,
            pages=(PAPER_GULLS_PAGE, CUB_PAGE),
            md5=CUB_MD5,
            parts=(Part("CUBgull_gt_tr", 150), Part("CUBgull_gt_te", 149)),
            layouts=(_folder_layout("CUBgull", GULLS), _cub_layout()),
            more_lists=("ALLgull_gt_tr",),
        ),
        Source(
            name="nabirds",
            folder="NAbirdsgull",
            classes=GULLS,
            archive="nabirds.tar.gz",
            url=None,
            pages=(PAPER_GULLS_PAGE, NABIRDS_PAGE),
            md5=None,
            # Its images are numbered on from the 150 of CUBgull_gt_tr, with which they make ALLgull_gt_tr.
            parts=(Part("NAbirdsgull_gt_tr", 431, first_index=150),),
            layouts=(_folder_layout("NAbirdsgull", GULLS), _nabirds_layout()),
        ),
    )
}
