"""Counters of a CUDA kernel by ncu, Nsight Compute's command line.

`--csv --page raw` prints a row of metric names, a row of units, and a row for each launched kernel. Lines of the
program and of ncu itself (`==PROF==`, `==ERROR==`) stand before them.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Sequence

from evoflash.targets import cuda

# Sections, since a metric that an architecture lacks would be an error by name. Each is named as `ncu --list-sections`
# does; together they take some twenty passes over a kernel.
SECTIONS = (
    "SpeedOfLight",
    "ComputeWorkloadAnalysis",
    "MemoryWorkloadAnalysis",
    "Occupancy",
    "LaunchStats",
    "WarpStateStats",
)
CHOSEN = re.compile(
    r"gpu__time_duration\.(?:sum|avg)"
    r"|dram__bytes(?:_read|_write)?\.sum"
    r"|(?:sm_|lts_|l1tex_|dram_|gpu__dram)_throughput\.avg\.pct_of_peak_sustained_(?:active|elapsed)"
    r"|sm__pipe_tensor_cycles_active\.avg\.pct_of_peak_sustained_(?:active|elapsed)"
    r"|sm__inst_executed_pipe_(?:xu|fma|alu|lsu|tensor_op_[gh]mma)\.avg\.pct_of_peak_sustained_active"
    r"|sm__inst_executed\.avg\.per_cycle_active"
    r"|sm__warps_active\.avg\.pct_of_peak_sustained_active"
    r"|lts__t_sector_hit_rate\.pct|l1tex__t_sector_hit_rate\.pct"
    r"|launch__(?:registers_per_thread|waves_per_multiprocessor|occupancy_limit_\w+|grid_size|block_size)"
    r"|smsp__average_warps?(?:_latency)?_issue_stalled_\w+\.ratio"
)
STALLED = re.compile(r"smsp__average_warps?(?:_latency)?_issue_stalled_(\w+?)(?:_per_issue_active)?\.ratio")
NO_STALLS = ("selected", "not_selected")  # the warp issued, or another did
# Into bytes, nanoseconds and plain numbers, of units that ncu scales to where it does not obey `--print-units base`.
UNITS = {
    "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12,
    "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6, "s": 1e9, "second": 1e9,
    "K": 1e3, "M": 1e6, "G": 1e9,
}  # fmt: skip
MEANING = {
    "long_scoreboard": "waits for global or local memory",
    "short_scoreboard": "waits for shared memory or special functions",
    "barrier": "waits at a barrier of its block",
    "math_pipe_throttle": "waits for a busy arithmetic pipe",
    "mio_throttle": "waits for the queue of shared memory and special functions",
    "lg_throttle": "waits for the queue of global memory",
    "tex_throttle": "waits for the queue of the texture unit",
    "wait": "waits for a fixed latency of its own instructions",
    "no_instruction": "waits for instructions to be fetched",
    "membar": "waits for a memory fence",
    "gmma": "waits for a product of wgmma",
    "drain": "waits for its last stores",
    "sleeping": "sleeps",
    "dispatch_stall": "waits for the dispatcher",
    "imc_miss": "waits for constants",
    "branch_resolving": "waits for a branch",
    "warpgroup_arrive": "waits for its warpgroup",
}


def find() -> str | None:
    """The path of ncu: on the PATH, or in the CUDA toolkit."""
    return shutil.which("ncu", path=f"{os.environ.get('PATH', '')}:{cuda.toolkit()}/bin:/usr/local/cuda/bin")


def command(program: str, launched: Sequence[str]) -> list[str]:
    """ncu on a program, with caches and clocks as they are when kernels are timed."""
    sections = [word for section in SECTIONS for word in ("--section", section)]
    as_timed = ["--cache-control", "none", "--clock-control", "none"]
    return [program, "--csv", "--page", "raw", "--print-units", "base", *as_timed, *sections, *launched]


def read(output: str) -> list[dict[str, float]]:
    """The chosen metrics of each launched kernel, in order; nothing where there is no table."""
    lines = output.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        return []
    names, units, *launches = list(csv.reader(line for line in lines[start:] if line.startswith('"')))
    return [
        {
            name: number * UNITS.get(unit.partition("/")[0], 1.0)
            for name, unit, text in zip(names, units, row, strict=False)
            if CHOSEN.fullmatch(name) and (number := _number(text)) is not None
        }
        for row in launches
    ]


def merged(launches: Sequence[dict[str, float]]) -> dict[str, float]:
    """The kernels of one launch together: times and bytes add up, shares are weighted by the time."""
    if len(launches) == 1:
        return launches[0]
    times = [_time(each) for each in launches]
    total = sum(times)
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for each in launches for name in each):
        own = [(each[name], time) for each, time in zip(launches, times, strict=True) if name in each]
        if name.endswith(".sum") or name.startswith("gpu__time_duration"):
            found[name] = sum(value for value, _ in own)
        else:
            found[name] = sum(value * time for value, time in own) / total if total else own[0][0]
    return found


def why_not(output: str) -> str:
    """Why there is no table: ncu's own words."""
    if "ERR_NVGPUCTRPERM" in output:
        return (
            "this user may not read the GPU's counters (ERR_NVGPUCTRPERM); run it as root, or let the driver allow it"
        )
    errors = [line.removeprefix("==ERROR==").strip() for line in output.splitlines() if line.startswith("==ERROR==")]
    last = output.strip().splitlines()[-1:] or ["it printed nothing"]
    return (errors or last)[0]


def stalls(counters: dict[str, float]) -> list[tuple[str, float]]:
    """Why warps waited, with its share of all waiting, the longest first."""
    found = {
        match[1]: value
        for name, value in counters.items()
        if (match := STALLED.fullmatch(name)) and match[1] not in NO_STALLS and not match[1].endswith("not_issued")
    }
    total = sum(found.values())
    return sorted(((name, value / total) for name, value in found.items() if total), key=lambda pair: -pair[1])


def _time(launch: dict[str, float]) -> float:
    return launch.get("gpu__time_duration.sum", launch.get("gpu__time_duration.avg", 0.0))


def _number(text: str) -> float | None:
    """12,345.6 -> 12345.6; None for what is no number."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
