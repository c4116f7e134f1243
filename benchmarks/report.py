"""The benchmark's table, and the machine it was measured on."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utils.base.machine import processors

HEADER = ("", "ours", "released", "limit", "ours / released", "target", "time / limit", "target")


@dataclass(frozen=True)
class Row:
    """One row; times in seconds per image, one for each round.

    A ratio is the median of the rounds' own: pieces that took their turns within a round met the machine at the same speed, and a
    course's lessons grow from round to round.

    Attributes:
        name: what was measured.
        ours, released, limit: times of the product, of the released procedure, of what cannot be avoided; None where not measured.
        faster: target, how many times as fast as the released procedure at least; None where there is none.
        slower: target, how many times the limit's time at most; None where there is none.
    """

    name: str
    ours: np.ndarray
    released: np.ndarray | None
    limit: np.ndarray
    faster: float | None
    slower: float | None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the released procedure."""
        return None if self.released is None else float(np.median(self.released / self.ours))

    @property
    def overhead(self) -> float:
        """How many times the limit's time."""
        return float(np.median(self.ours / self.limit))

    def rates(self) -> dict[str, float | None]:
        """Images per second, the median round's."""
        times = {"ours": self.ours, "released": self.released, "limit": self.limit}
        return {name: None if seconds is None else float(1 / np.median(seconds)) for name, seconds in times.items()}

    def values(self) -> dict:
        """The row as JSON values; rates in images per second."""
        return {
            "name": self.name,
            "images_per_second": {name: rate and round(rate, 3) for name, rate in self.rates().items()},
            "times_as_fast_as_released": self.speedup and round(self.speedup, 2),
            "time_by_limit": round(self.overhead, 3),
            "targets": {"times_as_fast_as_released": self.faster, "time_by_limit": self.slower},
        }

    def cells(self) -> list[str]:
        """The row as text."""
        speedup = self.speedup
        return [
            self.name,
            *("" if rate is None else f"{rate:.3g}" for rate in self.rates().values()),
            "" if speedup is None else f"{speedup:.1f}",
            "" if speedup is None or self.faster is None else f">= {self.faster:g}{_mark(speedup >= self.faster)}",
            f"{self.overhead:.2f}",
            "" if self.slower is None else f"<= {self.slower:g}{_mark(self.overhead <= self.slower)}",
        ]


def _mark(met: bool) -> str:
    return " met" if met else " missed"


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text; rates in images per second."""
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def machine(device: str) -> dict[str, str | int]:
    """What it was measured on."""
    models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    found: dict[str, str | int] = {"cpu": models[0] if models else platform.processor() or platform.machine()}
    found |= {"cores": processors(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {})


def _lines(path: str) -> list[str]:
    """The lines of a file; none where the system has no such file."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []
