"""axe-core, the accessibility checker, from the npm registry: one version, checked by its digest."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
# What WCAG 2.2 AA asks, and what axe's authors call good practice besides.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Unavailable(Exception):
    """axe-core cannot be had here; the message says why."""


def source() -> str:
    """The checker's script.

    Raises:
        Unavailable: it is not in the cache and cannot be fetched.
        ValueError: what was fetched is not the pinned version.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memorable"
    archive = cache / f"axe-core-{VERSION}.tgz"
    if not archive.exists():
        _fetch(archive)
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
        raise ValueError(f"{archive} is not axe-core {VERSION} as pinned; remove it.")
    with tarfile.open(archive) as content:
        return content.extractfile("package/axe.min.js").read().decode()


def _fetch(archive: Path) -> None:
    if shutil.which("npm") is None:
        raise Unavailable("npm, which fetches axe-core, is not installed")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = ["npm", "pack", f"axe-core@{VERSION}", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
            os.replace(next(Path(folder).glob("*.tgz")), archive)
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            raise Unavailable(
                f"axe-core could not be fetched from the npm registry ({type(error).__name__})"
            ) from error


def violations(driver, script: str) -> list[str]:
    """What axe finds wrong with the page that `driver` shows: rule, and the elements that break it."""
    if not driver.execute_script("return typeof axe === 'object'"):
        driver.execute_script(script)
    found = driver.execute_async_script(
        "const [rules, done] = arguments;"
        "const options = {runOnly: rules, resultTypes: ['violations'], preload: false};"
        "axe.run(document, options).then((result) => done(result.violations));",
        RULES,
    )
    return [f"{rule['id']}: {rule['help']}: {[node['html'][:120] for node in rule['nodes']]}" for rule in found]
