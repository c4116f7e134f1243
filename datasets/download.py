"""Downloads that can be cut off and taken up again: `<name>.part` grows, `<name>.part.json` says of which file it is a part."""

import contextlib
import http.client
import itertools
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from datasets.archives import START, is_archive, is_saved_page, is_web_page
from utils.base.errors import InputError, RunError
from utils.base.files import file_digest, write_json

if sys.platform != "win32":
    import fcntl

TIMEOUT_S = 60


def fetch(url: str, target: Path, remedy: str, md5: str | None = None) -> None:
    """Downloads the archive at `url` to `target`, with a progress bar; takes up a partial download of the same file where it ended.

    Nothing is downloaded when `target` is already there from this address (and has the checksum).

    Args:
        url: an http or https address.
        target: the file to write, in a folder that is there; it appears only when it is complete.
        remedy: what to do where the address does not give an archive; the end of a sentence.
        md5: its checksum, where one is known.

    Raises:
        InputError: the address is not an http or https one.
        RunError: the server does not give the file, or gives a web page instead, the connection ended early, or the checksum differs.
    """
    check_scheme(url)
    record, part = target.with_name(f"{target.name}.json"), target.with_name(f"{target.name}.part")
    part_record = part.with_name(f"{part.name}.json")
    known = target.exists() and _read_record(record).get("url") == url and not is_saved_page(target)
    if known and (md5 is None or file_digest(target, "md5") == md5):
        print(f"{target} is already downloaded.")
        return
    with open(part, "ab") as file:
        _lock(file, part)
        try:
            _fill(file, url, part_record, remedy)
            file.flush()
            if md5 is not None and (found := file_digest(part, "md5")) != md5:
                file.truncate(0)
                raise RunError(
                    f"What {url} gives has the md5 checksum {found}, not {md5}, and was removed; check --url and --md5."
                )
        finally:
            if file.seek(0, os.SEEK_END) == 0:
                part.unlink()
                part_record.unlink(missing_ok=True)
    record.unlink(
        missing_ok=True
    )  # a file without its record is downloaded anew; one with another's record would be trusted
    part.replace(target)
    part_record.replace(record)


def fetch_text(url: str, remedy: str) -> str | None:
    """The text at `url`, or None where the server says that there is none (404); `remedy`, as for `fetch`, says what to do otherwise.

    Raises:
        InputError: the address is not an http or https one, or what lies there is a web page or no text.
        RunError: the server cannot be reached, or refuses.
    """
    check_scheme(url)
    try:
        with _network(url, remedy), _open(url, {}) as response:
            data = response.read()
    except _NotFoundError:
        return None
    if is_web_page(data[:START]):
        raise InputError(f"What {url} gives is a web page and not the plain text; {remedy}.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"What {url} gives is not text; {remedy}.") from None


def check_scheme(url: str) -> None:
    """Proves that `url` is an address to download from; `file:` and the like are none.

    Raises:
        InputError: it is not an http or https address.
    """
    if not re.match(r"https?://[^/\s]+", url):
        raise InputError(f"'{url}' is not an http or https address; correct it.")


class _NotFoundError(RunError):
    """The server answered 404."""


def _lock(file, part: Path) -> None:
    """Keeps a second process from appending to the same partial file, but not on Windows; the lock goes with the process."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"Another process is downloading {part}; wait for it.") from None


@contextlib.contextmanager
def _network(url: str, remedy: str):
    """Turns every way in which a connection fails into one sentence."""
    try:
        yield
    except urllib.error.HTTPError as error:
        kind = _NotFoundError if error.code == 404 else RunError
        reason = " ".join(str(error.reason).split())  # that of an endless redirection is of several lines
        raise kind(f"{url} cannot be had: the server answered {error.code} ({reason}); {remedy}.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that only looks like one
        cause = getattr(error, "reason", None) or error
        raise RunError(f"The connection to {url} failed ({cause}); run again, or {remedy}.") from None


def _open(url: str, headers: dict[str, str]):
    # Some servers refuse the default "Python-urllib"; blanks and the like in an address are quoted here, what is quoted stays.
    quoted = urllib.parse.quote(url, safe="/:?#[]@!$&'()*+,;=%~")
    return urllib.request.urlopen(
        urllib.request.Request(quoted, headers={"User-Agent": "memorable-prepare", **headers}), timeout=TIMEOUT_S
    )


def _fill(file, url: str, record: Path, remedy: str) -> None:
    """Appends to `file` what it lacks of `url`; empties it first unless the server goes on with the very same file."""
    known = _read_record(record)
    have = file.tell() if known.get("url") == url else 0
    if have and have == known.get("length"):
        return
    with _network(url, remedy):
        response = _resume(url, known, have)
    with response:
        blocks = _blocks(response, url, remedy)
        first = next(blocks, b"")
        if response.status != 206:
            # Before anything is emptied: where a network asks for a login, the part that is there is still good.
            _refuse_other_things(response, first, url, remedy)
            have = 0
            file.truncate(0)
        description = {"url": url, **_describe(response)}
        write_json(record, description)
        have = _copy(itertools.chain([first], blocks), file, have, description)
    if description["length"] not in (None, have):
        raise RunError(
            f"The connection to {url} ended at {have} of {description['length']} bytes; run again to go on from there."
        )


def _resume(url: str, known: dict, have: int):
    """Asks for the bytes from `have` on; a response of status 206 surely continues the file that `known` describes."""
    if not have:
        return _open(url, {})
    headers = {"Range": f"bytes={have}-"}
    # If-Range wants a strong ETag; a date serves otherwise. Without either, the length alone is compared below.
    if validator := (known["etag"] if (known["etag"] or "W/").startswith('"') else known["modified"]):
        headers["If-Range"] = validator
    try:
        response = _open(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return _open(url, {})
    same = {"url": url, **_describe(response)} == known and response.headers.get("Content-Range", "").startswith(
        f"bytes {have}-"
    )
    if response.status == 206 and not same:
        response.close()
        return _open(url, {})
    return response


def _describe(response) -> dict:
    """What identifies the file behind a response: its ETag, date and whole length, each None where the server does not say."""
    length = response.headers.get("Content-Length")
    if response.status == 206:
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
    length = int(length) if length and length.isdigit() else None
    return {"etag": response.headers.get("ETag"), "modified": response.headers.get("Last-Modified"), "length": length}


def _refuse_other_things(response, first: bytes, url: str, remedy: str) -> None:
    """Proves that a response whose body begins with `first` may be an archive, whatever the server calls it."""
    what = None
    if is_web_page(first[:START]) or (
        response.headers.get_content_type() == "text/html" and not is_archive(first[:START])
    ):
        what = "a web page"
    elif not first and _describe(response)["length"] in (None, 0):
        what = "an empty file"
    if what:
        raise RunError(f"{url} gave {what} instead of an archive; {remedy}.")


def _blocks(response, url: str, remedy: str) -> Iterator[bytes]:
    """The body, piece by piece."""
    while True:
        # Apart from the writing: a full disk is not a failed connection.
        with _network(url, remedy):
            block = response.read(1 << 18)
        if not block:
            return
        yield block


def _copy(blocks: Iterable[bytes], file, have: int, description: dict) -> int:
    """Copies `blocks` to `file`; returns the size reached, short of the length where the connection ended."""
    with tqdm(initial=have, total=description["length"], unit="B", unit_scale=True, desc="download") as bar:
        for block in blocks:
            file.write(block)
            bar.update(len(block))
            have += len(block)
    return have


def _read_record(path: Path) -> dict:
    """What was noted of a download; empty where nothing (or nothing sensible) is there."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"url", "etag", "modified", "length"} <= record.keys() else {}
