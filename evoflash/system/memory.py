"""The memory of this machine or container: how much there is, and how much of it is free."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
# How PyTorch's CPU allocator says that it has no memory, or that there cannot be so much: it has no error of its own.
CPU_ALLOCATOR = ("can't allocate memory", "Storage size calculation overflowed")


class _Names(NamedTuple):
    """The files of a control group: its limit, what is used, and which line of memory.stat can be taken back."""

    limit: str
    used: str
    cached: str


SECOND = _Names("memory.max", "memory.current", "inactive_file")  # of version 2
FIRST = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def total_bytes() -> int:
    """The memory of the machine, or of the container if that may have less."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _limits())])


def free_bytes() -> int:
    """What processes can still take, with what the system keeps of files and would give back."""
    return max(0, min([psutil.virtual_memory().available, *(limit - used for limit, used in _limits())]))


def _limits() -> Iterator[tuple[int, int]]:
    """The limits that this process is under, and what is used of each."""
    for folder, names in _groups():
        with contextlib.suppress(OSError, ValueError):  # no such group, or no limit: "max"
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in (names.limit, names.used))
            found = re.search(rf"^{names.cached} (\d+)$", (folder / "memory.stat").read_text(encoding="ascii"), re.M)
            yield limit, used - (int(found[1]) if found else 0)


def _groups() -> Iterator[tuple[Path, _Names]]:
    """The groups of this process, from the outermost: within a container the outermost is its own."""
    yield GROUPS, SECOND
    yield GROUPS / "memory", FIRST
    with contextlib.suppress(OSError):  # no control groups
        for line in OWN_GROUP.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            folder, names = (GROUPS / "memory", FIRST) if controllers else (GROUPS, SECOND)
            for part in Path(path).parts[1:]:
                folder /= part
                yield folder, names
