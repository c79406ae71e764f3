"""What is known of a candidate after the cascade: its status and the evidence."""

from __future__ import annotations

from evoflash.core.record import Record
from evoflash.core.status import Stage, Status


class BuildReport(Record):
    """What the compiler said. Counts are None where the target has no such figure (a CPU has no registers to report).

    Attributes:
        seconds: wall time of the build; 0 when it came from the cache.
        registers: registers a thread, the largest over the kernels of the file.
        shared_bytes: shared memory of a block, static and dynamic.
        spill_bytes: bytes of spill stores and loads of a thread.
        stack_bytes: stack frame of a thread.
        binary_digest: hash of the machine code; equal for twins.
        log: the compiler's words.
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
    """Errors against the float64 reference on one set of inputs, beside those of PyTorch's SDPA on the same inputs.

    Attributes:
        case: what was computed, e.g. "mission seed 42" or "113x203 causal, logits x30".
        max_error, rms_error, mean_error: of the candidate; absolute.
        sdpa_max_error, sdpa_rms_error: of torch's scaled_dot_product_attention.
        max_bound, rms_bound: what the candidate was held to.
        worst_index: where the largest error is: (batch, head, row, column).
    """

    case: str
    max_error: float
    rms_error: float
    mean_error: float
    sdpa_max_error: float
    sdpa_rms_error: float
    max_bound: float
    rms_bound: float
    worst_index: tuple[int, ...] = ()


class Timing(Record):
    """Times of one regime, microseconds a launch.

    Attributes:
        regime: "warm" (inputs in the last-level cache) or "cold" (the working set rotated beyond it).
        samples: one value a sample; each is the mean over `launches` launches.
        shape: which of the shapes of a robust run; empty for the score, there the geometric mean over its shapes.
    """

    regime: str
    shape: str = ""
    p50_us: float
    p90_us: float
    p99_us: float
    launches: int
    samples: tuple[float, ...] = ()


class Evaluation(Record):
    """One candidate's result.

    Attributes:
        status: how it ended.
        stage: the last gate that it reached.
        reason: why it failed, for a person; empty when it did not.
        duplicate_of: the index of the candidate that has the same source or machine code.
        quick: True when timing was given up early because it was far behind the best.
        seconds: wall time that the device spent on it.
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

    def slim(self) -> Evaluation:
        """What a search goes on with: all but the samples, the errors case by case and the compiler's words."""
        build = self.build.model_copy(update={"log": ""}) if self.build is not None else None
        timings = tuple(each.model_copy(update={"samples": ()}) for each in self.timings)
        return self.model_copy(update={"build": build, "timings": timings, "accuracy": ()})

    @property
    def warm(self) -> Timing | None:
        """The timing that the score is made of."""
        return next((timing for timing in self.timings if timing.regime == "warm" and not timing.shape), None)

    @property
    def fitness_us(self) -> float | None:
        """The score, lower is better: the warm median, or None for a failure. A twin carries its elder's times."""
        warm = self.warm
        return warm.p50_us if warm is not None and self.status in (Status.OK, Status.DUPLICATE) else None
