"""Timing a call from Python, of an export and of its rival, by the export's own program."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from evoflash.errors import WorkerError
from evoflash.export.call_times import Calls
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.system import processes

DEADLINE_S = 300.0  # most of it to build the kernel and the operators


def measure(folder: Path, name: str, variables: Mapping[str, str]) -> Calls:
    """Times the calls of the exported package in a folder; builds it, as a user's first call would.

    Args:
        variables: which show its program the device; see `Target.variables`.

    Raises:
        WorkerError: when its program fails.
    """
    command = [sys.executable, "-m", f"{name}.calls", "--json"]
    try:
        done = processes.run(command, DEADLINE_S, variables={"PYTHONPATH": str(folder), **variables}, cwd=folder)
    except subprocess.TimeoutExpired:
        raise WorkerError(
            f"calls of {folder} take longer than {DEADLINE_S:g} s; run `python -m {name}.selftest` there"
        ) from None
    if done.returncode:
        why = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise WorkerError(f"calls of {folder} cannot be timed: {why}; run `python -m {name}.selftest` there")
    return Calls.model_validate_json(done.stdout)


def measure_kernel(winner: Winner, variables: Mapping[str, str]) -> Calls:
    """Times the calls of a kernel by a package that exists meanwhile.

    Raises:
        WorkerError: when the package's program fails.
    """
    with processes.temporary_folder("evoflash-calls.", Path(tempfile.gettempdir())) as folder:
        return measure(write(winner, folder / "package"), winner.name, variables)
