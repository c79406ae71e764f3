"""A profile: what a kernel's counters say, and what bounds it."""

from __future__ import annotations

from evoflash.core.record import Record


class Profile(Record):
    """The profile of one kernel on one problem and device.

    Attributes:
        tool: what counted: "ncu", "perf", or "clock" where only times could be measured.
        device: where it ran.
        time_us: the median time of a launch without the tool, in microseconds.
        counters: by the tool's own names, in base units (bytes, seconds, operations); shares are in percent.
        floors_us: lower bounds on the time by name, in microseconds: "memory", "arithmetic" and, on a GPU, "launch".
        words: what bounds the kernel, a sentence each, the most important first.
    """

    tool: str
    device: str = ""
    time_us: float | None = None
    counters: dict[str, float] = {}
    floors_us: dict[str, float] = {}
    words: tuple[str, ...] = ()
