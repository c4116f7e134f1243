"""The texts of the course page: its sentences in one language, the study's consent form and links."""

import json
import re
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import file_digest

ENGLISH = Path(__file__).parent / "page/language.json"
# HTML tags and the Markdown that begins them. Numbers stay in the text, because sentences may refer to them.
BLOCKS = {"h2": r"#+\s+", "ul": r"[-*+]\s+", "p": r"(?=\d+[.)]\s)"}


def read_language(path: str) -> dict:
    """Reads the page's sentences in English, or their translation in the file `path`.

    A sentence is a text with {placeholders}, or a pair of texts, for one and for many. Raises InputError if a
    translation has other keys or placeholders.
    """
    english = json.loads(ENGLISH.read_text(encoding="utf-8"))
    if not path:
        return english
    try:
        translated = dict(json.loads(_read(path, "--language")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not a translation of {ENGLISH} ({error}). Check --language.") from None
    for key in english | translated:
        found, expected = (_described(sentences.get(key)) for sentences in (translated, english))
        if found != expected:
            raise InputError(f"{path}: {key!r} is {found}; in {ENGLISH} it is {expected}. Correct the translation.")
    return translated


def read_consent(path: str) -> dict | None:
    """Reads the consent form in the file `path`, text or Markdown; None without a file.

    Returns the file's SHA-256 and its `paragraphs`: pairs of a tag of `BLOCKS` and texts. A list has several texts.
    """
    if not path:
        return None
    blocks: list[tuple[str, list[str]]] = []
    continues = False  # True if the line belongs to the last block
    for line in map(str.strip, _read(path, "--consent").replace("**", "").splitlines()):
        tag, begin = next(((tag, found) for tag, mark in BLOCKS.items() if (found := re.match(mark, line))), ("", None))
        text = line[begin.end() :] if begin else line
        if tag == "ul" and blocks and blocks[-1][0] == "ul":
            blocks[-1][1].append(text)
        elif tag or (line and not continues):
            blocks.append((tag or "p", [text]))
        elif line:
            blocks[-1][1][-1] += f" {line}"
        continues = tag != "h2" and line != ""
    if not blocks:
        raise InputError(f"{path} is empty. Write the consent form into it, or check --consent.")
    return {"paragraphs": blocks, "sha256": file_digest(path, "sha256")}


def read_links(**links: str) -> dict[str, str]:
    """Checks where people go at the end: addresses by their names in data.js; "" for none."""
    for name, url in links.items():
        if url and not re.fullmatch(r"https?://[^\s/]\S*", url):
            raise InputError(f"--{name.replace('_', '-')}-url {url}: expected an address that begins with https://.")
    return links


def _described(sentence: object) -> str:
    """Says what a translation must keep of a sentence."""
    texts: list = sentence if isinstance(sentence, list) else [sentence]
    if not all(isinstance(text, str) for text in texts) or len(texts) != 1 + isinstance(sentence, list):
        return "missing" if sentence is None else "neither a text nor a pair of texts"
    names = sorted(set(re.findall(r"\{\w+\}", "".join(texts))))
    return f"a {'text' if isinstance(sentence, str) else 'pair of texts'} with {', '.join(names) or 'no placeholder'}"


def _read(path: str, setting: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path} ({error}). Save it as UTF-8 text, or check {setting}.") from None
