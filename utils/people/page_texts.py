"""The texts of the course page: its sentences in one language."""

import json
import re
from pathlib import Path

from utils.base.errors import InputError

ENGLISH = Path(__file__).parent / "page/language.json"


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
