"""What the code promises about itself, checked on its syntax trees: settings that all count, no copies, short and documented parts."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import shutil
import statistics
import subprocess
import textwrap

import pytest

from tests.helpers.code import MODULE, MODULES, REPOSITORY, SCRIPT, SCRIPTS, functions, length, name_of

PIPELINE = [script for script in SCRIPTS if script.startswith(("train_", "get_all_CE_"))]
FAMILY = (
    "get_all_CE_{}",
    "get_all_CE_{}_simclr",
    "label_{}",
    "teach_{}",
    "train_{}_CMaxGrad",
    "train_{}_CMaxGrad_simclr",
    "train_{}_simclr",
)
LONGEST_SCRIPT, LONGEST_MODULE, LONGEST_FUNCTION, LONGEST_COPY, MEDIAN_FUNCTION = 150, 350, 45, 5, 12  # lines
LONGEST_WITH_ITS_DOCSTRING = 60
LONGER_MODULES = {"utils.data.toy_moths"}  # one drawing, mark by mark
DATA = (".png", ".jpg", ".jpeg", ".npz", ".npy", ".pt", ".pth", ".tar", ".zip", ".tgz")


def tree_of(function):
    """The syntax tree of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def called_with_cfg(tree):
    """The calls in a tree that hand on the settings: (name of the function, arguments)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(
            isinstance(argument, ast.Name) and argument.id == "cfg" for argument in node.args
        ):
            yield ast.unparse(node.func), [ast.unparse(argument) for argument in node.args]


def settings_read(function, seen=None):
    """Names of the settings that a function reads from its `cfg`: as `cfg.x`, by `pick`, or in functions that it hands `cfg` to.

    A run record is no reading: a setting that is only written down has no effect.
    """
    seen = set() if seen is None else seen
    if function in seen:
        return set()
    seen.add(function)
    tree, names = tree_of(function), inspect.getmodule(function).__dict__
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cfg"
    }
    for name, arguments in called_with_cfg(tree):
        if name == "pick":
            read |= {field.name for field in dataclasses.fields(names[arguments[0]])}
        elif inspect.isfunction(names.get(name)):
            read |= settings_read(names[name], seen)
    return read


def unread_settings(config, main):
    """Fields of `config` that neither `main` nor the launcher reads."""
    from utils.running import launch

    return {field.name for field in dataclasses.fields(config)} - settings_read(main) - settings_read(launch.launch)


@SCRIPT
def test_every_setting_is_read(script):
    module = importlib.import_module(script)
    assert unread_settings(module.Config, module.main) == set()


def helper_of_the_next_test(cfg):
    return cfg.lr


def main_of_the_next_test(cfg):
    return helper_of_the_next_test(cfg) + cfg.epochs


def test_a_setting_that_is_not_read_would_be_found():
    fields = [("epochs", int), ("lr", float), ("seed", int), ("patience", int)]
    assert unread_settings(dataclasses.make_dataclass("Config", fields), main_of_the_next_test) == {"patience"}


def picked_classes():
    """The dataclasses that `pick` fills anywhere, by name."""
    found = {}
    for stem in [*SCRIPTS, *map(name_of, MODULES)]:
        module = importlib.import_module(stem)
        for name, arguments in called_with_cfg(ast.parse(inspect.getsource(module))):
            if name == "pick":
                found[arguments[0]] = module.__dict__[arguments[0]]
    return found


def test_every_field_that_is_picked_is_used():
    attributes = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "cfg"):
                attributes.add(node.attr)
    picked = picked_classes()
    assert len(picked) >= 4
    assert {
        (name, field.name)
        for name, kind in picked.items()
        for field in dataclasses.fields(kind)
        if field.name not in attributes
    } == set()


def test_settings_of_the_same_name_are_of_the_same_type():
    types = {}
    for script in SCRIPTS:
        for field in dataclasses.fields(importlib.import_module(script).Config):
            types.setdefault(field.name, {})[script] = field.type
    assert [name for name, of in types.items() if len(set(of.values())) > 1] == []
    assert {"dataset", "data_root", "out", "seed", "workers", "device"} <= {
        name for name, of in types.items() if set(PIPELINE) <= set(of)
    }


@SCRIPT
def test_a_script_has_the_order_of_all_scripts(script):
    """Docstring with the command, imports, Config, helpers, main, guard."""
    tree = ast.parse((REPOSITORY / f"{script}.py").read_text())
    assert f"    python {script}.py\n" in ast.get_docstring(tree, clean=False)
    body = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert isinstance(body[0], ast.ClassDef) and body[0].name == "Config"
    assert isinstance(body[-2], ast.FunctionDef) and body[-2].name == "main"
    assert ast.unparse(body[-1]) == "if __name__ == '__main__':\n    launch(main, Config, __doc__)"


@SCRIPT
def test_a_script_is_short(script):
    assert len((REPOSITORY / f"{script}.py").read_text().splitlines()) <= LONGEST_SCRIPT


def incomplete(scripts):
    """What the families of scripts lack, by dataset: each dataset with a course of CMaxGrad has one. The teachers differ in name."""
    lacking = {}
    for dataset in sorted(filter(None, (re.sub("^train_(.+)_CMaxGrad$|.*", r"\1", script) for script in scripts))):
        family = {stem.format(dataset) for stem in FAMILY}
        lacking[dataset] = family - set(scripts)
        if not any(script.startswith(f"train_{dataset}_") for script in set(scripts) - family):
            lacking[dataset].add("a teacher")
    return lacking


def test_each_dataset_has_its_whole_family_of_scripts():
    lacking = incomplete(SCRIPTS)
    assert {"butterflies", "gull"} <= set(lacking) and set().union(*lacking.values()) == set()
    datasets = "|".join(lacking)
    assert [script for script in PIPELINE if not re.fullmatch(f"(train|get_all_CE)_({datasets})(_.+)?", script)] == []


def test_a_family_that_lacks_a_script_would_be_found():
    chars = [stem.format("chinese_chars") for stem in FAMILY]
    assert incomplete([*SCRIPTS, *chars, "train_chinese_chars_resnet50"])["chinese_chars"] == set()
    assert incomplete([*SCRIPTS, *chars[1:]])["chinese_chars"] == {"get_all_CE_chinese_chars", "a teacher"}


def test_no_two_scripts_share_a_function():
    """Their stories, `main`, may repeat; computing may not."""
    long = [
        (script, node.name, ast.dump(node))
        for script in SCRIPTS
        for node in functions(REPOSITORY / f"{script}.py")
        if length(node) > LONGEST_COPY and node.name != "main"
    ]
    assert long
    assert [(one[:2], other[:2]) for one, other in itertools.combinations(long, 2) if one[2] == other[2]] == []


@MODULE
def test_functions_are_short(path):
    whole = {node.name: node.end_lineno - node.lineno + 1 for node in functions(path)}
    assert {node.name: length(node) for node in functions(path) if length(node) > LONGEST_FUNCTION} == {}
    assert {name: lines for name, lines in whole.items() if lines > LONGEST_WITH_ITS_DOCSTRING} == {}


def test_most_functions_are_shorter_still():
    median = statistics.median(length(node) for path in MODULES for node in functions(path))
    assert median <= MEDIAN_FUNCTION, f"the median function has {median} lines"


@MODULE
def test_modules_are_short(path):
    assert name_of(path) in LONGER_MODULES or len(path.read_text().splitlines()) <= LONGEST_MODULE


@MODULE
def test_what_is_public_is_documented(path):
    tree = ast.parse(path.read_text())
    public = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    public = [
        node for node in public if "overload" not in map(ast.unparse, node.decorator_list)
    ]  # types alone; what follows says it
    assert ast.get_docstring(tree)
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@MODULE
def test_arguments_that_are_documented_exist(path):
    """Names under `Args:` are the function's, or the class's own fields and constructor arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            listed = re.search(r"Args:\n((?: {4}.*\n?|\n)+)", ast.get_docstring(node) or "")
            if listed:
                named = re.findall(r"^ {4}(\w+(?:, \w+)*):", listed[1].split("\n\n")[0], flags=re.M)
                known = {
                    argument.arg
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.arguments)
                    for argument in inner.args + inner.kwonlyargs
                }
                assert {name for names in named for name in names.split(", ")} <= known, node.name


def git(*words):
    """What git prints, or a skip where there is no checkout."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_no_data_or_weights_are_tracked():
    tracked = git("ls-files").splitlines()
    assert f"{SCRIPTS[0]}.py" in tracked
    assert [name for name in tracked if name.lower().endswith(DATA) and not name.startswith("docs/")] == []
    assert [
        name
        for name in tracked
        if (REPOSITORY / name).is_file()
        and (REPOSITORY / name).stat().st_size > 200_000
        and not name.startswith("docs/")
    ] == []
