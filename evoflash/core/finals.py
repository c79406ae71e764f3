"""Records of the finals: the times of finalists and baselines, measured in interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evoflash.core.evaluation import Accuracy, Timing
from evoflash.core.record import Record
from evoflash.core.statistics import Ratio
from evoflash.core.status import Status

MOST_DISTURBED = 0.1  # of the samples; medians stand that many


class Conditions(Record):
    """The state of the device during interleaved timing; None where it is not known.

    Attributes:
        device: which one, e.g. "cuda:1"; empty for the only one of a search.
        clock_mhz: minimum, median and maximum over the rounds.
        temperature_c: minimum and maximum over the rounds.
        thrown_away: rounds that were discarded and repeated because the device was throttled (temperature, power).
        held_back: throttled rounds that were kept, because the device is always throttled under this load.
        samples: samples of all contestants of which it is known whether other programs disturbed them.
        retaken: times that a sample was taken again, since other programs had the cores or used the GPU.
        disturbed: samples that count although they were disturbed, in every try or in too many rounds.
        others: names of the other programs, as far as they are known.
    """

    device: str = ""
    clock_mhz: tuple[float, float, float] | None = None
    temperature_c: tuple[float, float] | None = None
    thrown_away: int = 0
    held_back: int = 0
    samples: int = 0
    retaken: int = 0
    disturbed: int = 0
    others: tuple[str, ...] = ()

    @property
    def doubt(self) -> str:
        """Why the times may be wrong; empty where nothing speaks against them."""
        if self.disturbed <= MOST_DISTURBED * self.samples:
            return ""
        share = self.disturbed / self.samples
        return f"{self._others} disturbed {share:.0%} of the samples, so the times may be wrong"

    @property
    def _others(self) -> str:
        return f"other programs ({'; '.join(self.others)})" if self.others else "other programs"

    def __str__(self) -> str:
        clock = heat = "unknown"
        if self.clock_mhz is not None:
            least, median, most = self.clock_mhz
            clock = f"{median:.0f} MHz [{least:.0f}, {most:.0f}]"
        if self.temperature_c is not None:
            heat = f"{self.temperature_c[0]:.0f} to {self.temperature_c[1]:.0f} C"
        words = [f"clock {clock}", f"temperature {heat}", f"{self.thrown_away} throttled rounds discarded"]
        words += [f"{self.held_back} throttled rounds kept"] if self.held_back else []
        if self.retaken or self.disturbed:
            words.append(
                f"{self.disturbed} of {self.samples} samples disturbed by {self._others}, {self.retaken} retakes"
            )
        elif not self.samples:
            words.append("not known whether other programs disturbed the samples")
        return ", ".join(words)


class Contestant(Record):
    """The interleaved times of a baseline or finalist.

    Attributes:
        name: of the baseline, or "candidate" and the candidate's number in its run.
        shape: the shape, in a multi-shape run; empty for the geometric mean over the shapes, and in runs of one shape.
        p50_us, p90_us, p99_us: percentiles of the samples, microseconds a launch.
        samples: one a round, in the order of the rounds, which are the same for all.
    """

    name: str
    shape: str = ""
    p50_us: float
    p90_us: float
    p99_us: float
    samples: tuple[float, ...] = ()


class Final(Record):
    """The result of a finalist: correctness on every case that its template supports, then interleaved timing.

    Attributes:
        index: the candidate's number in its run.
        status: "ok", or how it failed.
        reason: why it was eliminated, or that it is tied with the fastest.
        cases: number of correctness cases that it passed.
        refused: cases that its launcher declined by an error code.
        accuracy: its errors on each case.
        time: its interleaved times; in a multi-shape run the geometric mean of `by_shape`.
        cold: its cold timing, on CUDA.
        ratios: by baseline, how many times faster the finalist is.
        vs_best: the ratio against the fastest baseline.
        best_baseline: the name of the fastest baseline.
        vs_math: the ratio against SDPA's math backend.
        by_shape: in a multi-shape run, the times on each shape.
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
    """The finals of a run: the finalists, and the baselines that they were timed against.

    Attributes:
        finalists: the winner first.
        baselines: their times; in a multi-shape run the geometric means of those on each shape.
        baselines_by_shape: in a multi-shape run the baselines' times on each shape.
        baseline_failures: by name, why a baseline has no times.
        versions: by name, the version of the package of each baseline that is not PyTorch's; empty where unknown.
        rounds: interleaved rounds that were recorded.
        conditions: the state of the device meanwhile.
        sanitized: by name, what the sanitizers said.
        elsewhere: the same on each other device, beside its own times of the baselines; the winner of the run is that
            of the first device.
    """

    finalists: tuple[Final, ...]
    baselines: tuple[Contestant, ...]
    baselines_by_shape: tuple[Contestant, ...] = ()
    baseline_failures: dict[str, str] = {}
    versions: dict[str, str] = {}
    rounds: int = 0
    conditions: Conditions = Conditions()
    sanitized: dict[str, str] = {}
    elsewhere: tuple[Finals, ...] = ()

    def on(self, device: str) -> Finals:
        """These finals with the name of the device on which they were held."""
        return self.model_copy(update={"conditions": self.conditions.model_copy(update={"device": device})})

    @property
    def winner(self) -> Final | None:
        """The first finalist that passed everything: the simplest among the fastest and those tied with it."""
        passed = (final for final in self.finalists if final.status is Status.OK and final.time is not None)
        return next(passed, None)


def contestant(name: str, samples: Sequence[float]) -> Contestant:
    """A contestant with the percentiles of its samples."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Contestant(name=name, p50_us=p50, p90_us=p90, p99_us=p99, samples=tuple(samples))
