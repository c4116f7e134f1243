"""The texts of the course page: its sentences in one language, and the study's consent form."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.base.errors import InputError
from utils.base.files import file_digest

ENGLISH = str(Path(__file__).parent / "page/language.json")
# HTML tags and the Markdown that begins them. Numbers stay in the text, because sentences may refer to them.
BLOCKS = {"h2": r"#+\s+", "ul": r"[-*+]\s+", "p": r"(?=\d+[.)]\s)"}


def read_language(path: str) -> dict:
    """Reads the page's sentences: texts with {placeholders}, or pairs of texts, for one and for many."""
    english, translated = (_read(name, lambda text: dict(json.loads(text))) for name in (ENGLISH, path or ENGLISH))
    for key in english | translated:
        if _form(translated.get(key)) != _form(english.get(key)):
            raise InputError(f"{path}: {key!r} is missing here or in {ENGLISH}, or has other {{placeholders}}.")
    return translated


def _form(sentence: object) -> tuple:
    """What a translation keeps of a sentence: one text or a pair, and the placeholders."""
    kind = list(map(type, sentence)) if isinstance(sentence, list) else type(sentence)
    return kind, set(re.findall(r"\{\w+\}", str(sentence)))


def read_consent(path: str) -> dict:
    """Reads a consent form, text or Markdown: its SHA-256 and `paragraphs`, pairs of a tag of `BLOCKS` and texts."""
    blocks: list[tuple[str, list[str]]] = []
    continues = False  # True if the line belongs to the last block
    for line in map(str.strip, _read(path, str).replace("**", "").splitlines()):
        tag = next((tag for tag, mark in BLOCKS.items() if re.match(mark, line)), "")
        text = re.sub(BLOCKS.get(tag, ""), "", line, count=1)
        if tag == "ul" and blocks and blocks[-1][0] == "ul":
            blocks[-1][1].append(text)
        elif tag or (line and not continues):
            blocks.append((tag or "p", [text]))
        elif line:
            blocks[-1][1][-1] += f" {line}"
        continues = tag != "h2" and line != ""
    return {"paragraphs": blocks, "sha256": file_digest(path, "sha256")}


def _read(path: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"Cannot read {path} ({error}). Check the name and the content, and save it as UTF-8."
        ) from None
