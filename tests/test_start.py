"""Scripts start soon: what takes long to import and is needed at a run's end is imported then."""

import subprocess
import sys

import pytest

LATE = ("matplotlib", "scipy", "flask")


@pytest.mark.parametrize(
    "script", ["get_all_CE_butterflies", "train_butterflies_CMaxGrad", "train_gull_resnet18_linear"]
)
def test_nothing_is_imported_that_only_the_end_needs(tools, script):
    code = f"import sys, {script}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tools.repository, capture_output=True, text=True, check=True, timeout=120
    )
    assert "torch" in done.stdout.split()
    assert [name for name in LATE if name in done.stdout.split()] == []
