"""What a bench measured: frozen values, as they go into its JSON document."""

from __future__ import annotations

from typing import Any, Literal

from evoflash.core.evaluation import Accuracy, BuildReport, Timing
from evoflash.core.record import Record
from evoflash.core.statistics import Ratio
from evoflash.core.status import Status

DECLINED = "declined"


class Entry(Record):
    """A baseline or kernel on one shape.

    Attributes:
        name: its name in tables.
        status: "ok" has times; "declined" does not take the shape; else how it failed.
        reason: why it has no times.
        origin: what the person named: "candidate 12", a folder, a family; None for a baseline.
        family, genome: the template that rendered it and the values; None for a baseline.
        note: how the genome was chosen.
        version: of a baseline's package, if it is not PyTorch's and known.
        p50_us, p90_us, p99_us: percentiles of the samples, microseconds a launch.
        tflops: 10^12 operations a second that the problem needs, at the median.
        gbytes_per_s: 10^9 bytes a second that any algorithm must move, at the median.
        vs_best, vs_math: how many times faster than the fastest baseline and than SDPA's math backend.
        cold: with the working set rotated beyond the last-level cache; kernels on a GPU only.
        build: the compiler's report.
        accuracy: of each check on this shape; empty when it was not checked.
        samples: one a round, each the mean over many launches.
    """

    name: str
    status: Status | Literal["declined"]
    reason: str = ""
    origin: str | None = None
    family: str | None = None
    genome: dict[str, Any] | None = None
    note: str = ""
    version: str = ""
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    tflops: float | None = None
    gbytes_per_s: float | None = None
    vs_best: Ratio | None = None
    vs_math: Ratio | None = None
    cold: Timing | None = None
    build: BuildReport | None = None
    accuracy: tuple[Accuracy, ...] = ()
    samples: tuple[float, ...] = ()


class ShapeResult(Record):
    """One shape.

    Attributes:
        shape: the name that the user gave it.
        label: its sizes as text.
        problem: its fields and kind.
        flops, min_bytes: operations and bytes that any algorithm needs.
        rounds: interleaved rounds that were recorded.
        baselines, kernels: those with times, and kernels that failed.
        best_baseline: the name of the fastest.
        failures: name -> reason, of every baseline and kernel that has no times.
        seconds: wall time of the shape, builds included.
    """

    shape: str
    label: str
    problem: dict[str, Any]
    flops: int
    min_bytes: int
    rounds: int
    baselines: tuple[Entry, ...]
    kernels: tuple[Entry, ...]
    best_baseline: str | None = None
    failures: dict[str, str] = {}
    seconds: float = 0.0


class CaseTally(Record):
    """A kernel on a set of correctness cases.

    Attributes:
        kernel: its name in tables.
        of: what the cases have in common, e.g. "float16 causal".
        passed, declined: names of cases.
        failed: name of a case -> reason.
        worst_max_ratio, worst_rms_ratio: the largest error over what was allowed, over the cases that were judged;
            beyond 1 is a failure.
        worst_case: the case of the larger ratio.
        accuracy: of each case that was judged.
    """

    kernel: str
    of: str
    passed: tuple[str, ...] = ()
    declined: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    worst_max_ratio: float | None = None
    worst_rms_ratio: float | None = None
    worst_case: str | None = None
    accuracy: tuple[Accuracy, ...] = ()
