"""axe-core, the accessibility checker, from npm: one version, verified by its digest."""

import base64
import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

VERSION = "4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
# WCAG 2.2 AA and axe's best practices.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def source() -> str:
    """Source of axe-core, from the cache or from npm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memorable"
    archive = cache / f"axe-core-{VERSION}.tgz"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"axe-core@{VERSION}", "--pack-destination", cache]
        subprocess.run(command, cwd=cache, capture_output=True, check=True, timeout=60)
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
        raise ValueError(f"{archive} is not axe-core {VERSION} as pinned; remove it.")
    with tarfile.open(archive) as content:
        return content.extractfile("package/axe.min.js").read().decode()


def violations(driver, script: str) -> list[str]:
    """Violated rules of the page in `driver`, with the elements."""
    if not driver.execute_script("return typeof axe === 'object'"):
        driver.execute_script(script)
    found = driver.execute_async_script(
        "const [rules, done] = arguments;"
        "const options = {runOnly: rules, resultTypes: ['violations'], preload: false};"
        "axe.run(document, options).then((result) => done(result.violations));",
        RULES,
    )
    return [f"{rule['id']}: {rule['help']}: {[node['html'][:120] for node in rule['nodes']]}" for rule in found]
