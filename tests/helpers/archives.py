"""Helpers for tests of prepare.py: small pictures, and archives laid out like the published ones."""

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
    *("059.California_Gull", "060.Glaucous_winged_Gull", "061.Heermann_Gull"),
    *("064.Ring_billed_Gull", "066.Western_Gull"),
)
NABIRDS_CLASSES = """0 Birds
817 California Gull (Adult)
818 California Gull (Immature)
820 Glaucous-winged Gull (Adult)
821 Heermann's Gull (Adult)
822 Ring-billed Gull
823 Western Gull (Immature/juvenile)
824 Lesser Black-backed Gull (Adult)
"""


def picture(seed: int, kind: str = "png") -> bytes:
    """An image file of 16 x 16 random pixels, different for every seed."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def make_archive(path: Path, members: dict[str, bytes]) -> Path:
    """Writes a zip or tar file, depending on the ending."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in members.items():
                packed.writestr(name, data)
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def teach_members(per_class: int = 4) -> dict[str, bytes]:
    """explain_teach: one dataset has spaces in its folders and no images/; some files do not belong to either."""
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
    members = {"CUB_200_2011/images/001.Black_footed_Albatross/a.jpg": picture(7, "jpeg")}
    for label, name in enumerate(CUB_FOLDERS):
        for i in range(per_class):
            members[f"CUB_200_2011/images/{name}/{name[4:]}_{i:04d}_51{i}.jpg"] = picture(200 + 10 * label + i, "jpeg")
    return members


def nabirds_members() -> dict[str, bytes]:
    """NABirds; classes.txt comes after the images."""
    members = {
        f"nabirds/images/0{number}/{number}0aa-11-22-33-4{i}.jpg": picture(300 + 10 * k + i, "jpeg")
        for k, number in enumerate((817, 818, 820, 821, 822, 823, 824))
        for i in range(2)
    }
    return {**members, "nabirds/classes.txt": NABIRDS_CLASSES.encode()}


def run(*arguments: object) -> int:
    """The exit status of prepare.py."""
    try:
        return prepare.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code


def names(folder: Path) -> list[str]:
    """All files below a folder, sorted; [] if it does not exist."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def one_error(capsys) -> str:
    """The only line on stderr apart from progress bars, which must be an error message."""
    lines = re.split(r"[\r\n]", capsys.readouterr().err)
    errors = [line for line in lines if line and not re.search(r"%\||it/s|B/s|image/s", line)]
    assert len(errors) == 1 and errors[0].startswith("prepare.py: error: "), errors
    return errors[0]
