"""The import ladder, checked on syntax trees: what imports what, and what is private."""

import ast
import re
import sys

import pytest

from tests.helpers.code import MODULE, MODULES, PACKAGES, REPOSITORY, SCRIPTS, name_of, tree

# A module imports only from its own room and from those before it.
LADDER = (
    "utils.base",
    "models",
    "utils.data",
    "utils.running",
    "utils.training",
    "utils.explanations",
    "utils.teaching",
    "utils.people",
)
LAST = ("datasets", "benchmarks", *SCRIPTS)
NETWORKS = {"models.resnet", "models.simclr"}
NAMES = {name_of(path) for path in MODULES}
PUBLIC_UNDERSCORES = {"_asdict", "_fields", "_make", "_replace"}  # of named tuples
ROOMS = sorted(path.parent for path in MODULES if path.name == "__init__.py")


def imported(node):
    """What a statement imports, as (module, name or None)."""
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [
            (name, None) if name in NAMES else (node.module, alias.name)
            for name, alias in zip(whole, node.names, strict=True)
        ]
    return []


def imports(module):
    """All imports of a module, including those inside functions."""
    return [pair for node in ast.walk(module) for pair in imported(node)]


def step_of(module):
    """The step of a module's room on the ladder; None for modules of others."""
    for step, room in enumerate([*LADDER, *LAST]):
        if module == room or module.startswith(f"{room}."):
            return min(step, len(LADDER))
    return -1 if module == "utils" else None


def upward(name, module):
    steps = ((target, step_of(target)) for target, _ in imports(module))
    return [target for target, step in steps if step is not None and step > step_of(name)]


def private_uses(module):
    """Private names of other modules that a module imports or uses."""
    of_modules, found = set(), []
    for node in ast.walk(module):
        found += [f"{target}.{name}" for target, name in imported(node) if name and name.startswith("_")]
        if isinstance(node, ast.Import | ast.ImportFrom):
            of_modules |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr) and node.attr not in PUBLIC_UNDERSCORES:
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            found += [ast.unparse(node)] if isinstance(root, ast.Name) and root.id in of_modules else []
    return found


@MODULE
def test_imports_go_down_the_ladder(path):
    assert upward(name_of(path), tree(path)) == []


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_networks_import_nothing_of_the_repository(network):
    targets = [target for target, _ in imports(tree(REPOSITORY / f"{network.replace('.', '/')}.py"))]
    allowed = {"torch", "torchvision", *sys.stdlib_module_names}
    assert [target for target in targets if target not in NETWORKS and target.split(".")[0] not in allowed] == []


def test_there_are_no_import_cycles():
    reached = {
        name_of(path): {target for target, _ in imports(tree(path)) if target in NAMES} - {name_of(path)}
        for path in MODULES
    }
    for through in reached:
        for name in reached:
            if through in reached[name]:
                reached[name] |= reached[through]
    assert [name for name in reached if name in reached[name]] == []


def test_utils_contains_only_packages():
    assert [path.name for path in (REPOSITORY / "utils").glob("*.py")] == ["__init__.py"]
    packages = {f"utils.{path.parent.name}" for path in (REPOSITORY / "utils").glob("*/__init__.py")}
    assert packages == set(LADDER) - {"models"}


@pytest.mark.parametrize("path", [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS)], ids=name_of)
def test_private_names_stay_in_their_module(path):
    assert private_uses(tree(path)) == []


def test_every_folder_of_code_is_a_package():
    assert {path.parent for path in MODULES} == set(ROOMS) and {room.name for room in ROOMS} >= set(PACKAGES)


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("utils.base.files", "from utils.base import errors", []),
        ("utils.data.lists", "def f():\n    from utils.people import report", ["utils.people.report"]),
        ("models.weights", "import utils.data", ["utils.data"]),
        ("utils.people.report", "from datasets import prepare", ["datasets.prepare"]),
        ("benchmarks.bench", "from datasets import prepare\nimport torch", []),
    ],
)
def test_imports_up_the_ladder_are_found(name, line, found):
    assert upward(name, ast.parse(line)) == found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("from utils.base.files import _hidden", ["utils.base.files._hidden"]),
        ("from utils.base import files\nfiles._hidden(1)", ["files._hidden"]),
        ("from x import Maps\ndef f(self, other):\n    return self._a + other._a + Maps(1)._asdict()", []),
    ],
)
def test_private_names_used_elsewhere_are_found(lines, found):
    assert private_uses(ast.parse(lines)) == found
