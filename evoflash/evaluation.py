"""What is known of a candidate after the cascade: a closed status, and the evidence."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Status(StrEnum):
    """How a candidate ended. Only `OK` has a fitness."""

    OK = "ok"
    DUPLICATE = "duplicate"
    BUILD_FAILED = "build_failed"
    BUILD_TIMEOUT = "build_timeout"
    OVER_BUDGET = "over_budget"
    LAUNCH_FAILED = "launch_failed"
    WRONG = "wrong"
    CRASHED = "crashed"
    HUNG = "hung"
    MISMEASURED = "mismeasured"  # right, but with a time that no device like this can reach


class Gate(StrEnum):
    """What refuses a kernel; docs/verify.md says what each looks for, and at which stage."""

    BUILD = "build"
    LAUNCH = "launch"  # an error code, or a library that does not load
    CRASHED = "crashed"
    HUNG = "hung"
    ERROR = "error"  # errors beyond what SDPA's own allow
    NAN = "nan"  # a NaN where a number belongs, or an input's NaN that is lost
    UNWRITTEN = "unwritten"  # outputs that still hold the poison
    READS = "reads"  # what lies around the inputs comes out
    WRITES = "writes"  # outside of the output
    WORKSPACE = "workspace"  # outside of the workspace
    INPUTS = "inputs"  # overwritten
    REPEAT = "repeat"  # the same inputs give other bits
    FRESH = "fresh"  # other values at the same addresses give the old answer
    KEPT = "kept"  # an earlier answer changes when the kernel runs again
    ALIAS = "alias"  # the output shares memory with an input
    FORM = "form"  # the output has another shape, dtype or device
    STREAM = "stream"  # work on another stream than the current one
    TIMED = "timed"  # what the timed launches leave is wrong
    FLOOR = "floor"  # faster than the device can be
    SANITIZER = "sanitizer"
    DECLINED = "declined"  # it takes none of what it is meant for


class Stage(StrEnum):
    """How far down the cascade an evaluation went."""

    BUILD = "build"
    RESOURCES = "resources"
    CORRECTNESS = "correctness"
    QUICK = "quick"
    FULL = "full"
    FINAL = "final"


class Record(BaseModel):
    """Base of the frozen values that travel between processes and into the database."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


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

    def slim(self) -> "Evaluation":
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


# How far two copies of a kernel may differ for as long as they lie where they lie in memory: no difference of kernels.
# On an H200 it was up to 0.2 %, of one that takes 3.7 us.
RESOLUTION = 0.003


class Ratio(Record):
    """How many times faster than a baseline: the median of paired ratios, with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def is_told(self) -> bool:
        """Whether the interval excludes 1, by more than `RESOLUTION`."""
        return self.low > 1 + RESOLUTION or self.high < 1 - RESOLUTION

    @property
    def is_settled(self) -> bool:
        """Whether more samples would change nothing: it is told, or the interval is within `RESOLUTION` of 1."""
        return self.is_told or (self.low > 1 - RESOLUTION and self.high < 1 + RESOLUTION)


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
