"""The scripts and modules of the repository and their syntax trees."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("utils", "models", "datasets", "benchmarks")
SCRIPTS = sorted(path.stem for path in REPOSITORY.glob("*.py"))
MODULES = sorted(path for folder in PACKAGES for path in (REPOSITORY / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """The name that a module is imported by: `utils.data.lists`; a package's is that of its folder."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


SCRIPT = pytest.mark.parametrize("script", SCRIPTS)
MODULE = pytest.mark.parametrize("path", MODULES, ids=name_of)


def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a file."""
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)
