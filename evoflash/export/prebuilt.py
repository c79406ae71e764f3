"""Libraries beside the source, and a wheel of both: an export that needs no compiler."""

from __future__ import annotations

import importlib.util
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
    options = ["--no-deps", f"--config-settings=--build-option=--plat-name={platform}"]
    if importlib.util.find_spec("setuptools") is not None:
        options.append("--no-build-isolation")  # pip would download it, which not every machine can
    dist = folder / "dist"
    last = _run([sys.executable, "-m", "pip", "wheel", "--quiet", *options, "-w", str(dist), "."], folder)
    found = sorted(dist.glob(f"{name}-*.whl"))
    if last or not found:
        raise WorkerError(f"pip makes no wheel of {folder}: {last}; pip install setuptools, or give pip a network")
    return found[-1]


def _run(command: list[str], folder: Path) -> str:
    """Runs a program in a folder; empty, or the first error of what it said when it failed, else its last line."""
    try:
        done = processes.run(command, DEADLINE_S, variables={"PYTHONPATH": str(folder)}, cwd=folder)
    except subprocess.TimeoutExpired:
        return f"no answer within {DEADLINE_S:g} s"
    if done.returncode == 0:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    return next((line.strip() for line in lines if "error:" in line.lower()), lines[-1])
