"""The memory that a run may take: as the machine tells it, and as control groups limit it, on drawn trees of files."""

import os

import pytest

from utils.base.memory import available_memory

MEMINFO = "MemTotal:       32614532 kB\nMemFree:          301000 kB\nMemAvailable:   20480000 kB\n"
MACHINE = 20480000 * 1024
GIB = 2**30
UNLIMITED = 9223372036854771712  # as the first version says it


def drawn(folder, files):
    """A system's files, by their paths."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{content}\n")
    return folder


def second(group, most, used, cached=0, top="sys/fs/cgroup"):
    """A group of the second version."""
    place = f"{top}{group}".rstrip("/")
    stat = f"anon 5\nfile 7\nactive_file {GIB}\ninactive_file {cached}"
    return {f"{place}/memory.max": most, f"{place}/memory.current": used, f"{place}/memory.stat": stat}


def first(group, most, used, cached=0):
    """A group of the first version."""
    place = f"sys/fs/cgroup/memory{group}".rstrip("/")
    stat = f"inactive_file 4096\ntotal_inactive_file {cached}"
    return {
        f"{place}/memory.limit_in_bytes": most,
        f"{place}/memory.usage_in_bytes": used,
        f"{place}/memory.stat": stat,
    }


@pytest.mark.parametrize(
    ("meminfo", "pages", "expected"),
    [
        (MEMINFO, 5, MACHINE),
        (MEMINFO.replace("MemAvailable", "Cached"), 5, 5 * 4096),
        ("", 5, 5 * 4096),
        (None, 5, 5 * 4096),
        (None, None, None),
    ],
)
def test_the_memory_that_is_available(monkeypatch, tmp_path, meminfo, pages, expected):
    """As Linux tells it, else as other systems do, else not at all."""

    def asked(name):
        if pages is None:
            raise ValueError("unrecognized configuration name")
        return {"SC_AVPHYS_PAGES": pages, "SC_PAGE_SIZE": 4096}[name]

    system = drawn(tmp_path, {} if meminfo is None else {"proc/meminfo": meminfo})
    with monkeypatch.context() as patch:
        patch.setattr(os, "sysconf", asked)
        found = available_memory(system)
    assert found == expected


LIMITS = {
    "a container": ("0::/", second("", 4 * GIB, 3 * GIB, GIB), 2 * GIB),
    "without a limit": ("0::/", second("", "max", 3 * GIB), MACHINE),
    "more than the machine has": ("0::/", second("", 400 * GIB, 3 * GIB), MACHINE),
    "full": ("0::/", second("", 4 * GIB, 5 * GIB), 0),
    "all of it cached": ("0::/", second("", 4 * GIB, GIB, 3 * GIB), 4 * GIB),
    "no statistics": ("0::/", {"sys/fs/cgroup/memory.max": GIB, "sys/fs/cgroup/memory.current": 1}, GIB - 1),
    "a job around its step": (
        "0::/job_7/step_0/task_1",
        second("/job_7", 8 * GIB, GIB) | second("/job_7/step_0", "max", GIB),
        7 * GIB,
    ),
    "a step within its job": (
        "0::/job_7/step_0",
        second("/job_7", 8 * GIB, 6 * GIB) | second("/job_7/step_0", 3 * GIB, 0),
        2 * GIB,
    ),
    "a container that is told its outer name": ("0::/../../docker/abc", second("", 2 * GIB, GIB), GIB),
    "both versions": ("4:cpu:/x\n0::/a", second("/a", 3 * GIB, GIB, top="sys/fs/cgroup/unified"), 2 * GIB),
    "the first version": ("5:cpu,cpuacct:/\n4:hugetlb,memory:/", first("", 4 * GIB, 3 * GIB, GIB), 2 * GIB),
    "the first, without a limit": ("4:memory:/", first("", UNLIMITED, 3 * GIB), MACHINE),
    "the first, its outer name": ("4:memory:/docker/abc", first("", GIB, 0), GIB),
    "the first, a job": (
        "4:memory:/slurm/uid_0/job_7",
        first("", UNLIMITED, 9 * GIB) | first("/slurm/uid_0/job_7", 6 * GIB, GIB),
        5 * GIB,
    ),
    "another controller's": ("4:cpu:/", first("", GIB, 0), MACHINE),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_limits_of_containers_and_jobs(tmp_path, kind):
    groups, files, expected = LIMITS[kind]
    assert available_memory(drawn(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups} | files)) == expected


def test_the_memory_of_this_machine_is_between_a_megabyte_and_what_it_has():
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        assert 2**20 < available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
