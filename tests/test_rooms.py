"""The rooms of the house, checked on syntax trees: what imports what, what is private, and whether each package has its map."""

import ast
import re
import sys

import pytest

from tests.helpers.code import MODULE, MODULES, PACKAGES, REPOSITORY, SCRIPTS, name_of, tree

# The method's order: a module imports from its own room and from those before it. The scripts, `datasets` and `benchmarks` come last.
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
NETWORKS = {"models.resnet", "models.simclr"}  # to be read, and taken elsewhere, alone
NAMES = {name_of(path) for path in MODULES}
PUBLIC_UNDERSCORES = {"_asdict", "_fields", "_make", "_replace"}  # of named tuples
ROOMS = sorted(path.parent for path in MODULES if path.name == "__init__.py")


def imported(node, known=NAMES):
    """What one statement imports, as (module, name or None); `from utils.base import files` gives the module `utils.base.files`."""
    if isinstance(node, ast.Import):
        return [(alias.name, None) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [
            (name, None) if name in known else (node.module, alias.name)
            for name, alias in zip(whole, node.names, strict=True)
        ]
    return []


def imports(module):
    """All that a module imports, wherever it does: at its top, inside functions, under TYPE_CHECKING."""
    return [pair for node in ast.walk(module) for pair in imported(node)]


def room_of(module):
    """The place of a module's room on the ladder; None for what is not ours."""
    for step, room in enumerate([*LADDER, *LAST]):
        if module == room or module.startswith(f"{room}."):
            return min(step, len(LADDER))
    return -1 if module == "utils" else None


def upward(name, module):
    """The imports of a module that lead up the ladder."""
    return [target for target, _ in imports(module) if room_of(target) is not None and room_of(target) > room_of(name)]


def private_uses(module):
    """Private names of other modules that a module imports or reaches into."""
    of_modules, found = set(), []
    for node in ast.walk(module):
        for target, name in imported(node):
            found += [f"{target}.{name}"] if name and name.startswith("_") else []
            found += (
                [target] if any(part.startswith("_") and part != "__future__" for part in target.split(".")) else []
            )
        if isinstance(node, ast.Import | ast.ImportFrom):
            of_modules |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr) and node.attr not in PUBLIC_UNDERSCORES:
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            found += [ast.unparse(node)] if isinstance(root, ast.Name) and root.id in of_modules else []
    return found


def circles(graph):
    """The modules that import themselves by way of others; `graph` names the modules that each imports."""
    reached = {name: set(targets) for name, targets in graph.items()}
    for through in graph:
        for name in graph:
            if through in reached[name]:
                reached[name] |= reached[through]
    return sorted(name for name in graph if name in reached[name])


def called_cfg(module):
    """The lines on which something is named `cfg`: an argument or a variable."""
    arguments = [node.lineno for node in ast.walk(module) if isinstance(node, ast.arg) and node.arg == "cfg"]
    return arguments + [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Name) and node.id == "cfg" and isinstance(node.ctx, ast.Store)
    ]


@MODULE
def test_imports_go_down_the_ladder(path):
    assert upward(name_of(path), tree(path)) == []


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_a_network_imports_nothing_of_the_repository(network):
    targets = [target for target, _ in imports(tree(REPOSITORY / f"{network.replace('.', '/')}.py"))]
    allowed = {"torch", "torchvision", *sys.stdlib_module_names}
    assert [target for target in targets if target not in NETWORKS and target.split(".")[0] not in allowed] == []


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        name_of(path): {target for target, _ in imports(tree(path)) if target in NAMES} - {name_of(path)}
        for path in MODULES
    }
    assert circles(graph) == []


def test_utils_holds_packages_only():
    assert [path.name for path in (REPOSITORY / "utils").glob("*.py")] == ["__init__.py"]
    assert {f"utils.{path.parent.name}" for path in (REPOSITORY / "utils").glob("*/__init__.py")} == set(LADDER) - {
        "models"
    }


@pytest.mark.parametrize(
    "path", [path for path in MODULES if not name_of(path).startswith(("utils.running", "benchmarks"))], ids=name_of
)
def test_untyped_settings_stay_with_the_scripts(path):
    """What computes takes its own few settings, of a type, not the whole `cfg` of whichever script runs."""
    assert called_cfg(tree(path)) == []


@pytest.mark.parametrize("path", [*MODULES, *(REPOSITORY / f"{script}.py" for script in SCRIPTS)], ids=name_of)
def test_what_is_private_stays_in_its_module(path):
    assert private_uses(tree(path)) == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_package_is_a_map_of_its_modules(room):
    """Its docstring has a line for each, which begins with the module's name; or `- one, other: ...` for those that belong together."""
    inside = {path.stem for path in room.glob("*.py")} - {"__init__"} | {
        path.parent.name for path in room.glob("*/__init__.py")
    }
    lines = (ast.get_docstring(tree(room / "__init__.py")) or "").splitlines()[1:]
    heads = [line.partition(":")[0] if line.startswith("- ") else line.partition(" ")[0] for line in lines]
    assert inside and inside - set(re.findall(r"\w+", " ".join(heads))) == set()


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in MODULES}
    assert folders == set(ROOMS) and {room.name for room in ROOMS} >= set(PACKAGES)


# What the tests above would find.


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("utils.base.files", "from utils.base import errors", []),
        ("utils.base.files", "from utils.data.lists import Example", ["utils.data.lists"]),
        ("utils.data.lists", "def f():\n    from utils.people import report", ["utils.people.report"]),
        ("utils.data.lists", "if TYPE_CHECKING:\n    import utils.running.launch", ["utils.running.launch"]),
        ("models.weights", "from utils.base import files\nfrom models.resnet import build", []),
        ("models.weights", "import utils.data", ["utils.data"]),
        ("utils.people.report", "import teach\nfrom datasets import prepare", ["teach", "datasets.prepare"]),
        ("benchmarks.bench", "from datasets import prepare\nimport torch", []),
    ],
)
def test_a_step_up_the_ladder_would_be_found(name, line, found):
    assert upward(name, ast.parse(line)) == found


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("from utils.base.files import _hidden", ["utils.base.files._hidden"]),
        ("from utils.base import files\nfiles._hidden(1)", ["files._hidden"]),
        ("import utils.base.files\nutils.base.files._hidden", ["utils.base.files._hidden"]),
        (
            "from x import Maps\nclass A:\n    def f(self, other):\n        return self._a + other._a + Maps(1)._asdict()",
            [],
        ),
    ],
)
def test_a_private_name_that_is_used_elsewhere_would_be_found(lines, found):
    assert private_uses(ast.parse(lines)) == found


def test_a_function_that_takes_cfg_would_be_found():
    assert called_cfg(ast.parse("def f(cfg):\n    return cfg\n\ncfg = 1\n")) == [1, 4]
