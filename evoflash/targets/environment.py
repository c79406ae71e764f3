"""The environment of a measurement, which determines whether two results can be compared."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from evoflash.errors import MissingError
from evoflash.system import processes
from evoflash.targets import Target, cuda
from evoflash.targets.base import compiler_version, cxx
from evoflash.version import __version__


def environment(target: Target, machine: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
    """Facts by name; None for those that this machine does not have.

    Args:
        machine: the facts reported by the worker (`Sandbox.machine`); empty if it never started.
        command: the command line.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "evoflash": __version__,
        "git": git_state(Path.cwd()),
        "target": target.name,
        "device": target.device,
        "device_facts": dict(target.facts),
        "driver": target.details.get("driver"),
        "max_sm_clock_mhz": target.details.get("max_sm_clock_mhz"),
        "python": sys.version.split()[0],
        "torch": machine.get("torch") or metadata.version("torch"),
        "cuda": machine.get("cuda"),
        "cudnn": machine.get("cudnn"),
        "threads": machine.get("threads"),
        "nvcc": _version_of_nvcc() if target.name == "cuda" else None,
        "cxx": compiler_version(cxx()),
        "system": platform.platform(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the git repository of a folder, and whether it has uncommitted changes; None outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = processes.run(["git", "-C", str(folder), *arguments], 30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _version_of_nvcc() -> str | None:
    try:
        return compiler_version(shlex.quote(cuda.nvcc()))
    except MissingError:
        return None
