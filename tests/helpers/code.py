"""The scripts and modules of the repository and their syntax trees."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("utils", "models", "datasets", "benchmarks")
SCRIPTS = sorted(path.stem for path in REPOSITORY.glob("*.py"))
MODULES = sorted(path for folder in PACKAGES for path in (REPOSITORY / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """Returns the name that a module is imported by: `utils.data.lists`, or the folder's for `__init__.py`."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


SCRIPT = pytest.mark.parametrize("script", SCRIPTS)
MODULE = pytest.mark.parametrize("path", MODULES, ids=name_of)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())
