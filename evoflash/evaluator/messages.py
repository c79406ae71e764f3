"""Messages between the driver and the worker: requests and responses, sent as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from evoflash.core.evaluation import Accuracy, Timing
from evoflash.core.finals import Conditions, Contestant
from evoflash.core.record import Record
from evoflash.core.status import Gate, Status
from evoflash.plugins import AnyProblem, problem_from_dict
from evoflash.problems import Case


def _validated(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return Case(**{**value, "problem": problem_from_dict(value["problem"])})


AnyCase = Annotated[Case, BeforeValidator(_validated)]  # of a problem of any kind


# How a stage is called in which no kernel has a part: a worker that fails there says nothing about one.
PREPARING = "preparing"


class Prepare(Record):
    """Request to compute a problem's references in advance, outside the candidates' deadlines."""

    op: Literal["prepare"] = "prepare"
    problem: AnyProblem


class Describe(Record):
    """Request to run the file of a function problem, and to say what it computes at some sizes.

    Attributes:
        file: its name; source: its text.
        sizes: those that were asked for, by name; text that is not parsed yet.
    """

    op: Literal["describe"] = "describe"
    file: str
    source: str
    sizes: dict[str, str | bool | int | float]


class Described(Record):
    """The response to `Describe`: the problem, or why there is none."""

    problem: AnyProblem | None = None
    reason: str = ""


class Examine(Record):
    """Request to check a library on the searched problem and to time it.

    Attributes:
        best_us: the best time so far; timing stops early for a candidate that is far slower.
        samples, quick_samples: samples of the full and of the quick timing.
    """

    op: Literal["examine"] = "examine"
    problem: AnyProblem
    library: Path
    best_us: float | None
    samples: int
    quick_samples: int


class Verify(Record):
    """Request to check cases, each with the library that was rendered for it."""

    op: Literal["verify"] = "verify"
    cases: tuple[tuple[AnyCase, Path], ...]


class Call(Record):
    """Request to check a Python function, named by "module:function", on a case."""

    op: Literal["call"] = "call"
    function: str
    case: AnyCase


class Race(Record):
    """Request to time libraries and baselines in interleaved rounds; on a GPU also each library with cold inputs.

    Attributes:
        rounds: recorded rounds, with one sample of each contestant.
        warmup: rounds before them that are not recorded.
        budget_s: no further round begins after this many seconds, once `race.MIN_ROUNDS` are recorded.
        spare_s: extra rounds may begin within this many seconds, while the comparison is not settled.
        rivals: baselines of other packages, by name, or of the user as "module:function".
        without: baselines to leave out.
        seed: seed of the order within the rounds.
    """

    op: Literal["race"] = "race"
    problem: AnyProblem
    libraries: dict[str, Path]
    rivals: tuple[str, ...] = ()
    rounds: int
    warmup: int = 2
    budget_s: float | None = None
    spare_s: float = 0.0
    without: tuple[str, ...] = ()
    seed: int = 0


class Probe(Record):
    """Request to import the rivals of a problem."""

    op: Literal["probe"] = "probe"
    problem: AnyProblem
    rivals: tuple[str, ...]


class SelfTest(Record):
    """Request to time a library, or PyTorch's SDPA, against itself.

    Attributes:
        copies: a library and a copy of its file, since a file is loaded only once per process; None for PyTorch.
        trials: maximum number of trials.
        rounds: rounds per trial.
        budget_s: seconds after which no further trial begins.
    """

    op: Literal["self_test"] = "self_test"
    problem: AnyProblem
    copies: tuple[Path, Path] | None
    trials: int
    rounds: int
    budget_s: float
    seed: int = 0


class MeasureCeilings(Record):
    """Request to measure what the device attains at best.

    Attributes:
        dtype: of the problem that is to be compared.
    """

    op: Literal["measure_ceilings"] = "measure_ceilings"
    dtype: str


class Ceilings(Record):
    """The response to `MeasureCeilings`.

    Attributes:
        copy_bytes_per_s: bytes read and written by a copy beyond the caches.
        flops_per_s: operations of a matrix product.
        dtype: of the product.
    """

    copy_bytes_per_s: float
    flops_per_s: float
    dtype: str


class Count(Record):
    """Request to launch a library again and again until a command ends, which counts meanwhile.

    Attributes:
        command: "{pid}" in it stands for the worker.
    """

    op: Literal["count"] = "count"
    problem: AnyProblem
    library: Path
    command: tuple[str, ...]


class Counted(Record):
    """The response to `Count`: what the command wrote to standard error."""

    output: str


class Examined(Record):
    """The response to `Examine`; `gate` is the check that rejected the kernel."""

    status: Status
    reason: str = ""
    gate: Gate | None = None
    accuracy: tuple[Accuracy, ...] = ()
    timings: tuple[Timing, ...] = ()
    quick: bool = False


class Verified(Record):
    """The response to `Verify` and `Call`; `refused` are the cases that the kernel declined by an error code."""

    status: Status
    reason: str = ""
    gate: Gate | None = None
    accuracy: tuple[Accuracy, ...] = ()
    refused: tuple[str, ...] = ()


class Probed(Record):
    """The response to `Probe`.

    Attributes:
        versions: by name, the version of each rival that can be imported; empty where it is unknown.
        failures: by name, why a rival cannot be imported.
    """

    versions: dict[str, str] = {}
    failures: dict[str, str] = {}


class Raced(Record):
    """The response to `Race`.

    Attributes:
        contestants: the times of each contestant that ran.
        failures: by name, why a baseline could not run, or is wrong.
        versions: by name, the version of each rival's package; empty where it is unknown.
        preparation_s: by name, the seconds before each rival could be timed: of its imports, plans and compilations.
        cold: by name, the cold timing of each library.
        wrong: by name, why the output of a library's timed launches is wrong.
        conditions: the state of the device.
    """

    contestants: tuple[Contestant, ...]
    failures: dict[str, str] = {}
    versions: dict[str, str] = {}
    preparation_s: dict[str, float] = {}
    cold: dict[str, Timing] = {}
    wrong: dict[str, str] = {}
    conditions: Conditions = Conditions()

    @property
    def rounds(self) -> int:
        """Interleaved rounds that were recorded."""
        return max((len(each.samples) for each in self.contestants), default=0)

    def baselines(self, kernels: Collection[str]) -> list[Contestant]:
        """All contestants but these, the fastest first."""
        return sorted((each for each in self.contestants if each.name not in kernels), key=lambda each: each.p50_us)
