"""The benchmark's table, and the machine it was measured on."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from utils.settings import processors

HEADER = ("", "ours", "released", "limit", "ours / released", "target", "time / limit", "target")


@dataclass(frozen=True)
class Row:
    """One row; times in seconds per image.

    Attributes:
        name: what was measured.
        ours, released, limit: time of the product, of the released procedure, of what cannot be avoided; None where not measured.
        faster: target, how many times as fast as the released procedure at least; None where there is none.
        slower: target, how many times the limit's time at most; None where there is none.
    """

    name: str
    ours: float
    released: float | None
    limit: float
    faster: float | None
    slower: float | None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the released procedure."""
        return self.released / self.ours if self.released else None

    @property
    def overhead(self) -> float:
        """How many times the limit's time."""
        return self.ours / self.limit

    def values(self) -> dict:
        """The row as JSON values; rates in images per second."""
        times = {"ours": self.ours, "released": self.released, "limit": self.limit}
        return {
            "name": self.name,
            "images_per_second": {name: time and round(1 / time, 3) for name, time in times.items()},
            "times_as_fast_as_released": self.speedup and round(self.speedup, 2),
            "time_by_limit": round(self.overhead, 3),
            "targets": {"times_as_fast_as_released": self.faster, "time_by_limit": self.slower},
        }

    def cells(self) -> list[str]:
        """The row as text."""
        return [
            self.name,
            *("" if time is None else f"{1 / time:.3g}" for time in (self.ours, self.released, self.limit)),
            "" if self.speedup is None else f"{self.speedup:.1f}",
            "" if self.faster is None else f">= {self.faster:g}{_mark(self.speedup >= self.faster)}",
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
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def machine(device: str) -> dict[str, str | int]:
    """What it was measured on."""
    models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    found = {"cpu": models[0] if models else platform.processor() or platform.machine()}
    found |= {"cores": processors(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {})


def _lines(path: str) -> list[str]:
    """The lines of a file; none where the system has no such file."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []
