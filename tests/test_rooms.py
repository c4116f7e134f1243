"""The import ladder, checked on syntax trees; private names; what scripts import at the start."""

import ast
import re
import subprocess
import sys

import pytest

from tests.helpers.code import MODULE, MODULES, REPOSITORY, SCRIPTS, name_of, tree

# A module imports only from its own room and from rooms before it.
LADDER = (
    "utils.base models utils.data utils.running utils.training utils.explanations utils.teaching utils.people".split()
)
LAST = ("datasets", "benchmarks", *SCRIPTS)
NETWORKS = {"models.resnet", "models.simclr"}
NAMES = {name_of(path) for path in MODULES}
PUBLIC_UNDERSCORES = {"_asdict", "_fields", "_make", "_replace"}  # of named tuples
LATE = {"matplotlib", "scipy", "flask"}  # take long to import, and are needed only at the end


def imported(node):
    """What a statement imports, as (module, name or None)."""
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        whole = [(f"{node.module}.{alias.name}", alias.name) for alias in node.names]
        return [(path, None) if path in NAMES else (node.module, name) for path, name in whole]
    return []


def imports(module):
    """Modules that a module imports, including imports inside functions."""
    return [target for node in ast.walk(module) for target, _ in imported(node)]


def step_of(module):
    """The step of a module's room on the ladder; None for other people's modules."""
    for step, room in enumerate([*LADDER, *LAST]):
        if module == room or module.startswith(f"{room}."):
            return min(step, len(LADDER))
    return -1 if module == "utils" else None


def upward(name, module):
    steps = ((target, step_of(target)) for target in imports(module))
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
    targets = imports(tree(REPOSITORY / f"{network.replace('.', '/')}.py"))
    allowed = {"torch", "torchvision", *sys.stdlib_module_names}
    assert [target for target in targets if target not in NETWORKS and target.split(".")[0] not in allowed] == []


def test_there_are_no_import_cycles():
    reached = {name_of(path): set(imports(tree(path))) & NAMES - {name_of(path)} for path in MODULES}
    for through in reached:
        for name in reached:
            if through in reached[name]:
                reached[name] |= reached[through]
    assert [name for name in reached if name in reached[name]] == []


def test_utils_contains_only_rooms():
    assert [path.name for path in (REPOSITORY / "utils").glob("*.py")] == ["__init__.py"]
    assert {f"utils.{path.parent.name}" for path in (REPOSITORY / "utils").glob("*/__init__.py")} == {
        room for room in LADDER if room != "models"
    }
    assert {path.parent for path in MODULES} == {path.parent for path in MODULES if path.name == "__init__.py"}


@pytest.mark.parametrize("path", [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS)], ids=name_of)
def test_private_names_stay_in_their_module(path):
    assert private_uses(tree(path)) == []


@pytest.mark.parametrize("script", ["get_all_CE_butterflies", "train_gull_CMaxGrad", "train_gull_resnet18_linear"])
def test_scripts_start_without_what_only_their_end_needs(script):
    command = [sys.executable, "-c", f"import sys, {script}; print(*sys.modules)"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    assert "torch" in done.stdout.split() and not LATE & set(done.stdout.split())
