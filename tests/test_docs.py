"""Commands, links, numbers and worked examples of the documents are right."""

import argparse
import contextlib
import csv
import importlib
import inspect
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import pytest
from torch.distributed.run import get_args_parser

from tests.helpers.code import MODULES, REPOSITORY, SCRIPTS
from tests.helpers.runs import SIZE
from utils.base.errors import InputError
from utils.data.outputs import DEMO, Layout
from utils.running import settings

PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in (".", "docs", "datasets")
    for path in (REPOSITORY / folder).glob("*.md")
)
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.M | re.S)
WORDS, README_LINES = 12_000, 100


def read(page):
    return (REPOSITORY / page).read_text(encoding="utf-8")


def section(text, heading):
    """Returns the text below a heading of the second level."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


def quoted(text):
    """Returns the inline code of a page; a piece may span two lines."""
    return [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def test_the_documents_are_short():
    """Words outside generated tables, and the lines of README."""
    pages = [page for page in PAGES if page.startswith(("docs/", "datasets/", "README"))]
    lines = [line for page in pages for line in read(page).splitlines() if page != "docs/results.md" or line[:1] != "|"]
    assert len(pages) == 8 and sum(len(line.split()) for line in lines) <= WORDS
    assert len(read("README.md").splitlines()) <= README_LINES


def test_the_version_is_the_same_everywhere():
    (version,) = re.findall(r'^version = "(.+)"$', read("pyproject.toml"), re.M)
    assert re.findall(r"^version: (.+)$", read("CITATION.cff"), re.M) == [version]
    assert re.findall(r"^## \[(\d.+?)\]", read("CHANGELOG.md"), re.M)[0] == version


# ---------------------------------------------------------------- links


def anchors(text):
    """Returns the anchors of a page's headings, as GitHub makes them."""
    found = []
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", text), re.M):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        repeats = sum(re.fullmatch(rf"{re.escape(plain)}(-\d+)?", one) is not None for one in found)
        found.append(f"{plain}-{repeats}" if repeats else plain)
    return found


def broken_links(text, folder):
    """Returns the relative links of a page in `folder` whose file or anchor is missing."""
    prose, broken = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text)), []
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"<(?:img|a)[^>]*? (?:src|href)=\"([^\"]+)\"", prose)
    for target in [link for link in links if not re.match(r"\w+:", link)]:
        name, _, anchor = target.partition("#")
        path = folder / name
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8") if name else text)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    assert broken_links(read(page), (REPOSITORY / page).parent) == []


# ---------------------------------------------------------------- commands


def commands(text):
    """Returns the commands of a page: lines of fenced blocks without a language, and inline code that runs."""
    blocks = [content for _, info, content in FENCE.findall(text) if not info]
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    inline = [piece for piece in quoted(text) if re.match(r"(python|make|torchrun) |(\w+/)?\w+\.py -", piece)]
    return [part.strip() for line in lines + inline for part in line.split("&&")]


class Parsed(BaseException):
    """The command line was accepted."""


def refusal(name, words):
    """Returns what a module or script prints against its command line, or ""."""
    parse, printed = argparse.ArgumentParser.parse_args, io.StringIO()

    def parse_and_stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("sys.argv", [name, *words]))
        stack.enter_context(contextlib.redirect_stderr(printed))
        stack.enter_context(contextlib.redirect_stdout(printed))
        try:
            folder = REPOSITORY.joinpath(*name.split("."), "__main__.py")
            module = importlib.import_module(f"{name}.__main__" if folder.exists() else name)
            if hasattr(module, "Config"):
                settings.check(settings.parse(module.Config, "", words))
                return ""
            stack.enter_context(mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop))
            module.main()
        except Parsed:
            return ""
        except (SystemExit, InputError, ImportError) as error:
            return printed.getvalue() or str(error)
    return f"{name} takes no command line"


def problem(command):
    """Returns what is wrong with a command, or ""."""
    program, *words = shlex.split(command, comments=True)
    if program == "make":
        known = re.findall(r"^([\w.-]+):|^(\w+) [?:]?=", read("Makefile"), re.M)
        return " ".join(word for word in words if word.split("=")[0] not in sum(known, ()))
    if program == "torchrun":
        try:
            run = get_args_parser().parse_args(words)
        except SystemExit:
            return "torchrun refuses this"
        program, words = "python", [run.training_script, *run.training_script_args]
    if program.endswith(".py"):
        program, words = "python", [program, *words]
    if program != "python":
        return f"{program} is not python, make or torchrun"
    if words[:2] == ["-m", "pytest"]:
        return ""
    if words[0] == "-m":
        return refusal(words[1], words[2:])
    return refusal(words[0].removesuffix(".py").replace("/", "."), words[1:])


COMMANDS = [
    (page, command)
    for page in PAGES
    for command in dict.fromkeys(commands(read(page)))
    if page != "docs/code.md" or "prepare.py" in command  # others name what its examples add, and are run below
]


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}"[:90] for page, command in COMMANDS])
def test_commands_are_accepted(page, command):
    assert problem(command) == ""


def test_wrong_commands_are_found():
    wrong = [
        "python teach.py --epochs 3",
        "python train_gull_CMaxGrad.py --selection BestOfAll",
        "python -m utils.teaching.compare_courses toy KMaxGrad --all",
        "python -m benchmarks.bench --rounds many",
        "python datasets/prepare.py pigeons",
        "make everything",
        "torchrun --processes=8 get_all_CE_butterflies.py",
    ]
    assert [command for command in wrong if problem(command) == ""] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])  # it names removed flags
def test_flags_exist(page):
    """Flags in inline code, against the settings and parsers of all scripts and tools."""
    code = "".join(path.read_text() for path in [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS)])
    known = {f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): .* = ", code, re.M)}
    known |= {f"--no-{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): bool = True", code, re.M)}
    known |= {"--help", *re.findall(r'"(--[\w-]+)"', code)}
    pieces = [piece for piece in quoted(read(page)) if not re.match("(torchrun|make|sqlite3) ", piece)]
    assert {word for piece in pieces for word in re.findall(r"(?<!\S)--[\w-]+", piece)} - known == set()


# ---------------------------------------------------------------- files and numbers


SAMPLE = dict(script="train_gull_simclr", selection="random", epochs=100, kind=DEMO, fraction=0.05, people=True)
SAMPLE |= dict(split="test", suffix=".png", ending=".csv", build_id="0123")


def test_every_output_is_in_docs_files():
    """Every file that a Layout names matches a pattern of docs/files.md."""
    named = [piece for piece in quoted(read("docs/files.md")) if piece.startswith("<out>/")]
    both = [piece.replace("[_simclr]", variant) for piece in named for variant in ("", "_simclr")]
    patterns = [re.sub(r"<[^>]+>", "*", piece.removeprefix("<out>/")) for piece in both]
    layout, found = Layout(Path("out"), "butterflies_gt_s300"), []
    for name in set(dir(Layout)) - {"out", "list_stem", "variant", "probe"}:
        if name.startswith("_"):
            continue
        value = getattr(layout, name)
        if callable(value):
            value = value(*(SAMPLE[parameter] for parameter in inspect.signature(value).parameters))
        found.append(value.relative_to("out").as_posix())
    inside = ("", "/", "/x.png", "/index.html", "/iter_000.pt")
    assert [name for name in found if not any(fnmatch(name + end, one) for end in inside for one in patterns)] == []


def test_numbers_of_the_readme_were_measured():
    """Numbers with a decimal point in the section on results are in docs/results.md or, rounded, in a CSV."""
    tables = [path.read_text().splitlines() for path in REPOSITORY.glob("docs/results/*.csv")]
    cells = {cell for table in tables for row in csv.reader(table) for cell in row}
    values = [float(cell) for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?", cell)]
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", section(read("README.md"), "Does it work?"))
    for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", text):
        near = 0.5 * 10 ** -len(number.partition(".")[2]) + 1e-9
        assert number in read("docs/results.md") or any(abs(value - float(number)) <= near for value in values), number


def test_tables_of_results_are_their_csvs():
    lines = [re.sub(r"[ |,]", "", line) for line in read("docs/results.md").splitlines()]
    for path in (REPOSITORY / "docs/results").glob("*.csv"):
        if path.name.startswith("crowd"):  # too long to show whole; the next test checks the excerpt
            continue
        rows = [re.sub(r'[ ",]', "", row) for row in path.read_text().splitlines()]
        assert [row for row in rows if row not in lines] == [], path.name


def test_the_table_of_real_people_is_an_excerpt():
    with open(REPOSITORY / "docs/results/crowd.csv", newline="") as file:
        cells = {(*row[:4], f"{row[5]} ({row[6]})") for row in csv.reader(file)}
    table = read("docs/results.md").split("### Labels from real people\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    shown = {(*row[:4], cell) for row in rows[2:] for cell in row[4:] if cell}
    assert len(shown) > 100 and shown <= cells


# ---------------------------------------------------------------- worked examples

RUNNER = """
import runpy, shlex, sys
for line in open(sys.argv[1]):
    sys.argv = shlex.split(line)
    name = sys.argv[0]
    try:
        run = runpy.run_path if name.endswith(".py") else runpy.run_module
        run(name, run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            raise
"""


def apply(kind, path, content):
    """Creates (`python`) or changes (`diff`) the file of an example. Every place of a diff must be unique."""
    if kind == "python":
        assert not path.exists(), f"{path} exists"
        path.write_text(content, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@\n", content, flags=re.M):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
        assert old and text.count(f"\n{old}") == 1, f"{path}: found {text.count(old)} times: {old}"
        text = text.replace(f"\n{old}", f"\n{new}")
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the code with all examples of docs/code.md in it, and the paths of the examples."""
    folder = tmp_path_factory.mktemp("copy")
    tracked = [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS), REPOSITORY / "pyproject.toml"]
    for source in tracked:
        target = folder / source.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    examples = [(info.split(), content) for _, info, content in FENCE.findall(read("docs/code.md")) if info]
    for (kind, path), content in examples:
        apply(kind, folder / path, content)
    return folder, sorted({path for (_, path), _ in examples})


def example_commands(heading):
    """Returns the commands below a heading of docs/code.md as words, without `python`."""
    return [line.split()[1:] for line in commands(section(read("docs/code.md"), heading)) if line.startswith("python ")]


def test_the_examples_work(copy, small_root, tmp_path):
    """The commands of docs/code.md with small settings, in one process, on the copy with the examples."""
    folder, _ = copy
    small = ["--data-root", small_root, "--workers", 1, "--device", "cpu", "--image-size", SIZE]
    brief = [*small, "--epochs", 1, "--batch-size", 5, "--milestones", 1]
    (select,), (explain, localize) = map(example_commands, ("A selection", "An explanation"))
    train, again = example_commands("An architecture")
    scripts = [
        ["train_butterflies_resnet18.py", "--dataset", "toy", "--out", "toy", *brief],
        [*explain, *small],
        ["get_all_CE_butterflies.py", "--dataset", "toy", "--out", "toy", *small],
        [*select, *small, "--pretrained", "none", "--iterations", 2],
        [*train, *brief],
        [*again, *small],
    ]
    lines = [[f"{folder}/{script}", *rest] for script, *rest in scripts]
    lines.append([*localize[1:], "--data-root", small_root, "--seed", 5])
    (tmp_path / "lines.txt").write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
    command = [sys.executable, "-c", RUNNER, "lines.txt"]
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "toy_cam: cam, t = 0.05" in done.stdout
    course = json.loads((tmp_path / "toy/course_far.json").read_text())
    assert course["selection"] == "far" and len(course["lessons"]) == 2
    record = json.loads((tmp_path / "toy_resnet101/run_train_butterflies_resnet18.json").read_text())
    assert record["settings"]["arch"] == "resnet101"


def test_the_examples_are_clean(copy):
    """The examples pass the project's own linter."""
    folder, changed = copy
    assert len(changed) >= 5
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, "--no-cache", *changed]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
