"""Libraries beside the source, and a wheel of both: an export that needs no compiler."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from evoflash.errors import WorkerError
from evoflash.system import processes

DEADLINE_S = 300.0


def prebuild(folder: Path, name: str) -> None:
    """Builds the libraries of the package in a folder, and puts them into it.

    Raises:
        WorkerError: when they cannot be built here.
    """
    program = f"from {name} import _build; _build.prebuild()"
    last = _run([sys.executable, "-c", program], folder)
    if last:
        raise WorkerError(f"{folder} cannot be prebuilt: {last}; export it without --prebuilt and --wheel")


def wheel(folder: Path, name: str) -> Path:
    """Makes a wheel for this platform of the prebuilt package in a folder; its path, in dist/ there.

    Raises:
        WorkerError: when pip fails.
    """
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    tag = f"--config-settings=--build-option=--plat-name={platform}"
    dist = folder / "dist"
    last = _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(dist), tag, "."], folder)
    found = sorted(dist.glob(f"{name}-*.whl"))
    if last or not found:
        raise WorkerError(f"pip makes no wheel of {folder}: {last}; run `pip wheel --no-deps .` there")
    return found[-1]


def _run(command: list[str], folder: Path) -> str:
    """Runs a program in a folder; empty, or the last line of what it said when it failed."""
    try:
        done = processes.run(command, DEADLINE_S, variables={"PYTHONPATH": str(folder)}, cwd=folder)
    except subprocess.TimeoutExpired:
        return f"no answer within {DEADLINE_S:g} s"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
