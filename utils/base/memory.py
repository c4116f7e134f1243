"""How much main memory a run may still take: what the machine has left, and what the container or the job that it runs in allows; and
whether an error says that there is none."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

# How torch, which has no error of its own for it, tells that the machine's memory is full.
FULL = ("DefaultCPUAllocator: not enough memory", "DefaultCPUAllocator: can't allocate memory")
GROUPS = "sys/fs/cgroup"  # where Linux shows control groups, by which containers and batch systems set limits


class Files(NamedTuple):
    """Where a version of control groups tells of memory: folders of the top groups, and the files of each group.

    Attributes:
        tops: folders below `GROUPS`.
        most: the file that says how many bytes the group may have.
        used: the file that says how many it has, cached files included.
        cached: the entry of `memory.stat` with those of cached files that nobody uses now, which make room where it is needed.
    """

    tops: tuple[str, ...]
    most: str
    used: str
    cached: str


FIRST = Files(("memory",), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
SECOND = Files(("", "unified"), "memory.max", "memory.current", "inactive_file")


def available_memory(system: Path = Path("/")) -> int | None:
    """Bytes of main memory that could be had now without pushing out other programs, and within the limits of the control groups that
    this process is in; None where the system does not tell.

    Args:
        system: the folder in which the system shows itself (`proc/`, `sys/`).
    """
    rooms = list(_rooms_of_groups(system))
    machine = _available_of_machine(system)
    return min(rooms if machine is None else [*rooms, machine], default=None)


def memory_is_full(error: Exception) -> bool:
    """Whether an error says that this machine's memory is full: Python's, or torch's."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in FULL)


def _available_of_machine(system: Path) -> int | None:
    try:
        lines = (system / "proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):  # not Linux, or one of before 2014
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _rooms_of_groups(system: Path) -> Iterator[int]:
    """Bytes left of each limit on this process: of its group, and of those around it, for a job's limit stands above its steps' groups.

    A container may show its own group as the top, whatever name the process is told: folders that are not there are passed over.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        files = FIRST if controllers else SECOND
        for top in files.tops:
            inside = PurePosixPath(*(part for part in PurePosixPath(group).parts if part not in ("/", "..")))
            for place in (inside, *inside.parents):
                yield from _room(system / GROUPS / top / place, files)


def _room(folder: Path, files: Files) -> Iterator[int]:
    """Bytes left of a group's limit; nothing where it has none."""
    try:
        most, used = (int((folder / name).read_text(encoding="ascii")) for name in (files.most, files.used))
    except (OSError, ValueError):  # no such file, or `max`
        return
    try:
        lines = [line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()]
        cached = next(int(line[1]) for line in lines if line[0] == files.cached)
    except (OSError, ValueError, IndexError, StopIteration):
        cached = 0
    yield max(0, most - max(0, used - cached))
