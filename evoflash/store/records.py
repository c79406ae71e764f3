"""What the store answers: frozen values, never rows of the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation


@dataclass(frozen=True)
class RunSummary:
    """One run, with the totals of its candidates.

    Attributes:
        status: "running", "done", "interrupted" or "failed"; a run whose process died counts as interrupted.
        stop_reason: why it ended, for a person.
        problem: the problem's fields and its "kind".
        plan: every setting as resolved.
        machine: device, driver, toolkit, torch, git commit, clocks.
        elapsed_s: seconds of search; for a run that was killed, up to its last candidate.
        candidates: how many are recorded; `correct` of them are ok.
        best_us: the least warm median of the search, microseconds; `best_id` and `best_index` name that candidate.
        has_finals: whether finals are recorded.
        group_id: what the runs of one search over several shapes share, the id of the first; None for a run by itself.
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
    """A candidate as the database knows it.

    Attributes:
        id: unique over all runs.
        parent_ids: ids of its parents, in the order of `candidate.parents`.
        source: the rendered file, or None where rendering failed.
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
    """A candidate as its family tree shows it: the genome and what came of it, without the evidence."""

    id: int
    run_id: int
    candidate: Candidate
    parent_ids: tuple[int, ...]
    status: str
    fitness_us: float | None


@dataclass(frozen=True)
class Ancestor:
    """One candidate of a lineage; `depth` is the least number of generations back, 0 for the candidate itself."""

    stored: Relative
    depth: int


@dataclass(frozen=True)
class Tally:
    """How many candidates of a run share family, operator and status, and the least time among them."""

    family: str
    operator: str
    status: str
    count: int
    best_us: float | None


@dataclass(frozen=True)
class Outcome:
    """A candidate in one line, for counting thousands of them."""

    id: int
    index: int
    family: str
    operator: str
    status: str
    fitness_us: float | None
    finished_at: datetime


@dataclass(frozen=True)
class Insight:
    """Something that was learnt during a run."""

    id: int
    run_id: int
    generation: int
    kind: str
    text: str
    data: dict[str, Any]
