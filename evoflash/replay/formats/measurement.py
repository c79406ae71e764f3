"""A configuration as it is in a file, with its measured value or its failure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evoflash.core.evaluation import BuildReport, Evaluation, Timing
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status

COMPILE_FAILURES = ("CompilationFailedConfig", "compile")
STAGES = {
    Status.BUILD_FAILED: Stage.BUILD,
    Status.BUILD_TIMEOUT: Stage.BUILD,
    Status.OVER_BUDGET: Stage.RESOURCES,
}  # at which a failure is found; others on the device
NO_FIGURES = BuildReport()
FAILED = "failed"  # the failure of a configuration whose file does not name it


@dataclass(frozen=True)
class Measurement:
    """A configuration as it is in a file.

    Attributes:
        value: of the objective; None for a failure.
        failure: why it failed; empty if it did not.
        build_ms, bench_ms: how long its build and its benchmark took.
        status: how its evaluation ended, where the file says it in our words.
        figures: the compiler's.
    """

    family: str
    genome: Genome
    value: float | None
    failure: str
    build_ms: float
    bench_ms: float
    status: Status | None = None
    figures: BuildReport = NO_FIGURES

    def evaluation(self, time_ms: float) -> Evaluation:
        """The result, with this time for the value."""
        build, seconds = self.figures.model_copy(update={"seconds": self.build_ms / 1e3}), self.bench_ms / 1e3
        if self.value is not None:
            time_us = 1e3 * time_ms
            timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1)
            return Evaluation(status=Status.OK, stage=Stage.FULL, build=build, timings=(timing,), seconds=seconds)
        status = self.status
        if status is None or status is Status.OK:
            status = Status.BUILD_FAILED if self.failure in COMPILE_FAILURES else Status.LAUNCH_FAILED
        stage = STAGES.get(status, Stage.CORRECTNESS)
        return Evaluation(status=status, stage=stage, reason=self.failure, build=build, seconds=seconds)


def measurement(
    family: str,
    genome: Genome,
    value: float | None,
    objective: str,
    failure: str,
    build_ms: float,
    bench_ms: float,
    status: Status | None = None,
    figures: BuildReport = NO_FIGURES,
) -> Measurement:
    """A measurement, which is a failure if it says so or has no finite value."""
    if not failure and (value is None or not math.isfinite(value)):
        failure = f"no value of {objective}" if value is None else f"{objective} is {value}"
    failure = failure.encode("utf-8", "backslashreplace").decode()  # JSON may have halves of surrogate pairs
    right = None if failure else value
    return Measurement(family, genome, right, failure, build_ms, bench_ms, status, figures)
