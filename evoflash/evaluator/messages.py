"""What the driver and the worker say to each other: frozen values, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
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


class Prepare(Record):
    """Make ready for a problem: compute its references, so that no candidate's deadline pays for them."""

    op: Literal["prepare"] = "prepare"
    problem: AnyProblem


class Examine(Record):
    """Check a library on the searched problem and time it.

    Attributes:
        best_us: the fastest so far; a candidate far behind it is given up early.
    """

    op: Literal["examine"] = "examine"
    problem: AnyProblem
    library: Path
    best_us: float | None
    samples: int
    quick_samples: int


class Verify(Record):
    """Check libraries on the cases of the finals, each with the one that was rendered for it."""

    op: Literal["verify"] = "verify"
    cases: tuple[tuple[AnyCase, Path], ...]


class Call(Record):
    """Check the function that "module:function" names on a case."""

    op: Literal["call"] = "call"
    function: str
    case: AnyCase


class Race(Record):
    """Time libraries against each other and the baselines, interleaved; on a GPU each library also beyond the cache.

    Attributes:
        rounds: one sample of each contestant a round; `warmup` rounds before them are not recorded.
        budget_s: no further round begins after this many seconds, if at least `race.FEWEST_ROUNDS` are done.
        spare_s: rounds beyond those wanted may begin until then.
        without: baselines to leave out.
    """

    op: Literal["race"] = "race"
    problem: AnyProblem
    libraries: dict[str, Path]
    rounds: int
    warmup: int = 2
    budget_s: float | None = None
    spare_s: float = 0.0
    without: tuple[str, ...] = ()
    seed: int = 0


class SelfTest(Record):
    """Time a library, or PyTorch's own answer where there is none, against itself.

    Attributes:
        copies: a library and a copy of it, since a file that is loaded already is not loaded again; None for PyTorch.
        trials: at most; rounds: of each; budget_s: seconds after which no further trial begins.
    """

    op: Literal["self_test"] = "self_test"
    problem: AnyProblem
    copies: tuple[Path, Path] | None
    trials: int
    rounds: int
    budget_s: float
    seed: int = 0


class Examined(Record):
    """The answer to `Examine`; `gate` is what refused the kernel."""

    status: Status
    reason: str = ""
    gate: Gate | None = None
    accuracy: tuple[Accuracy, ...] = ()
    timings: tuple[Timing, ...] = ()
    quick: bool = False


class Verified(Record):
    """The answer to `Verify` and `Call`; `refused` are the cases that the kernel declined by an error code."""

    status: Status
    reason: str = ""
    gate: Gate | None = None
    accuracy: tuple[Accuracy, ...] = ()
    refused: tuple[str, ...] = ()


class Raced(Record):
    """The answer to `Race`: a contestant each, those that could not run by name with the reason, and cold timings.

    Attributes:
        wrong: name -> reason, of libraries whose timed launches did not do their work.
    """

    contestants: tuple[Contestant, ...]
    failures: dict[str, str] = {}
    cold: dict[str, Timing] = {}
    wrong: dict[str, str] = {}
    conditions: Conditions = Conditions()
