"""The time of a call from Python, of an export and of SDPA, measured by the export's own program."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from evoflash.core.record import Record
from evoflash.errors import WorkerError
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.system import processes

DEADLINE_S = 300.0  # most of it to build the kernel and the operators


class Calls(Record):
    """Microseconds of a call at the searched size, back to back and, on CUDA, without a graph.

    Attributes:
        size: batch x heads(kv heads) x query length:key length.
        by: what computes the package's calls: a kernel or SDPA.
        us: by function: "attention", "scaled_dot_product_attention" where it has arguments for the problem, and the
            rival.
        sdpa_over_attention: how many times as fast as the rival a call is: median and quartiles over the rounds.
        rival: "SDPA", or PyTorch's operations where SDPA has no argument for the problem.
        torch: PyTorch's version.
    """

    size: str
    by: str
    us: dict[str, float]
    sdpa_over_attention: tuple[float, float, float]
    torch: str
    rival: str = "SDPA"

    def __str__(self) -> str:
        ratio, low, high = self.sdpa_over_attention
        times = ", ".join(f"{name} {us:.2f} us" for name, us in self.us.items())
        return f"a call from Python: {times}; {ratio:.2f}x {self.rival} [{low:.2f}, {high:.2f}]; {self.by}"


def measure(folder: Path, name: str) -> Calls:
    """Times the calls of the exported package in a folder; builds it, as a user's first call would.

    Raises:
        WorkerError: when its program fails.
    """
    command = [sys.executable, "-m", f"{name}.calls", "--json"]
    try:
        done = processes.run(command, DEADLINE_S, variables={"PYTHONPATH": str(folder)}, cwd=folder)
    except subprocess.TimeoutExpired:
        raise WorkerError(
            f"calls of {folder} take longer than {DEADLINE_S:g} s; run `python -m {name}.selftest` there"
        ) from None
    if done.returncode:
        why = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise WorkerError(f"calls of {folder} cannot be timed: {why}; run `python -m {name}.selftest` there")
    return Calls.model_validate_json(done.stdout)


def measure_kernel(winner: Winner) -> Calls:
    """Times the calls of a kernel by a package that exists meanwhile.

    Raises:
        WorkerError: when the package's program fails.
    """
    with processes.temporary_folder("evoflash-calls.", Path(tempfile.gettempdir())) as folder:
        return measure(write(winner, folder / "package"), winner.name)
