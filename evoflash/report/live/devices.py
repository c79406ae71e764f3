"""What each device of a running search does, a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status
from evoflash.targets.devices import State

ROWS = 8


@dataclass
class DeviceCounts:
    """The results of one device in this session.

    Attributes:
        busy_s: seconds that it was examining.
        clock_ratio: how much longer than the reference it takes, as of its last result.
        state: its temperature and clock, as of then.
    """

    results: int = 0
    busy_s: float = 0.0
    clock_ratio: float = 1.0
    state: State = field(default_factory=State)
    failures: Counter[Status] = field(default_factory=Counter)


class Devices:
    """Counts by device.

    Args:
        labels: of all devices of the search, as far as they are known before their first results.
    """

    def __init__(self, labels: Sequence[str] = ()):
        self.counts = {label: DeviceCounts() for label in labels}

    def add(self, evaluation: Evaluation) -> None:
        """A candidate has a result; one that no device has examined does not count."""
        if not evaluation.device:
            return
        own = self.counts.setdefault(evaluation.device, DeviceCounts())
        own.results += 1
        own.busy_s += evaluation.seconds
        own.clock_ratio = evaluation.clock_ratio
        own.state = State(evaluation.temperature_c, evaluation.clock_mhz)
        if evaluation.status is not Status.OK:
            own.failures[evaluation.status] += 1

    def lines(self, session_s: float) -> list[str]:
        """A line for each device, if there are several: the pace, the busy share, the state, the failures."""
        if len(self.counts) < 2:
            return []
        lines = [_line(label, own, session_s) for label, own in self.counts.items()]
        return lines if len(lines) <= ROWS else [*lines[: ROWS - 1], f"and {len(lines) - ROWS + 1} more"]


def _line(label: str, own: DeviceCounts, session_s: float) -> str:
    pace, busy = (60 * own.results / session_s, own.busy_s / session_s) if session_s > 0 else (0.0, 0.0)
    line = f"{label:<9}{pace:6.0f} a minute {min(busy, 1.0):>4.0%} busy"
    if own.state.temperature_c is not None:
        line += f" {own.state.temperature_c:4.0f} C"
    if own.state.clock_mhz is not None:
        line += f" {own.state.clock_mhz:5.0f} MHz"
    line += f"  clock {own.clock_ratio:.3f}"
    failures = ", ".join(f"{count} {status}".replace("_", " ") for status, count in own.failures.most_common())
    return f"{line}  {failures or 'no failures'}"
