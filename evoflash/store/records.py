"""The frozen records that the store returns."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Gene


@dataclass(frozen=True)
class RunSummary:
    """One run, with the totals of its candidates.

    Attributes:
        id: the run's number.
        created_at: when it began, UTC.
        finished_at: when it ended; None while it runs.
        strategy: what proposed candidates.
        seed: seed of every random choice.
        target: "cuda" or "cpu".
        status: "running", "done", "interrupted" or "failed"; a run whose process died is interrupted.
        stop_reason: a readable reason why it ended.
        problem: the problem's fields and its "kind".
        problem_label: its sizes as text.
        plan: the resolved settings.
        machine: device, driver, toolkit, torch, git commit, clocks.
        elapsed_s: seconds of search; for a killed run, until its last candidate.
        candidates: number of recorded candidates.
        correct: how many of them are ok.
        best_us: the best warm median of the search in microseconds.
        best_id, best_index: id of the candidate with that time, and its number in the run.
        has_finals: whether finals are recorded.
        group_id: the id of the first run of the same search over several shapes; None for a single run.
    """

    id: int
    created_at: datetime
    finished_at: datetime | None
    status: str
    stop_reason: str
    strategy: str
    seed: int
    target: str
    problem: dict[str, Any]
    problem_label: str
    plan: dict[str, Any]
    machine: dict[str, Any]
    elapsed_s: float | None
    candidates: int
    correct: int
    best_us: float | None
    best_id: int | None
    best_index: int | None
    has_finals: bool
    group_id: int | None


@dataclass(frozen=True)
class StoredCandidate:
    """A candidate from the database.

    Attributes:
        id: unique across all runs.
        parent_ids: ids of its parents, in the order of `candidate.parents`.
        source: the rendered file; None if it was not stored or not read.
    """

    id: int
    run_id: int
    candidate: Candidate
    evaluation: Evaluation
    parent_ids: tuple[int, ...]
    source_digest: str | None
    source: str | None
    language: str | None
    finished_at: datetime

    @property
    def fitness_us(self) -> float | None:
        """The warm median in microseconds, or None for a failure."""
        return self.evaluation.fitness_us


@dataclass(frozen=True)
class Relative:
    """A candidate in a lineage: its genome and result, without the evidence."""

    id: int
    run_id: int
    candidate: Candidate
    parent_ids: tuple[int, ...]
    status: str
    fitness_us: float | None


@dataclass(frozen=True)
class Ancestor:
    """An ancestor in a lineage; `depth` is the least number of generations back, 0 for the candidate itself."""

    stored: Relative
    depth: int


@dataclass(frozen=True)
class Tally:
    """The number of candidates of a run with the same family, operator and status, and their best time."""

    family: str
    operator: str
    status: str
    count: int
    best_us: float | None


@dataclass(frozen=True)
class DeviceTally:
    """The candidates of a run that one device has examined.

    Attributes:
        device: its label, e.g. "cuda:1".
        count: how many.
        failed: how many of them are not ok.
        seconds: that it took.
        clock_ratio: the mean of what their times were divided by.
        lowest_c, highest_c: its temperatures, in degrees Celsius, as read every second; None where they are not known.
        lowest_mhz, mean_mhz, highest_mhz: clocks of its multiprocessors, likewise.
    """

    device: str
    count: int
    failed: int
    seconds: float
    clock_ratio: float
    lowest_c: float | None = None
    highest_c: float | None = None
    lowest_mhz: float | None = None
    mean_mhz: float | None = None
    highest_mhz: float | None = None


@dataclass(frozen=True)
class Outcome:
    """A candidate without its genome and evidence, for processing thousands of them."""

    id: int
    index: int
    family: str
    operator: str
    status: str
    fitness_us: float | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class CandidateSummary:
    """A candidate without samples, errors and source, for looking at a whole run.

    Attributes:
        genome: gene -> value.
        parent_ids: ids of its parents in order, those of other runs last.
        duplicate_of: an index in the same run.
        registers, shared_bytes, spill_bytes: as the compiler reports them; None where it does not.
        build_s: wall time of the build.
        cold_us: the cold median in microseconds, where the search measured it.
    """

    id: int
    run_id: int
    index: int
    family: str
    genome: dict[str, Gene]
    operator: str
    status: str
    stage: str
    reason: str
    quick: bool
    duplicate_of: int | None
    fitness_us: float | None
    finished_at: datetime
    registers: int | None
    shared_bytes: int | None
    spill_bytes: int | None
    build_s: float | None
    cold_us: float | None
    parent_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Written:
    """The source of a candidate."""

    text: str
    language: str | None


@dataclass(frozen=True)
class Insight:
    """An observation about a run, in words and as data.

    Attributes:
        id: its number in the database.
        run_id: the run.
        generation: 0 for the run as a whole; otherwise after how many times 50 results it was made.
        kind: what it is about, e.g. "family" or "failing".
        text: a sentence for a person.
        data: the figures that the sentence stands on.
    """

    id: int
    run_id: int
    generation: int
    kind: str
    text: str
    data: dict[str, Any]
