"""The result of evaluating a candidate: its status, and the evidence for it."""

from __future__ import annotations

import math

from evoflash.core.record import Record
from evoflash.core.status import Stage, Status


class BuildReport(Record):
    """The compiler's report. Counts are None where the target does not report them (for example on a CPU).

    Attributes:
        seconds: wall time of the build.
        cached: whether the build came from the cache.
        registers: registers per thread, the maximum over the kernels of the file.
        shared_bytes: static and dynamic shared memory per block.
        spill_bytes: bytes of spill stores and loads per thread.
        stack_bytes: stack frame per thread.
        binary_digest: hash of the machine code; equal for duplicates.
        log: the compiler's output.
    """

    seconds: float = 0.0
    cached: bool = False
    registers: int | None = None
    shared_bytes: int | None = None
    spill_bytes: int | None = None
    stack_bytes: int | None = None
    binary_digest: str | None = None
    log: str = ""


class Accuracy(Record):
    """Errors against the float64 reference on one case, and those of PyTorch's SDPA on the same inputs.

    Of several outputs, those of the one that is nearest to its bounds.

    Attributes:
        case: the name of the case, e.g. "mission seed 42" or "113x203 causal, logits x30".
        output: the name of the output where the problem has several; otherwise empty.
        max_error, rms_error, mean_error: absolute errors of the candidate.
        sdpa_max_error, sdpa_rms_error: absolute errors of torch's scaled_dot_product_attention.
        max_bound, rms_bound: the allowed errors.
        worst_index: index of the largest error: (batch, head, row, column).
    """

    case: str
    output: str = ""
    max_error: float
    rms_error: float
    mean_error: float
    sdpa_max_error: float
    sdpa_rms_error: float
    max_bound: float
    rms_bound: float
    worst_index: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        """The larger of the shares of max and rms error in what is allowed."""
        pairs = ((self.max_error, self.max_bound), (self.rms_error, self.rms_bound))
        return max(error / bound if bound > 0 else math.inf if error > 0 else 0.0 for error, bound in pairs)


class Timing(Record):
    """Times in one cache regime, in microseconds per launch.

    Attributes:
        regime: "warm" (inputs in the last-level cache) or "cold" (input sets rotated beyond its capacity).
        shape: the shape, in a multi-shape run; empty for the score, which is then the geometric mean over the shapes.
        p50_us, p90_us, p99_us: percentiles of the samples.
        launches: launches of a sample.
        samples: each is the mean over its launches.
    """

    regime: str
    shape: str = ""
    p50_us: float
    p90_us: float
    p99_us: float
    launches: int
    samples: tuple[float, ...] = ()


class Evaluation(Record):
    """The result of one candidate.

    Attributes:
        status: how the evaluation ended.
        stage: the last stage that it reached.
        reason: a readable reason for a failure; otherwise empty.
        build: the compiler's report; None if it was not built.
        accuracy: its errors on each case that was run.
        timings: its times in each cache regime.
        quick: True when timing stopped early because the candidate is far slower than the best.
        duplicate_of: the index of the original, for a candidate with the same source or machine code.
        seconds: wall time on the device.
        device: which one, e.g. "cuda:1"; empty where none was needed.
        clock_ratio: how much longer than the reference this device takes for the baselines; the times were divided by
            it, see `run.fair_clock`.
        temperature_c, clock_mhz: of the device at the end, or up to a second before; None where its driver does not
            tell, and on a CPU.
    """

    status: Status
    stage: Stage
    reason: str = ""
    build: BuildReport | None = None
    accuracy: tuple[Accuracy, ...] = ()
    timings: tuple[Timing, ...] = ()
    quick: bool = False
    duplicate_of: int | None = None
    seconds: float = 0.0
    device: str = ""
    clock_ratio: float = 1.0
    temperature_c: float | None = None
    clock_mhz: float | None = None

    def without_details(self) -> Evaluation:
        """A copy without timing samples, per-case errors and the compiler log, for keeping in memory."""
        build = self.build.model_copy(update={"log": ""}) if self.build is not None else None
        timings = tuple(each.model_copy(update={"samples": ()}) for each in self.timings)
        return self.model_copy(update={"build": build, "timings": timings, "accuracy": ()})

    @property
    def spent_seconds(self) -> float:
        """What its build and its examination took together."""
        return self.seconds + (self.build.seconds if self.build is not None else 0.0)

    @property
    def warm(self) -> Timing | None:
        """The timing that the score is taken from."""
        return next((timing for timing in self.timings if timing.regime == "warm" and not timing.shape), None)

    @property
    def fitness_us(self) -> float | None:
        """The score, lower is better: the warm median; None for a failure. A duplicate has the original's times."""
        warm = self.warm
        return warm.p50_us if warm is not None and self.status in (Status.OK, Status.DUPLICATE) else None
