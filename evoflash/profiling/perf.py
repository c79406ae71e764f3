"""Counters of a CPU kernel by `perf stat`.

`perf stat -x,` prints a line for each event: value, unit, event, nanoseconds that it was counted, and their share of
the time. In place of a value stands `<not supported>` or `<not counted>`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

EVENTS = (
    "duration_time",  # nanoseconds of the whole measurement
    "task-clock",
    "context-switches",
    "cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branch-misses",
)
HARDWARE = ("cycles", "instructions", "cache-references", "cache-misses", "branch-misses")
SECONDS = 1.0  # of launches that are counted
PID = "{pid}"  # where the command has the worker's


def find() -> str | None:
    """The path of perf."""
    return shutil.which("perf")


def command(program: str) -> list[str]:
    """perf on all threads of a running process, for a while."""
    return [program, "stat", "-x,", "-e", ",".join(EVENTS), "-p", PID, "--", "sleep", str(SECONDS)]


def read(output: str) -> dict[str, float]:
    """Counts by event; an event that is not supported or was not counted is left out."""
    found: dict[str, float] = {}
    for line in output.splitlines():
        fields = line.split(",")
        if len(fields) < 5 or line.startswith("#"):
            continue
        value, unit, event = fields[0], fields[1], fields[2].partition(":")[0]  # cycles:u is cycles
        try:
            number = float(value)
        except ValueError:
            continue
        # task-clock's unit is milliseconds, its value then is too; newer versions say so by the unit.
        found[event] = number * 1e6 if unit == "msec" else number
    return found


def a_launch(counts: Mapping[str, float], launch_us: float) -> dict[str, float]:
    """Counts for each launch, of launches that follow each other without a pause.

    Args:
        launch_us: of one launch.
    """
    window_us = counts.get("duration_time", SECONDS * 1e9) / 1e3
    launches = window_us / launch_us
    return {name: count / launches for name, count in counts.items() if name != "duration_time"}


def why_not(output: str) -> str:
    """Why nothing was counted: perf's own words."""
    lower = output.lower()
    if "not supported" in lower:
        return "this machine lets nobody read the processor's counters, as most virtual machines"
    if "perf_event_paranoid" in lower or "permission" in lower or "access" in lower:
        return (
            "this user may not read counters; set kernel.perf_event_paranoid to 1 or lower (sysctl), or run it as root"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "perf printed nothing"
