"""The documents as their tests see them: links and anchors, commands, files that are named, figures, worked examples."""

import argparse
import ast
import contextlib
import csv
import importlib
import io
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

from torch.distributed.run import get_args_parser

from tests.helpers.code import MODULES, REPOSITORY, SCRIPTS, name_of
from utils.base.errors import InputError
from utils.running import settings

PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in (".", "docs", "datasets")
    for path in (REPOSITORY / folder).glob("*.md")
)
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.M | re.S)
FILE = re.compile(r"\.(py|md|png|csv|json|txt|npz|npy|pt|tar|html|sqlite|token|cff|toml)$|^\w+/[\w/]*$")
TOOLS = {"pytest", "mypy", "ruff"}  # modules of others, which are run but not looked into


def read(page: str) -> str:
    """The text of a page, named from the repository's root."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


# ---------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """What the headings of a page are linked by, as GitHub makes it: lower case, punctuation gone, blanks as hyphens, repeats numbered."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", text), re.M):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        repeats = sum(one == plain or re.fullmatch(rf"{re.escape(plain)}-\d+", one) is not None for one in found)
        found.append(f"{plain}-{repeats}" if repeats else plain)
    return set(found)


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"<(?:img|a)[^>]*? (?:src|href)=\"([^\"]+)\"", prose)


def broken_links(text: str, folder: Path) -> list[str]:
    """The relative links of a page in `folder` that lead nowhere."""
    broken = []
    for target in links(text):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = folder / name
        there = path.exists() if name else True
        if not there or (anchor and anchor not in anchors(path.read_text(encoding="utf-8") if name else text)):
            broken.append(target)
    return broken


# ---------------------------------------------------------------- commands


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: what stands behind the fence (`""`: commands), and the content without its indentation."""
    return [
        (info.strip(), re.sub(rf"^{indent}", "", content, flags=re.M)) for indent, info, content in FENCE.findall(text)
    ]


def quoted(text: str) -> list[str]:
    """The inline code of a page, tables included; a piece may be broken over two lines."""
    prose = FENCE.sub("", text)
    return [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", prose)]


def commands(text: str) -> list[str]:
    """The commands of a page: all lines of its blocks that are no code, and what its inline code runs."""
    lines = [line for info, content in blocks(text) if not info for line in content.splitlines() if line.strip()]
    inline = [piece for piece in quoted(text) if re.match(r"(python|make|torchrun) |(\w+/)?\w+\.py -", piece)]
    return [part.strip() for line in lines + inline for part in line.split("&&")]


class Parsed(Exception):
    """The command line was taken."""


def _argparse_takes(run, words: list[str]) -> str:
    """What a command says against `words`; it is stopped as soon as they are parsed."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    said = io.StringIO()
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop),
        mock.patch("sys.argv", ["command", *words]),
    ):
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                run()
        except Parsed:
            return ""
        except (SystemExit, InputError) as error:
            return said.getvalue().strip().splitlines()[-1] if said.getvalue().strip() else str(error)
    return "takes no command line"


def _settings_take(config: type, words: list[str]) -> str:
    """What the settings of a script say against `words`."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            settings.check(settings.parse(config, "", words))
    except (SystemExit, InputError) as error:
        return f"refused: {' '.join(said.getvalue().split()) or error}"
    return ""


def _module_takes(name: str, words: list[str]) -> str:
    """What `python -m name` or the script of that name says against `words`."""
    known = {*SCRIPTS, *map(name_of, MODULES)}
    if name.split(".")[0] in TOOLS:
        paths = [word for word in words if "/" in word]
        return "".join(f"{path} does not exist" for path in paths if not (REPOSITORY / path).exists())
    if name not in known:
        return f"there is no {name}"
    if f"{name}.__main__" in known:
        name = f"{name}.__main__"
    module = importlib.import_module(name)
    if name == "datasets.prepare":
        return _argparse_takes(lambda: module.build_parser().parse_args(words), words)
    if hasattr(module, "Config"):
        return _settings_take(module.Config, words)
    return _argparse_takes(module.main, words) if hasattr(module, "main") else f"{name} is no command"


def _make_takes(words: list[str], makefile: str) -> str:
    """What the Makefile lacks of targets and variables."""
    targets, variables = (
        set(re.findall(r"^([\w.-]+):", makefile, re.M)),
        set(re.findall(r"^(\w+) [?:]?=", makefile, re.M)),
    )
    lacking = [word for word in words if (word.split("=")[0] not in variables if "=" in word else word not in targets)]
    return f"the Makefile has no {', '.join(lacking)}" if lacking else ""


def wrong(command: str) -> str:
    """What is wrong with a command: "", or a phrase. Scripts and modules exist, and take these flags with these values.

    `...` before flags stands for a script that was named before, so any may take them.
    """
    words = [word for word in shlex.split(command, comments=True) if word]
    if not words:
        return ""
    program, rest = words[0], words[1:]
    if program == "...":
        lacking = [word for word in rest if word.startswith("--") and word not in flags()]
        return f"no script takes {', '.join(lacking)}" if lacking else ""
    if program == "make":
        return _make_takes(rest, read("Makefile"))
    if program == "torchrun":
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                run = get_args_parser().parse_args(rest)
        except SystemExit:
            return "torchrun does not take this"
        return wrong(shlex.join(["python", run.training_script, *run.training_script_args]))
    if program.endswith(".py"):
        return wrong(shlex.join(["python", *words]))
    if program != "python" or not rest:
        return f"{program} is none of python, make, torchrun"
    if rest[0] == "-m":
        return _module_takes(rest[1], rest[2:])
    if not rest[0].endswith(".py") or not (REPOSITORY / rest[0]).is_file():
        return f"there is no {rest[0]}"
    return _module_takes(rest[0].removesuffix(".py").replace("/", "."), rest[1:])


def flags() -> set[str]:
    """The flags of all scripts and commands, as their code defines them."""
    found = {"--help"}
    for path in [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS)]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                found |= {
                    f"--{field.target.id.replace('_', '-')}" for field in node.body if isinstance(field, ast.AnnAssign)
                }
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                found |= {
                    word.value
                    for word in node.args
                    if isinstance(word, ast.Constant) and str(word.value).startswith("--")
                }
    return found


def unknown_flags(text: str) -> list[str]:
    """Flags in inline code that nobody takes."""
    known = flags()
    named = [
        word
        for piece in quoted(text)
        if not re.match("(torchrun|make) ", piece)
        for word in re.findall(r"(?<!\S)--[\w-]+", piece)
    ]
    return sorted({word for word in named if word not in known})


# ---------------------------------------------------------------- files


def documented(text: str) -> list[str]:
    """The outputs that `docs/files.md` names, as patterns of names below the output folder or the data root."""
    named = [
        re.sub("^<(out|data root)>/", "", piece)
        for piece in quoted(text)
        if piece.startswith(("<out>/", "<data root>/", "bench/"))
    ]
    both = [piece.replace("[_simclr]", variant) for piece in named for variant in ("", "_simclr")]
    return sorted({re.sub(r"<[^>]+>", "*", piece) for piece in both})


def is_output(name: str, patterns: list[str]) -> bool:
    """Whether a file's name, or the end of its path, is one of the documented outputs."""
    return any(fnmatch(name, pattern) or fnmatch(name, f"*/{pattern}") for pattern in patterns)


def strange_files(text: str, patterns: list[str], folder: Path = REPOSITORY) -> list[str]:
    """Files in a page's inline code that are neither in the repository nor documented outputs.

    A file is a word with a slash or an ending; a name without folder may lie anywhere in the repository. `*` stands for anything.
    """
    code = [path.relative_to(REPOSITORY).as_posix() for path in MODULES] + [f"{script}.py" for script in SCRIPTS]
    strange = []
    for piece in quoted(text):
        name = re.sub("<[^>]+>", "*", piece.removeprefix("<out>/").rstrip("/"))
        if re.match("[-.~]", piece) or not re.fullmatch(r"[\w./*-]+", name) or not FILE.search(piece):
            continue
        here = any((root / name).exists() for root in (REPOSITORY, folder)) or is_output(name, patterns)
        if not here and not any(fnmatch(path, name) or fnmatch(path, f"*/{name}") for path in [*code, *patterns]):
            strange.append(piece)
    return strange


# ---------------------------------------------------------------- figures


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"there is no section {heading}"
    return found[1]


def figures_of(text: str) -> list[str]:
    """The numbers of a text that have a decimal point, links and code apart."""
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", re.sub(r"`[^`]*`|\]\([^)]*\)", "", text))


def values_of(tables: list[Path]) -> list[float]:
    """All numbers that stand in cells of CSV files."""
    found = []
    for table in tables:
        for row in csv.reader(table.read_text(encoding="utf-8").splitlines()):
            for cell in row:
                with contextlib.suppress(ValueError):
                    found.append(float(cell))
    return found


def unmeasured(text: str, values: list[float]) -> list[str]:
    """The figures of a text that are none of the values, rounded to as many places."""
    half = {figure: 0.5 * 10 ** -len(figure.partition(".")[2]) + 1e-9 for figure in figures_of(text)}
    return [figure for figure, near in half.items() if not any(abs(value - float(figure)) <= near for value in values)]


# ---------------------------------------------------------------- worked examples


@dataclass(frozen=True)
class Example:
    """A block that makes or changes a file, named behind the fence: `python PATH`, whole, or `diff PATH`."""

    kind: str
    path: str
    content: str


def examples(text: str) -> list[Example]:
    """The worked examples of a page, in order."""
    found = [(info.split(), content) for info, content in blocks(text)]
    return [
        Example(words[0], words[1], content)
        for words, content in found
        if len(words) == 2 and words[0] in ("python", "diff")
    ]


def changed(text: str, diff: str) -> str:
    """A text after a diff without line numbers: `@@` stands between places, each of which must be found once.

    Raises:
        ValueError: a place is not found, or several times.
    """
    for hunk in re.split(r"^@@\n", diff, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
        if not old or text.count(f"\n{old}") != 1:
            raise ValueError(f"found {text.count(old) if old else 0} times: {old}")
        text = text.replace(f"\n{old}", f"\n{new}")
    return text


def apply(example: Example, copy: Path) -> None:
    """Makes or changes the file of an example in a copy of the repository."""
    path = copy / example.path
    if example.kind == "python":
        assert not path.exists(), f"{example.path} is there already"
        path.write_text(example.content, encoding="utf-8")
    else:
        path.write_text(changed(path.read_text(encoding="utf-8"), example.content), encoding="utf-8")
