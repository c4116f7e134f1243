"""What the tests of `prepare.py` share: small pictures, archives laid out as the published ones are, and a local server."""

import io
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import prepare
from utils.data.catalog import CHARACTERS

CUB_FOLDERS = (
    "059.California_Gull",
    "060.Glaucous_winged_Gull",
    "061.Heermann_Gull",
    "064.Ring_billed_Gull",
    "066.Western_Gull",
)
NABIRDS_CLASSES = """0 Birds
53 Gulls, Terns, and Skimmers
817 California Gull (Adult)
818 California Gull (Immature)
820 Glaucous-winged Gull (Adult)
821 Heermann's Gull (Adult)
822 Ring-billed Gull
823 Western Gull (Immature/juvenile)
824 Lesser Black-backed Gull (Adult)
"""


def picture(seed: int, kind: str = "png") -> bytes:
    """An image file of 8 x 8 random pixels, different for every seed."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
        stream, "jpeg" if kind == "jpg" else kind
    )
    return stream.getvalue()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def make_tar(path: Path, members: dict[str, bytes], more: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for info in more:
            file.addfile(info)
    return path


def teach_members(per_class: int = 4) -> dict[str, bytes]:
    """explain_teach in small: both datasets, one with blanks in its folders and no images/ folder, and things to leave."""
    members = {"top/readme.txt": b"hello", "top/oct/images/drusen/x.png": picture(999)}
    for label, name in enumerate(("Cabbage White", "Monarch", "Queen", "Red Admiral", "Viceroy")):
        for i in range(per_class):
            members[f"top/butterflies_crop/{name}/{label}_{i}.png"] = picture(10 * label + i)
        members[f"top/butterflies_crop/explanations/{name}/{label}_0.png"] = picture(998)
        members[f"__MACOSX/top/butterflies_crop/{name}/._{label}_0.png"] = b"not an image"
    for label, name in enumerate(CHARACTERS):
        for i in range(per_class):
            members[f"top/chinese_chars/images/{name}/{name}{i}.png"] = picture(100 + 10 * label + i)
    return members


def cub_members(per_class: int = 4) -> dict[str, bytes]:
    members = {
        "CUB_200_2011/README": b"hello",
        "CUB_200_2011/images/001.Black_footed_Albatross/a.jpg": picture(7, "jpg"),
    }
    for label, name in enumerate(CUB_FOLDERS):
        for i in range(per_class):
            members[f"CUB_200_2011/images/{name}/{name[4:]}_{i:04d}_51{i}.jpg"] = picture(200 + 10 * label + i, "jpg")
    return members


def nabirds_members() -> dict[str, bytes]:
    """NABirds in small; classes.txt comes after the images, so that one pass would not do."""
    ids = (817, 818, 820, 821, 822, 823, 824)
    members = {
        f"nabirds/images/0{n}/{n}0aa-11-22-33-4{i}.jpg": picture(300 + 10 * k + i, "jpg")
        for k, n in enumerate(ids)
        for i in range(2)
    }
    return {**members, "nabirds/classes.txt": NABIRDS_CLASSES.encode()}


def run(*arguments: object) -> int:
    return prepare.main([str(argument) for argument in arguments])


def names(folder: Path) -> list[str]:
    """All files below a folder, in order; [] where there is none."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def one_error(capsys) -> str:
    """The error printed: exactly one line `prepare.py: error: ...` (progress bars aside), and no traceback."""
    stderr = capsys.readouterr().err
    errors = [
        line
        for line in re.split(r"[\r\n]", stderr)
        if line and "it/s" not in line and "%|" not in line and "B/s" not in line
    ]
    errors = [line for line in errors if "image/s" not in line]
    assert len(errors) == 1 and errors[0].startswith("prepare.py: error: "), stderr
    return errors[0]


class Site:
    """What the server has and how it behaves.

    `answers` are the status and content type of a path, where they are not 200 and that of an archive; `requests` are the paths and
    Range headers that it was asked for.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, tuple[int, str]] = {}
        self.ranges = True
        self.etag: str | None = '"one"'
        self.cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""
