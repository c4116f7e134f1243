"""What lies below a folder of the user's own, which is not trusted: files to look into, and what is left, each with the reason."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from utils.base.errors import InputError, first_of, printable

# What systems put beside pictures, in lower case.
OF_THE_SYSTEM = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
}
UNLABELLED = {"unlabeled", "unlabelled"}  # folders of images without labels, in lower case
# Folders of a part, in lower case, as collections call them: train, Training, test_set, seg_test, train-images ...
ADDED = r"(?:[ _-]?(?:set|images|data))?"
PART = re.compile(rf"(?:seg[_-])?(train|test)(?:ing)?{ADDED}")
HELD_OUT = re.compile(rf"(?:seg[_-])?(?:val|valid|validation|dev){ADDED}")
EXAMPLES_SHOWN = 5  # names that a sentence lists


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
                    raise InputError(
                        f"{folder} cannot be read ({error.strerror}); mend that, or give another folder."
                    ) from None
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
    parts = parts_of(tree.top, tree.files)
    # An archive unpacked into a folder of its name: seg_train/seg_train/<Class>.
    wrapped = {
        top
        for top in parts
        if all(name.split("/")[1:-1][:1] == [top] for name in tree.files if name.startswith(f"{top}/"))
    }
    pictures = []
    for name in tree.files:
        *folders, _file = name.split("/")
        part = parts.get(folders[0], "") if folders else ""
        if part:
            folders = folders[2 if folders[0] in wrapped else 1 :]
        known = bool(folders) and folders[0].lower() not in UNLABELLED
        label = (class_name(folders[0]) if known else "") or None
        pictures.append(Picture(name, label, part if label else ""))
    return settled(pictures)


def parts_of(top: Path, names: Sequence[str]) -> dict[str, str]:
    """The folders at the top of a tree that stand for a part, "train" or "test", by their names; none where there is no `train/`, or where
    folders of classes stand beside it.

    Args:
        top: the tree's.
        names: the files that count, below it.

    Raises:
        InputError: beside `train/` and a held-out part there are other folders.
    """
    tops = {name.split("/")[0] for name in names if "/" in name}
    parts = {name: found[1] for name in tops if (found := PART.fullmatch(name.lower()))}
    others = {name for name in tops - parts.keys() if name.lower() not in UNLABELLED}
    if "train" not in parts.values():
        return {}
    if others and ("test" in parts.values() or any(HELD_OUT.fullmatch(name.lower()) for name in others)):
        listed = ", ".join(f"{shown(name)}/" for name in sorted(parts.keys() | others))
        raise InputError(
            f"{top} holds {listed}: beside train/ and test/ only unlabeled/ may stand; move the images of the others into one of these, or "
            "away."
        )
    return {} if others else parts


def settled(pictures: list[Picture]) -> list[Picture]:
    """Pictures whose parts count only if one of them is for testing: test images without labels test nothing."""
    if not any(picture.part == "test" for picture in pictures):
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
    return printable(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def some(names: Sequence[str]) -> str:
    """Names in a row, of many the first ones."""
    return first_of(list(map(shown, names)), EXAMPLES_SHOWN)
