"""Rules of the code: every setting is read, no copies between scripts, no tracked data, plain words."""

import ast
import dataclasses
import importlib
import inspect
import shutil
import subprocess
import textwrap

import pytest

from tests.helpers.code import MODULE, MODULES, REPOSITORY, SCRIPT, SCRIPTS, name_of, tree

LONGEST_COPY = 5  # lines
DATA = (".png", ".jpg", ".jpeg", ".npz", ".npy", ".pt", ".pth", ".tar", ".zip", ".tgz")


def called_with_cfg(module):
    """Calls that pass the settings on: (name of the function, arguments)."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and "cfg" in (arguments := list(map(ast.unparse, node.args))):
            yield ast.unparse(node.func), arguments


def settings_read(function, seen):
    """Settings that a function reads: as `cfg.x`, by `pick`, or in functions and classes that it passes `cfg` to."""
    if function in seen:
        return set()
    seen.add(function)
    module = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = inspect.getmodule(function).__dict__
    read = {
        node.attr
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("cfg", "self.cfg")
    }
    for name, arguments in called_with_cfg(module):
        if name == "pick":
            read |= {field.name for field in dataclasses.fields(names[arguments[0]])}
        elif inspect.isfunction(names.get(name)) or inspect.isclass(names.get(name)):
            read |= settings_read(names[name], seen)
    return read


def unread_settings(config, main):
    """Fields of `config` that neither `main` nor the launcher reads. Being written to the run record does not count."""
    from utils.running import launch

    return {field.name for field in dataclasses.fields(config)} - settings_read(main, {launch.launch})


@SCRIPT
def test_every_setting_is_read(script):
    module = importlib.import_module(script)
    assert (
        unread_settings(module.Config, module.main) - {"dataset", "data_root", "out", "seed", "resume"} == set()
    )  # the launcher


def test_every_picked_field_is_used():
    modules = [importlib.import_module(name) for name in [*SCRIPTS, *map(name_of, MODULES)]]
    calls = [(module, *call) for module in modules for call in called_with_cfg(ast.parse(inspect.getsource(module)))]
    picked = {arguments[0]: vars(module)[arguments[0]] for module, name, arguments in calls if name == "pick"}
    nodes = [node for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in nodes if ast.unparse(node.value) != "cfg"}
    assert len(picked) >= 4
    assert {name: set(kind.__dataclass_fields__) - used for name, kind in picked.items()} == dict.fromkeys(
        picked, set()
    )


def test_settings_of_the_same_name_have_the_same_type():
    types = {}
    for script in SCRIPTS:
        for field in dataclasses.fields(importlib.import_module(script).Config):
            kind = str(field.type).replace("'auto', ", "")  # some take their default from earlier outputs
            types.setdefault(field.name, {}).setdefault(kind, []).append(script)
    assert {name: of for name, of in types.items() if len(of) > 1} == {}


@SCRIPT
def test_scripts_have_the_same_order(script):
    """Docstring with the command, imports, Config, helpers, main, launch."""
    module = tree(REPOSITORY / f"{script}.py")
    assert f"    python {script}.py\n" in ast.get_docstring(module, clean=False)
    body = [node for node in module.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert isinstance(body[0], ast.ClassDef) and body[0].name == "Config"
    assert isinstance(body[-2], ast.FunctionDef) and body[-2].name == "main"
    assert ast.unparse(body[-1]) == "if __name__ == '__main__':\n    launch(main, Config, __doc__)"


def test_no_two_scripts_share_a_function():
    """Except `main`."""
    long = [
        ast.dump(node)
        for script in SCRIPTS
        for node in ast.walk(tree(REPOSITORY / f"{script}.py"))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > LONGEST_COPY and node.name != "main"
    ]
    assert len(set(long)) == len(long)


@MODULE
def test_modules_have_docstrings(path):
    assert ast.get_docstring(tree(path))


def git(*words):
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True).stdout.splitlines()


def test_no_data_or_weights_are_tracked():
    tracked = [name for name in git("ls-files") if not name.startswith("docs/")]
    assert f"{SCRIPTS[0]}.py" in tracked
    assert [name for name in tracked if name.lower().endswith(DATA)] == []
    files = [REPOSITORY / name for name in tracked]
    assert [file for file in files if file.is_file() and file.stat().st_size > 200_000] == []


@pytest.mark.parametrize("words", [("-nwiE", "ane" + "w|whoe" + "ver"), ("-nw", "is no" + "ne")], ids=str)
def test_banned_words(words):
    found = git("grep", "-I", *words)
    assert [line for line in found if "{{" not in line and "there is no" not in line] == []  # {{: a test of Jinja
