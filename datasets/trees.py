"""What lies below a folder of the user's own, which is not trusted: files to look into, and what is left, each with the reason."""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from utils.base.errors import InputError

# What systems put beside pictures, in lower case.
OF_THE_SYSTEM = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"}
UNLABELLED = {"unlabeled", "unlabelled"}  # folders of images without labels, in lower case
HELD_OUT = {"test", "val", "valid", "validation", "dev"}


@dataclass
class Tree:
    """The files below a folder.

    Attributes:
        top: the folder, without links in its path.
        files: paths below `top`, with slashes, sorted.
        skipped: paths below `top` that are not used, and why: the end of a sentence that begins with the path.
    """

    top: Path
    files: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Picture:
    """One picture of a tree.

    Attributes:
        source: its path below the tree's top.
        label: the name of its class; None where nobody has told.
        part: "test" where the user has put it into the test list, "train" where the user has put it into the other; "" otherwise.
        pixels: what two pictures that look the same have in common.
    """

    source: str
    label: str | None
    part: str = ""
    pixels: str = ""


def walk(folder: Path) -> Tree:
    """Lists the files below a folder. Links to folders are not followed, so that no loop and nothing outside is reached.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds the images.")
    tree = Tree(folder.resolve())
    waiting = [""]
    with tqdm(desc="find", unit="file", delay=2) as bar:
        while waiting:
            inside = waiting.pop()
            try:
                _look_into(inside, tree, waiting, bar)
            except OSError as error:
                if not inside:
                    raise InputError(f"{folder} cannot be read ({error.strerror}); mend that, or give another folder.") from None
                tree.skipped[inside.rstrip("/")] = f"cannot be read ({error.strerror})"
    tree.files.sort()
    return tree


def _look_into(inside: str, tree: Tree, waiting: list[str], bar: tqdm) -> None:
    """Sorts the entries of one folder into those to use, those to skip and the folders that wait; its path is "" or ends with a slash."""
    with os.scandir(tree.top / inside) as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            if reason := _unusable(entry, tree.top):
                tree.skipped[name] = reason
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(f"{name}/")
            else:
                tree.files.append(name)
            bar.update()


def _unusable(entry: os.DirEntry, top: Path) -> str:
    """Why an entry of a folder is left; "" if it is a folder or a file to look into."""
    if entry.name.startswith("."):
        return "is hidden"
    if entry.name.lower() in OF_THE_SYSTEM:
        return "is a file or folder of the system"
    if not entry.is_symlink():
        plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
        return "" if plain else "is neither a file nor a folder"
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself, before Python 3.13
        return "is a link that leads nowhere"
    if target != top and top not in target.parents:
        return "is a link that leads out of the folder"
    return "" if target.is_file() else "is a link to something that is no file"


def label_by_folders(tree: Tree) -> list[Picture]:
    """Takes the class of each file from the folder that it lies in, at the top of the tree or, where there is one, of `train/` and `test/`.

    Folders below a class's belong to it. Files outside of class folders, and those in `unlabeled/`, have no label.

    Raises:
        InputError: beside `train/` and a held-out part there are other folders.
    """
    tops = {name.split("/")[0] for name in tree.files if "/" in name}
    parts = {name for name in tops if name.lower() in {"train", "test"}}
    others = {name for name in tops - parts if name.lower() not in UNLABELLED}
    divided = "train" in {name.lower() for name in parts}
    if divided and others and {name.lower() for name in parts | others} & HELD_OUT:
        raise InputError(
            f"{tree.top} holds {', '.join(f'{name}/' for name in sorted(parts | others))}: beside train/ and test/ only unlabeled/ may "
            "stand; move the images of the others into one of these, or away."
        )
    divided = divided and not others
    pictures = []
    for name in tree.files:
        *folders, _file = name.split("/")
        part = folders.pop(0).lower() if divided and folders and folders[0] in parts else ""
        known = bool(folders) and folders[0].lower() not in UNLABELLED
        pictures.append(Picture(name, (class_name(folders[0]) if known else "") or None, part if known else ""))
    if not any(picture.part == "test" for picture in pictures):  # test images without labels test nothing
        for picture in pictures:
            picture.part = ""
    return pictures


def class_name(text: str) -> str:
    """The name of a class as people have it: composed letters (some systems keep umlauts in two), and single blanks."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    words = " ".join(unicodedata.normalize("NFC", readable).split())
    return "".join(one for one in words if unicodedata.category(one) != "Cc")


def shown(name: str) -> str:
    """A path of any bytes as text that can be printed and written: what cannot be seen, or is no text, as an escape."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
