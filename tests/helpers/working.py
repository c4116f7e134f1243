"""The work of `benchmarks.results`, with its scripts run in this process, which has torch at hand."""

from pathlib import Path

from benchmarks.results.work import Work
from tests.helpers.runs import call


class HereWork(Work):
    """Runs the scripts as `tests.helpers.runs.call` does."""

    def script(self, name, *flags):
        done = call(name, *flags, *self._common(name, flags), cwd=Path.cwd())
        assert done.status == 0, done.err
