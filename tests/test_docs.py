"""What the documents say can be done: links lead somewhere, commands are taken, files exist, figures were measured, examples work."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import docs
from tests.helpers.code import PACKAGES, REPOSITORY, SCRIPTS
from tests.helpers.runs import SIZE
from utils.data.outputs import DEMO, Layout

PAGE = pytest.mark.parametrize("page", docs.PAGES)
# Those of docs/code.md are run, since they name what its examples add.
COMMANDS = [
    (page, command)
    for page in docs.PAGES
    if page != "docs/code.md"
    for command in dict.fromkeys(docs.commands(docs.read(page)))
]
MOST_LINES, LONGEST_LINE = 100, 170
RESULTS = REPOSITORY / "docs/results"
SAMPLE = {
    "script": "teach",
    "selection": "random",
    "epochs": 100,
    "kind": DEMO,
    "fraction": 0.05,
    "people": True,
    "split": "test",
    "suffix": ".png",
    "ending": "_people.png",
    "build_id": "0123",
}


def outputs():
    return docs.documented(docs.read("docs/files.md"))


def test_the_pages_are_there():
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "datasets/README.md"} <= set(docs.PAGES)
    assert {f"docs/{name}.md" for name in ("method", "files", "people", "running", "code")} <= set(docs.PAGES)
    assert len(COMMANDS) > 60


def test_the_readme_is_short():
    lines = docs.read("README.md").splitlines()
    assert len(lines) <= MOST_LINES and max(map(len, lines)) <= LONGEST_LINE


@PAGE
def test_relative_links_and_anchors_exist(page):
    assert docs.broken_links(docs.read(page), (REPOSITORY / page).parent) == []


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}"[:90] for page, command in COMMANDS])
def test_commands_are_taken(page, command):
    assert docs.wrong(command) == ""


@PAGE
def test_flags_exist(page):
    assert docs.unknown_flags(docs.read(page)) == []


# docs/files.md says what outputs there are; datasets/README.md speaks of archives and folders of others, docs/results.md of weights.
@pytest.mark.parametrize(
    "page", [page for page in docs.PAGES if page not in ("docs/files.md", "datasets/README.md", "docs/results.md")]
)
def test_files_exist_or_are_documented_outputs(page):
    assert docs.strange_files(docs.read(page), outputs(), (REPOSITORY / page).parent) == []


def names_of(layout):
    """All names that a layout gives, by attribute: a file each, or a folder."""
    for attribute in dir(type(layout)):
        value = (
            None
            if attribute.startswith("_") or attribute in ("out", "list_stem", "variant")
            else getattr(layout, attribute)
        )
        if callable(value):
            value = value(*(SAMPLE[name] for name in inspect.signature(value).parameters))
        if value is not None:
            yield attribute, value.relative_to(layout.out).as_posix()


@pytest.mark.parametrize("variant", ["", "simclr"])
def test_every_name_of_the_layout_is_documented(variant):
    names, patterns = dict(names_of(Layout(Path("out"), "butterflies_gt_s300", variant))), outputs()
    if not variant:
        del names["probe"]  # a variant alone has one
    assert len(names) > 20
    inside = ("", "/", "/x.png", "/index.html", "/iter_000.pt")  # in folders
    assert [name for name in names.values() if not any(docs.is_output(name + end, patterns) for end in inside)] == []
    assert not docs.is_output("course_random.txt", patterns) and not docs.is_output("teacher.npz", patterns)


def test_figures_of_the_readme_were_measured():
    """Each number with a decimal point in the section on results is a value of some table of docs/results, rounded as it is."""
    paragraph = docs.section(docs.read("README.md"), "Does it work?")
    assert len(docs.figures_of(paragraph)) > 5
    tables = sorted(RESULTS.glob("**/*.csv"))
    if not tables:
        pytest.skip("docs/results holds no tables yet")
    assert docs.unmeasured(paragraph, docs.values_of(tables)) == []


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
        runpy.run_path(name, run_name="__main__") if name.endswith(".py") else runpy.run_module(name, run_name="__main__", alter_sys=True)
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
    assert len(changed) >= 6
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


# What the tests above would find.


def test_a_link_that_leads_nowhere_would_be_found(tmp_path):
    (tmp_path / "there.md").write_text("# One & two\n## Same\n## Same\n```\n# no heading\n```\n")
    text = "[a](there.md) [b](there.md#one--two) [c](there.md#same-1) [d](https://x.org/y) ![e](gone.png) `[f](code.md)`\n# Here\n"
    assert docs.broken_links(text, tmp_path) == ["gone.png"]
    text = '[a](gone.md) [b](there.md#three) [c](#here) [d](#there) <img src="gone.png"> [e](there.md#no-heading)\n# Here\n'
    assert docs.broken_links(text, tmp_path) == [
        "gone.md",
        "there.md#three",
        "#there",
        "there.md#no-heading",
        "gone.png",
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
        "python -m benchmarks.pools many",
        "python datasets/prepare.py pigeons",
        "python datasets/prepare.py folder ~/my_birds --expert 60",
        "python datasets/prepare.py toy --archive FILE",
        "python -m pytest tests/test_nothing.py",
        "make everything",
        "make demo PLACE=toy",
        "torchrun --processes=8 get_all_CE_butterflies.py",
        "torchrun --nproc-per-node=8 get_all_CE_butterflies.py --epochs 3",
        "... --select KMaxGrad",
        "study_annotators.py --accuracy high",
        "conda install memorable",
    ],
)
def test_a_command_that_does_not_work_would_be_found(command):
    assert docs.wrong(command) != ""


def test_commands_are_found_wherever_they_stand():
    text = (
        "Do `python a.py --x\n1` and `make demo`.\n\n| step | `python b.py` |\n\n- in a list\n"
        "  ```\n  python c.py && make test  # all\n  ```\n```python utils/x.py\nimport y\n```\n```json\n{}\n```\n"
    )
    assert docs.commands(text) == ["python c.py", "make test  # all", "python a.py --x 1", "make demo", "python b.py"]


def test_flags_and_files_that_are_not_there_would_be_found():
    assert docs.unknown_flags("`--resume` and `--restart`, `torchrun --nnodes=4 x.py`, --never") == ["--restart"]
    patterns = docs.documented("`<out>/course_<selection>[_simclr].json` `bench/bench.txt`")
    text = "`course_MaxGrad_simclr.json` `toy/course_random.json` `train_*_simclr.py` `utils/data/` `margin.py` `--out` `a.b`"
    assert docs.strange_files(text, patterns) == []
    text = "`course_MaxGrad.txt` `utils/date/` `train_*_moco.py` `utils/data/gone.py` `bench/bench.csv`"
    assert docs.strange_files(text, patterns) == [
        "course_MaxGrad.txt",
        "utils/date/",
        "train_*_moco.py",
        "utils/data/gone.py",
        "bench/bench.csv",
    ]


def test_a_figure_that_was_not_measured_would_be_found(tmp_path):
    (tmp_path / "t.csv").write_text("selection,mean\nKMaxGrad,76.849\nrandom,67.45\n")
    values = docs.values_of([tmp_path / "t.csv"])
    text = "In 20 lessons of version 1.2.3, KMaxGrad 76.8 %, random 67.5; `0.05`, [x](results-9.9.md). CMaxGrad 62.8, 76.9."
    assert values == [76.849, 67.45]
    assert docs.figures_of(text) == ["76.8", "67.5", "62.8", "76.9"]
    assert docs.unmeasured(text, values) == ["62.8", "76.9"]


def test_a_diff_is_put_where_it_belongs_or_refused():
    text = "import a\nx = 1\ny = 2\n"
    assert docs.changed(text, "-x = 1\n+x = 3\n@@\n y = 2\n+z = 4\n") == "import a\nx = 3\ny = 2\nz = 4\n"
    for lost in ("-x = 2\n+x = 3\n", "+z = 4\n", " y = 1\n+z = 4\n"):
        with pytest.raises(ValueError, match="found 0 times"):
            docs.changed(text, lost)
