"""The end of a run: what finalists and baselines were measured to be, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evoflash.core.evaluation import Accuracy, Timing
from evoflash.core.record import Record
from evoflash.core.statistics import Ratio
from evoflash.core.status import Status


class Conditions(Record):
    """What the device did during a race; None where it does not tell.

    Attributes:
        clock_mhz: least, median and largest over the rounds.
        temperature_c: least and largest.
        thrown_away: rounds in which the device was held back (heat, power), measured again.
        held_back: rounds in which it was, too, and that count: it runs these kernels no other way.
    """

    clock_mhz: tuple[float, float, float] | None = None
    temperature_c: tuple[float, float] | None = None
    thrown_away: int = 0
    held_back: int = 0

    def __str__(self) -> str:
        clock = heat = "unknown"
        if self.clock_mhz is not None:
            least, median, most = self.clock_mhz
            clock = f"{median:.0f} MHz [{least:.0f}, {most:.0f}]"
        if self.temperature_c is not None:
            heat = f"{self.temperature_c[0]:.0f} to {self.temperature_c[1]:.0f} C"
        kept = f", {self.held_back} kept though the device was held back" if self.held_back else ""
        return f"clock {clock}, temperature {heat}, {self.thrown_away} rounds thrown away{kept}"


class Contestant(Record):
    """A baseline or finalist in the interleaved finals.

    `shape` is which of the shapes of a robust run; empty for the geometric mean over them, and where there is but one.
    """

    name: str
    shape: str = ""
    p50_us: float
    p90_us: float
    p99_us: float
    samples: tuple[float, ...] = ()


class Final(Record):
    """A finalist's result: every case that its template claims, then interleaved rounds against all baselines.

    Attributes:
        index: the candidate's number in its run.
        reason: why it is out; or with whom it is tied.
        cases: how many correctness cases it passed; `refused` are those that its kernel declined by an error code.
        ratios: baseline name -> how many times faster the finalist is.
        vs_best: against the fastest baseline; `best_baseline` names it.
        vs_math: against SDPA's math backend.
        by_shape: of a robust run, the times on each shape; `time` is their geometric mean.
    """

    index: int
    status: Status
    reason: str = ""
    cases: int = 0
    refused: tuple[str, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    time: Contestant | None = None
    cold: Timing | None = None
    ratios: dict[str, Ratio] = {}
    vs_best: Ratio | None = None
    best_baseline: str | None = None
    vs_math: Ratio | None = None
    by_shape: tuple[Contestant, ...] = ()


class Finals(Record):
    """The end of a run: finalists, the winner first, and the baselines that they were timed against.

    Of a robust run `baselines_by_shape` are the baselines' times on each shape; `baselines` are their geometric means.
    """

    finalists: tuple[Final, ...]
    baselines: tuple[Contestant, ...]
    baselines_by_shape: tuple[Contestant, ...] = ()
    baseline_failures: dict[str, str] = {}
    rounds: int = 0
    conditions: Conditions = Conditions()
    sanitized: dict[str, str] = {}

    @property
    def winner(self) -> Final | None:
        """The first finalist that passed everything: the fastest, or the simplest of those that are tied with it."""
        passed = (final for final in self.finalists if final.status is Status.OK and final.time is not None)
        return next(passed, None)


def contestant(name: str, samples: Sequence[float]) -> Contestant:
    """Percentiles of a contestant's samples."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Contestant(name=name, p50_us=p50, p90_us=p90, p99_us=p99, samples=tuple(samples))
