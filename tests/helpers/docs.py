"""The documents: links, commands, numbers, and worked examples."""

import argparse
import ast
import contextlib
import csv
import importlib
import io
import re
import shlex
from dataclasses import dataclass
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
TOOLS = {"pytest", "mypy", "ruff"}


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Returns the text below a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"section {heading} not found"
    return found[1]


def anchors(text: str) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", text), re.M):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        repeats = sum(one == plain or re.fullmatch(rf"{re.escape(plain)}-\d+", one) is not None for one in found)
        found.append(f"{plain}-{repeats}" if repeats else plain)
    return set(found)


def broken_links(text: str, folder: Path) -> list[str]:
    """Returns the relative links of a page in `folder` whose file or anchor is missing."""
    prose, broken = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text)), []
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"<(?:img|a)[^>]*? (?:src|href)=\"([^\"]+)\"", prose)
    for target in [link for link in links if not re.match(r"\w+:", link)]:
        name, _, anchor = target.partition("#")
        path = folder / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8") if name else text)):
            broken.append(target)
    return broken


# ---------------------------------------------------------------- commands


def quoted(text: str) -> list[str]:
    """Returns the inline code of a page; a piece may span two lines."""
    return [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def commands(text: str) -> list[str]:
    """Returns the commands of a page: lines of fenced blocks without a language, and inline code that runs."""
    blocks = [
        re.sub(f"^{indent}", "", content, flags=re.M) for indent, info, content in FENCE.findall(text) if not info
    ]
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    inline = [piece for piece in quoted(text) if re.match(r"(python|make|torchrun) |(\w+/)?\w+\.py -", piece)]
    return [part.strip() for line in lines + inline for part in line.split("&&")]


class Parsed(Exception):
    """The command line was accepted."""


def refusal(run, words: list[str]) -> str:
    """Returns what a command says against `words`, or "". It is stopped when they are parsed."""
    parse, said = argparse.ArgumentParser.parse_args, io.StringIO()

    def parse_and_stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop),
        mock.patch("sys.argv", ["command", *words]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
    ):
        try:
            run()
        except Parsed:
            return ""
        except (SystemExit, InputError) as error:
            return said.getvalue() or str(error)
    return "takes no command line"


def module_refusal(name: str, words: list[str]) -> str:
    """Returns what `python -m name`, or the script of that name, says against `words`."""
    known = {*SCRIPTS, *map(name_of, MODULES)}
    if name.split(".")[0] in TOOLS:
        return "".join(f"{word} not found" for word in words if "/" in word and not (REPOSITORY / word).exists())
    if name not in known:
        return f"{name} not found"
    module = importlib.import_module(f"{name}.__main__" if f"{name}.__main__" in known else name)
    if name == "datasets.prepare":
        return refusal(lambda: module.build_parser().parse_args(words), words)
    if not hasattr(module, "Config"):
        return refusal(module.main, words) if hasattr(module, "main") else f"{name} is not a command"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            settings.check(settings.parse(module.Config, "", words))
    except (SystemExit, InputError) as error:
        return said.getvalue() or str(error)
    return ""


def problem(command: str) -> str:
    """Returns what is wrong with a command, or "". `...` stands for a script that was named before."""
    words = shlex.split(command, comments=True) or ["python", "-m", "pytest"]
    program, rest = words[0], words[1:]
    if program == "...":
        return ", ".join(f"no script has {word}" for word in rest if word.startswith("--") and word not in flags())
    if program == "make":
        makefile = read("Makefile")
        known = re.findall(r"^([\w.-]+):", makefile, re.M) + re.findall(r"^(\w+) [?:]?=", makefile, re.M)
        return ", ".join(f"the Makefile has no {word}" for word in rest if word.split("=")[0] not in known)
    if program == "torchrun":
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                run = get_args_parser().parse_args(rest)
        except SystemExit:
            return "torchrun refuses this"
        return problem(shlex.join(["python", run.training_script, *run.training_script_args]))
    if program.endswith(".py"):
        return problem(shlex.join(["python", *words]))
    if program != "python" or not rest:
        return f"{program} is not python, make or torchrun"
    if rest[0] == "-m":
        return module_refusal(rest[1], rest[2:])
    if not (REPOSITORY / rest[0]).is_file():
        return f"{rest[0]} not found"
    return module_refusal(rest[0].removesuffix(".py").replace("/", "."), rest[1:])


def flags() -> set[str]:
    """Returns the flags of all scripts and tools."""
    found = {"--help"}
    for path in [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS)]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                fields = [field.target.id for field in node.body if isinstance(field, ast.AnnAssign)]
                found |= {f"--{field.replace('_', '-')}" for field in fields}
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                found |= {str(word.value) for word in node.args if isinstance(word, ast.Constant)}
    return found


def unknown_flags(text: str) -> list[str]:
    """Returns the flags in inline code that no script and no tool has."""
    pieces = [piece for piece in quoted(text) if not re.match("(torchrun|make|sqlite3) ", piece)]
    named = {word for piece in pieces for word in re.findall(r"(?<!\S)--[\w-]+", piece)}
    return sorted(named - flags())


# ---------------------------------------------------------------- numbers and worked examples


def unmeasured(text: str, tables: list[Path]) -> list[str]:
    """Returns the numbers with a decimal point in a text that are not a value of some table, rounded."""
    cells = [cell for table in tables for row in csv.reader(table.read_text().splitlines()) for cell in row]
    values = [float(cell) for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?", cell)]
    numbers = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", re.sub(r"`[^`]*`|\]\([^)]*\)", "", text))
    near = {number: 0.5 * 10 ** -len(number.partition(".")[2]) + 1e-9 for number in numbers}
    return [number for number in near if not any(abs(value - float(number)) <= near[number] for value in values)]


@dataclass(frozen=True)
class Example:
    """A fenced block that creates (`python PATH`) or changes (`diff PATH`) a file."""

    kind: str
    path: str
    content: str


def examples(text: str) -> list[Example]:
    """Returns the worked examples of a page, in order."""
    found = [(info.split(), content) for _, info, content in FENCE.findall(text)]
    return [Example(*words, content) for words, content in found if len(words) == 2 and words[0] in ("python", "diff")]


def apply(example: Example, copy: Path) -> None:
    """Creates or changes the file of an example in a copy of the repository. Every place of a diff must be unique."""
    path = copy / example.path
    if example.kind == "python":
        assert not path.exists(), f"{example.path} exists"
        path.write_text(example.content, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@\n", example.content, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
        assert old and text.count(f"\n{old}") == 1, f"{example.path}: found {text.count(old)} times: {old}"
        text = text.replace(f"\n{old}", f"\n{new}")
    path.write_text(text, encoding="utf-8")
