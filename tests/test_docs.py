"""Commands, links, numbers and examples of the documents are right."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.helpers import docs
from tests.helpers.code import PACKAGES, REPOSITORY, SCRIPTS
from tests.helpers.runs import SIZE
from utils.data.outputs import DEMO, Layout

PAGE = pytest.mark.parametrize("page", docs.PAGES)
COMMANDS = [
    (page, command)
    for page in docs.PAGES
    if page != "docs/code.md"  # its commands name what its examples add, and are run below
    for command in dict.fromkeys(docs.commands(docs.read(page)))
]
WORDS, README_LINES = 12_000, 100


def test_the_documents_are_short():
    """Words outside generated tables, and the lines of README."""
    pages = [page for page in docs.PAGES if page.startswith(("docs/", "datasets/", "README"))]
    lines = [
        line for page in pages for line in docs.read(page).splitlines() if page != "docs/results.md" or line[:1] != "|"
    ]
    assert len(pages) == 8 and sum(len(line.split()) for line in lines) <= WORDS
    assert len(docs.read("README.md").splitlines()) <= README_LINES


@PAGE
def test_links_lead_to_files_and_headings(page):
    assert docs.broken_links(docs.read(page), (REPOSITORY / page).parent) == []


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}"[:90] for page, command in COMMANDS])
def test_commands_are_accepted(page, command):
    assert docs.problem(command) == ""


@PAGE
def test_flags_exist(page):
    assert docs.unknown_flags(docs.read(page)) == []


SAMPLE = {
    "script": "train_gull_simclr",
    "selection": "random",
    "epochs": 100,
    "kind": DEMO,
    "fraction": 0.05,
    "people": True,
    "split": "test",
    "suffix": ".png",
    "ending": ".csv",
    "build_id": "0123",
}


def test_every_output_is_in_docs_files():
    """Every file that a Layout names matches a pattern of docs/files.md."""
    named = [piece for piece in docs.quoted(docs.read("docs/files.md")) if piece.startswith("<out>/")]
    both = [piece.replace("[_simclr]", variant) for piece in named for variant in ("", "_simclr")]
    patterns = [re.sub(r"<[^>]+>", "*", piece.removeprefix("<out>/")) for piece in both]
    layout, found = Layout(Path("out"), "butterflies_gt_s300"), []
    for attribute in [
        name
        for name in dir(Layout)
        if not name.startswith("_") and name not in ("out", "list_stem", "variant", "probe")
    ]:
        value = getattr(layout, attribute)
        if callable(value):
            value = value(*(SAMPLE[name] for name in inspect.signature(value).parameters))
        found.append(value.relative_to("out").as_posix())
    inside = ("", "/", "/x.png", "/index.html", "/iter_000.pt")
    assert [name for name in found if not any(fnmatch(name + end, one) for end in inside for one in patterns)] == []


def test_numbers_of_the_readme_were_measured():
    """Numbers with a decimal point in the section on results are in a CSV or in docs/results.md."""
    numbers = docs.unmeasured(
        docs.section(docs.read("README.md"), "Does it work?"), list(REPOSITORY.glob("docs/results/*.csv"))
    )
    assert [number for number in numbers if number not in docs.read("docs/results.md")] == []


def test_tables_of_results_are_their_csvs():
    lines = docs.read("docs/results.md").splitlines()
    for path in (REPOSITORY / "docs/results").glob("*.csv"):
        rows = [row.split(",") for row in path.read_text().replace('"', "").splitlines()]
        cells = ["".join(row).replace(" ", "") for row in rows]
        shown = ["".join(line.split("|")).replace(" ", "") for line in lines]
        assert [cell for cell in cells if cell not in [one.replace(",", "") for one in shown]] == [], path.name


def test_the_version_is_the_same_everywhere():
    (version,) = re.findall(r'^version = "(.+)"$', docs.read("pyproject.toml"), re.M)
    assert re.findall(r"^version: (.+)$", docs.read("CITATION.cff"), re.M) == [version]
    assert re.findall(r"^## \[(\d.+?)\]", docs.read("CHANGELOG.md"), re.M)[0] == version


# ---------------------------------------------------------------- worked examples


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the code with all examples of docs/code.md in it."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        leave = shutil.ignore_patterns("__pycache__") if package != "datasets" else _leave_data
        shutil.copytree(REPOSITORY / package, folder / package, ignore=leave)
    for script in SCRIPTS:
        shutil.copy(REPOSITORY / f"{script}.py", folder)
    for example in docs.examples(docs.read("docs/code.md")):
        docs.apply(example, folder)
    return folder


def _leave_data(folder, names):
    """Of `datasets`, what is no code."""
    return [name for name in names if (Path(folder) / name).is_dir()]


RUNNER = """
import runpy, shlex, sys
for line in open(sys.argv[1]):
    sys.argv = shlex.split(line)
    name = sys.argv.pop(0)
    sys.argv.insert(0, name)
    try:
        run = runpy.run_path if name.endswith(".py") else runpy.run_module
        run(name, run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            raise
"""


def example_commands(heading):
    """The words of the commands below a heading of docs/code.md, `python` left out."""
    lines = docs.commands(docs.section(docs.read("docs/code.md"), heading))
    return [line.split() for line in lines if line.startswith("python ")]


def run(copy, folder, lines):
    """Runs commands one after the other in one process of the copy, in the working folder `folder`."""
    (folder / "lines.txt").write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
    command = [sys.executable, "-c", RUNNER, "lines.txt"]
    environment = {"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_examples_work(copy, small_root, tmp_path):
    """The commands of docs/code.md, with small settings, on a copy of the repository that has the examples in it."""
    common = ["--data-root", small_root, "--workers", 1, "--device", "cpu"]
    small = [*common, "--image-size", SIZE]
    brief = [*small, "--epochs", 1, "--batch-size", 5, "--milestones", 1]
    (select,), (explain, localize), (train, again) = map(
        example_commands, ("A selection", "An explanation", "An architecture")
    )
    teacher = ["train_butterflies_resnet18.py", "--dataset", "toy", "--out", "toy", *brief]
    scripts = [
        teacher,
        [*explain[1:], *small],
        ["get_all_CE_butterflies.py", "--dataset", "toy", "--out", "toy", *small],
        [*select[1:], *small, "--pretrained", "none", "--iterations", 2],
        [*train[1:], *brief],
        [*again[1:], *small],
    ]
    scripts = [[f"{copy}/{script}", *rest] for script, *rest in scripts]
    said = run(copy, tmp_path, [*scripts, [*localize[2:], "--data-root", small_root, "--seed", 5]])
    assert "toy_cam: cam, t = 0.05" in said
    course = json.loads((tmp_path / "toy/course_farthest.json").read_text())
    assert course["selection"] == "farthest" and len(course["lessons"]) == 2
    settings = json.loads((tmp_path / "toy_resnet101/run_train_butterflies_resnet18.json").read_text())["settings"]
    assert settings["arch"] == "resnet101"


def test_the_examples_are_clean(copy):
    """What readers copy passes the project's own linter."""
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    changed = sorted(
        {example.path for example in docs.examples(docs.read("docs/code.md")) if example.path.endswith(".py")}
    )
    assert len(changed) >= 5
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", *changed], cwd=copy, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_the_dataset_of_the_example_is_made(tmp_path, small_root, monkeypatch, capsys):
    from datasets import prepare

    make, check = example_commands("A dataset")
    for label, kind in enumerate(("red", "blue")):
        for number in range(3):
            path = tmp_path / f"my_birds/{kind}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            listed = sorted((small_root / "toy/images").rglob("*.png"))[3 * label + number]
            shutil.copyfile(listed, path)
    monkeypatch.setenv("HOME", str(tmp_path))
    root = ["--data-root", str(tmp_path / "data")]
    words = [word if word != "60" else "1" for word in make[2:]]
    assert prepare.main([*words, *root]) == 0 and prepare.main([*check[2:], *root]) == 0
    assert len((tmp_path / "data/my_birds/my_birds_gt_tr.txt").read_text().splitlines()) == 2
    assert capsys.readouterr().out


# ---------------------------------------------------------------- what the tests above find


def test_broken_links_are_found(tmp_path):
    (tmp_path / "there.md").write_text("# One & two\n## Same\n## Same\n```\n# no heading\n```\n")
    text = "[a](there.md) [b](there.md#one--two) [c](there.md#same-1) [d](https://x.org) ![e](gone.png) `[f](no.md)`\n"
    assert docs.broken_links(text, tmp_path) == ["gone.png"]
    text = (
        '[a](gone.md) [b](there.md#three) [c](#here) [d](#there) <img src="a.png"> [e](there.md#no-heading)\n# Here\n'
    )
    assert docs.broken_links(text, tmp_path) == [
        "gone.md",
        "there.md#three",
        "#there",
        "there.md#no-heading",
        "a.png",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "python train_butterflies_resnet50.py",
        "python teach.py --epochs 3",
        "python train_gull_CMaxGrad.py --selection BestOfAll",
        "python get_all_CE_gull.py --mask-sizes 0.001",
        "python -m utils.teaching.compare",
        "python -m utils.teaching.compare_courses toy KMaxGrad --all",
        "python -m benchmarks.bench --rounds many",
        "python datasets/prepare.py pigeons",
        "python -m pytest tests/test_nothing.py",
        "make everything",
        "torchrun --processes=8 get_all_CE_butterflies.py",
        "torchrun --nproc-per-node=8 get_all_CE_butterflies.py --epochs 3",
        "... --select KMaxGrad",
        "conda install memorable",
    ],
)
def test_wrong_commands_are_found(command):
    assert docs.problem(command) != ""


def test_commands_flags_and_numbers_are_found(tmp_path):
    text = "Do `python a.py --x\n1` and `make demo`.\n```\npython c.py && make test  # all\n```\n```json\n{}\n```\n"
    assert docs.commands(text) == ["python c.py", "make test  # all", "python a.py --x 1", "make demo"]
    assert docs.unknown_flags("`--resume` and `--restart`, `torchrun --nnodes=4 x.py`, --never") == ["--restart"]
    (tmp_path / "t.csv").write_text("selection,mean\nKMaxGrad,76.849\nrandom,67.45\n")
    text = "In version 1.2.3, KMaxGrad 76.8 %, random 67.5; `0.05`, [x](results-9.9.md). CMaxGrad 62.8, 76.9."
    assert docs.unmeasured(text, [tmp_path / "t.csv"]) == ["62.8", "76.9"]
