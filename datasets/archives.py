"""Takes chosen images out of a zip or tar archive that is not trusted.

Members are read one by one and written under names made here, so no member decides where it lands. An archive that holds an
unsafe member is refused altogether, wanted or not: it is not what its owner published.
"""

import contextlib
import gzip
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO

from tqdm import tqdm

from utils.base.errors import InputError
from utils.data.lists import plain_name

# Given the parts of a member's path: the class and file name to store it under, or None to leave it.
Chooser = Callable[[tuple[str, ...]], tuple[str, str] | None]

# Bytes unpacked: of one image, of the images taken, of the whole archive. No archive named in README.md comes near them.
IMAGE_LIMIT = 64 << 20
IMAGES_LIMIT = 2 << 30
TOTAL_LIMIT = 32 << 30
TEXT_LIMIT = 4 << 20
PADDING_LIMIT = 64 << 20  # of zeros behind a tar archive

START = 1024  # bytes by which archives and web pages are told apart
GZIP = b"\x1f\x8b"  # what its files begin with
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    UnicodeError,
)


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: its path as the archive spells it.
        size: the unpacked size that it declares; no more than that can be read.
        kind: "file", "folder", "link" or "other".
        target: where a link leads, relative to the archive's top, or absolute.
        open: opens a file's content; the other kinds have none.
    """

    name: str
    size: int
    kind: str
    target: str
    open: Callable[[], IO[bytes]]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.name.split("/") if part not in ("", "."))


def extract_images(archive: Path, choose: Chooser, folder: Path) -> None:
    """Writes the images that `choose` names to `folder/<class>/<file>`, with a progress bar.

    Args:
        archive: a zip, tar or gzipped tar file.
        choose: says which members are wanted, and as what.
        folder: where to; it should be new.

    Raises:
        InputError: the archive is unreadable or damaged, holds an unsafe member, or two images of one name.
    """
    taken = 0
    # Closed at once, here and below: the generator holds the archive open.
    with contextlib.closing(_members(archive, "extract")) as members:
        for member in members:
            if (chosen := choose(member.parts)) is None or member.kind == "folder":
                continue
            taken += member.size
            _refuse_unfit(member, taken, archive)
            with _damage_named(archive):
                _write(member, folder / chosen[0] / plain_name(chosen[1]), archive)


def first_fitting(archive: Path, choosers: Sequence[Chooser]) -> int | None:
    """Which of `choosers` fits an archive: the first that would take one of its files, in whichever order they lie; None if none would.

    Raises:
        InputError: the archive is unreadable or damaged, or holds an unsafe member.
    """
    best = len(choosers)
    with contextlib.closing(_members(archive, "look through")) as members:
        for member in members:
            if member.kind != "folder":
                best = next((i for i in range(best) if choosers[i](member.parts) is not None), best)
            if best == 0:
                break
    return best if best < len(choosers) else None


def is_web_page(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a page of the web or its like, and no archive.

    Pages begin with a tag; those that a browser saves as one file, with a line that says so. A tar file may begin with any
    name, but zeros follow it.
    """
    text = start.decode("utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    return "\0" not in text[:256] and text.lstrip().startswith(("<", "From: <Saved by "))


def is_saved_page(file: Path) -> bool:
    """Whether a file is a page of the web (see `is_web_page`)."""
    with open(file, "rb") as opened:
        return is_web_page(opened.read(START))


def is_archive(start: bytes) -> bool:
    """Whether a file that begins with these bytes (`START` of them, or all) is a zip, a gzipped or a plain tar archive."""
    return start.startswith((b"PK", GZIP)) or start[257:262] == b"ustar"


def read_text_member(archive: Path, name: str) -> str:
    """The text of the first file called `name`, in whichever folder of the archive.

    Raises:
        InputError: there is none, it is too large or not text, or the archive is unsafe or damaged.
    """
    with contextlib.closing(_members(archive, f"find {name}")) as members:
        for member in members:
            if member.kind == "file" and member.parts[-1:] == (name,) and member.size <= TEXT_LIMIT:
                with _damage_named(archive), member.open() as file:
                    return file.read().decode("utf-8")
    raise InputError(f"{archive} holds no {name}; give the owner's archive.")


def _write(member: Member, file: Path, archive: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        # "x" also notices names that only a case-insensitive file system takes for the same.
        with member.open() as source, open(file, "xb") as copy:
            shutil.copyfileobj(source, copy)
    except FileExistsError:
        raise InputError(
            f"{archive}: the member {member.name!r} would overwrite another one as {file.parent.name}/{file.name}."
        ) from None
    if file.stat().st_size != member.size:
        raise EOFError(f"{member.name!r} is cut short")


def _members(archive: Path, doing: str) -> Generator[Member, None, None]:
    """All members, in the archive's order, each proved safe before it is handed out; shows the progress."""
    total = 0
    with _damage_named(archive):
        with open(archive, "rb") as file:
            is_zip = file.read(2) == b"PK"
        for member in _zip_members(archive, doing) if is_zip else _tar_members(archive, doing):
            _refuse_unsafe(member, archive)
            total += member.size
            if total > TOTAL_LIMIT:
                raise InputError(
                    f"{archive}: with {member.name!r} it declares {total} bytes unpacked; the limit is {TOTAL_LIMIT}."
                )
            yield member


@contextlib.contextmanager
def _damage_named(archive: Path):
    """Turns the many errors of a damaged archive into one sentence. Errors of the disk pass."""
    try:
        yield
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{archive} is damaged, or neither a zip nor a tar archive ({reason}); delete it and download it again."
        ) from error


def _refuse_unsafe(member: Member, archive: Path) -> None:
    reason = None
    if _leaves(member.name):
        reason = "leads out of the folder it is unpacked in"
    elif member.kind == "link" and _leaves(member.target):
        reason = "is a link that leads out of the archive"
    elif member.kind == "other":
        reason = "is neither a file, a folder nor a link"
    if reason:
        raise InputError(f"{archive}: the member {member.name!r} {reason}; such an archive is not unpacked.")


def _refuse_unfit(member: Member, taken: int, archive: Path) -> None:
    """Proves that a wanted member is a file of sensible size; `taken` is the size of all wanted ones so far."""
    reason = None
    if member.kind != "file":
        reason = "is a link where an image should be"
    elif member.size > IMAGE_LIMIT:
        reason = f"declares {member.size} bytes unpacked, over the limit of {IMAGE_LIMIT} for an image"
    elif taken > IMAGES_LIMIT:
        reason = f"brings the images to {taken} bytes unpacked, over the limit of {IMAGES_LIMIT}"
    if reason:
        raise InputError(f"{archive}: the member {member.name!r} {reason}; such an archive is not unpacked.")


def _leaves(name: str) -> bool:
    """Whether a path is absolute (here or on Windows, whose rules cover both) or climbs by `..`."""
    windows = PureWindowsPath(name)
    return bool(windows.anchor) or ".." in windows.parts


def _beside(name: str, target: str) -> str:
    """Where a symbolic link called `name` leads, seen from the archive's top; a leading `..` remains where it leads out."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _zip_members(archive: Path, doing: str) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        with tqdm(total=sum(info.compress_size for info in members), unit="B", unit_scale=True, desc=doing) as bar:
            for info in members:
                if info.flag_bits & 1:
                    raise InputError(
                        f"{archive}: the member {info.filename!r} is encrypted; give the archive as its owner published it."
                    )
                kind, target = _zip_kind(zipped, info)
                yield Member(info.filename, info.file_size, kind, target, partial(zipped.open, info))
                bar.update(info.compress_size)


def _zip_kind(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[str, str]:
    """The kind of a zip member, by the Unix mode if it has one, and the target if it is a link (its content)."""
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode == stat.S_IFLNK:
        with zipped.open(info) as file:
            return "link", _beside(info.filename, os.fsdecode(file.read(4096)))
    if info.is_dir():
        return "folder", ""
    return ("file" if mode in (0, stat.S_IFREG) else "other"), ""


def _tar_members(archive: Path, doing: str) -> Iterator[Member]:
    """Reads the tar file as a stream: large compressed archives are unpacked once, front to back."""
    with open(archive, "rb") as raw, tqdm.wrapattr(raw, "read", archive.stat().st_size, desc=doing) as counted:
        is_gzip = raw.read(2) == GZIP
        raw.seek(0)
        # gzip.open rather than the mode "r|gz": that one takes the end of a truncated file for the end of the archive.
        with gzip.GzipFile(fileobj=counted) if is_gzip else contextlib.nullcontext(counted) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                for info in tar:
                    kind, target = _tar_kind(info)
                    yield Member(info.name, info.size, kind, target, partial(_open_in_tar, tar, info))
                _read_to_end(tar.fileobj.read)


def _open_in_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    if content is None:
        raise tarfile.ExtractError(f"{info.name!r} is no file")
    return content


def _read_to_end(read: Callable[[int], bytes]) -> None:
    """Reads what follows the last member: zeros, and with gzip the checksum.

    Python's tarfile takes a header it cannot read for the end of the archive; what follows then is not zeros.
    """
    size = 0
    while block := read(1 << 16):
        size += len(block)
        if block.count(0) != len(block) or size > PADDING_LIMIT:
            raise EOFError("a member's header cannot be read")


def _tar_kind(info: tarfile.TarInfo) -> tuple[str, str]:
    """The kind of a tar member, and the target if it is a link (a hard link's target is already seen from the top)."""
    if info.issym():
        return "link", _beside(info.name, info.linkname)
    if info.islnk():
        return "link", info.linkname
    if info.isdir():
        return "folder", ""
    return ("file" if info.isreg() else "other"), ""
