"""Fonts for names in any script: what matplotlib's own font lacks is sought among the installed ones."""

import logging
import warnings
from collections.abc import Iterable, Sequence
from functools import cache

PLACEHOLDERS = (
    "last resort",
    "lastresort",
    "adobe blank",
)  # fonts that have a box, or nothing, for every character there is


def drawable(names: Sequence[str]) -> list[str]:
    """The class names, in label order, as figures can show them: `class 3` stands for one that no installed font can write.

    Warns in one sentence of those that are replaced.
    """
    lacking = _lacking(names)
    lacking -= _characters(_fallbacks(frozenset(lacking)))
    unreadable = [label for label, name in enumerate(names) if lacking & set(name)]
    if not unreadable:
        return list(names)
    replaced = ", ".join(f"{names[label]} (class {label})" for label in unreadable)
    advice = "install one that does, such as Noto (https://fonts.google.com/noto; on Debian and Ubuntu: apt install fonts-noto fonts-noto-cjk)"
    text = f"No installed font can write these class names, so that figures show their labels instead: {replaced}; {advice}."
    warnings.warn(text, stacklevel=2)
    return [f"class {label}" if label in unreadable else name for label, name in enumerate(names)]


def style(texts: Iterable[str]) -> dict:
    """How matplotlib must write `texts`: keyword arguments of its Text. A dollar sign is one, and begins no formula."""
    from matplotlib import rcParams

    families = _fallbacks(frozenset(_lacking(texts)))
    return {"parse_math": False} | ({"family": [*rcParams["font.family"], *families]} if families else {})


def _lacking(texts: Iterable[str]) -> set[str]:
    """The characters of `texts` that matplotlib's font has not."""
    from matplotlib import rcParams

    return {one for text in texts for one in text if not one.isspace()} - _characters(tuple(rcParams["font.family"]))


@cache
def _fallbacks(characters: frozenset[str]) -> tuple[str, ...]:
    """Installed font families that have, together, as many of `characters` as can be had: the one with most of them first."""
    if not characters:
        return ()
    _notice_new_fonts()
    from matplotlib.font_manager import fontManager

    # It says so on stderr when a family has no font of normal weight and it takes another, which is what is wanted here.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

    names = sorted({font.name for font in fontManager.ttflist if not font.name.lower().startswith(PLACEHOLDERS)})
    found = {name: characters & _characters((name,)) for name in names}
    left, families = set(characters), []
    while best := max(found, key=lambda name: len(found[name] & left), default=None):
        if not found[best] & left:
            break
        families.append(best)
        left -= found[best]
    return tuple(families)


def _notice_new_fonts() -> None:
    """Tells matplotlib of fonts that were installed since it last looked: it keeps a list of them between runs."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {font.fname for font in fontManager.ttflist}
    for file in sorted(set(findSystemFonts()) - known):
        try:
            fontManager.addfont(file)
        except (OSError, RuntimeError, ValueError):  # one that matplotlib cannot use, such as coloured pictures
            continue


@cache
def _characters(families: tuple[str, ...]) -> frozenset[str]:
    """The characters that font families have, together."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    characters: set[str] = set()
    for family in families:
        try:
            font = get_font(findfont(FontProperties(family=[family]), fallback_to_default=False))
        except (OSError, RuntimeError, ValueError):
            continue
        characters |= set(map(chr, font.get_charmap())) if font.scalable else set()
    return frozenset(characters)
