"""The tables. A change here needs a migration in `migrations/versions/`; a test compares the two.

runs ─┬─ candidates ─┬─ lineage (child, parent, ordinal)
      │              ├─ builds, accuracies, timings      the evidence for a candidate
      │              ├─ profiles                         what its counters say, where it was profiled
      │              └─ sources                          shared by digest
      ├─ finals, contestants                             the finals of a run
      └─ insights
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from evoflash.store.columns import Instant, Json, LongText, Number, Samples

DIGEST = 64


class Base(DeclarativeBase):
    """Base class of evoflash's tables; Optuna's tables are in the same file with separate metadata."""

    type_annotation_map = {
        datetime: Instant,
        tuple[float, ...]: Samples,
        dict[str, Any]: Json(none_as_null=True),
        list[Any]: Json(none_as_null=True),
    }


class RunRow(Base):
    """One search."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(String(16))
    stop_reason: Mapped[str] = mapped_column(LongText)
    strategy: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    target: Mapped[str] = mapped_column(String(32))
    problem: Mapped[dict[str, Any]]
    problem_label: Mapped[str] = mapped_column(String(255))
    plan: Mapped[dict[str, Any]]
    machine: Mapped[dict[str, Any]]
    elapsed_s: Mapped[float | None] = mapped_column(Double)
    final_rounds: Mapped[int | None]  # None until the finals have run
    baseline_failures: Mapped[dict[str, Any] | None]
    # The runs of one search over several shapes share the id of the first of them; a single run has none.
    group_id: Mapped[int | None] = mapped_column(index=True)

    __table_args__ = {"sqlite_autoincrement": True}  # ids are never reused


class SourceRow(Base):
    """A rendered source, shared by duplicates."""

    __tablename__ = "sources"

    digest: Mapped[str] = mapped_column(String(DIGEST), primary_key=True)
    language: Mapped[str | None] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(LongText)


class CandidateRow(Base):
    """A candidate with the main fields of its evaluation; `index` is unique within the run, `id` across all runs."""

    __tablename__ = "candidates"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    index: Mapped[int]
    family: Mapped[str] = mapped_column(String(128))
    genome: Mapped[dict[str, Any]]
    genome_digest: Mapped[str] = mapped_column(String(DIGEST))
    operator: Mapped[str] = mapped_column(String(64))
    source_digest: Mapped[str | None] = mapped_column(ForeignKey("sources.digest"))
    status: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(LongText)
    quick: Mapped[bool]
    duplicate_of: Mapped[int | None]  # an index in the same run
    fitness_us: Mapped[float | None] = mapped_column(Double)
    seconds: Mapped[float] = mapped_column(Number, nullable=True)
    finished_at: Mapped[datetime]
    device: Mapped[str] = mapped_column(String(255), server_default="")
    clock_ratio: Mapped[float] = mapped_column(Double, server_default="1")
    temperature_c: Mapped[float | None] = mapped_column(Double)
    clock_mhz: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (
        UniqueConstraint("run_id", "index", name="uq_candidates_run_index"),
        Index("ix_candidates_run_fitness", "run_id", "status", "fitness_us"),  # covers the query for the best of a run
        Index("ix_candidates_run_kinds", "run_id", "family", "operator", "status", "fitness_us"),  # covers the counts
        {"sqlite_autoincrement": True},
    )


class LineageRow(Base):
    """An edge from a candidate to a parent; `ordinal` is the order of the parents."""

    __tablename__ = "lineage"

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), index=True)


class BuildRow(Base):
    """The compiler's report on a candidate."""

    __tablename__ = "builds"

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    seconds: Mapped[float] = mapped_column(Number, nullable=True)
    cached: Mapped[bool]
    registers: Mapped[int | None]
    shared_bytes: Mapped[int | None] = mapped_column(BigInteger)
    spill_bytes: Mapped[int | None] = mapped_column(BigInteger)
    stack_bytes: Mapped[int | None] = mapped_column(BigInteger)
    binary_digest: Mapped[str | None] = mapped_column(String(255))
    log: Mapped[str] = mapped_column(LongText)


class AccuracyRow(Base):
    """Errors of a candidate on one case; `final`: from the finals, not from the search."""

    __tablename__ = "accuracies"

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    final: Mapped[bool] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    case: Mapped[str] = mapped_column(LongText)
    output: Mapped[str] = mapped_column(String(255), server_default="")
    max_error: Mapped[float] = mapped_column(Number, nullable=True)
    rms_error: Mapped[float] = mapped_column(Number, nullable=True)
    mean_error: Mapped[float] = mapped_column(Number, nullable=True)
    sdpa_max_error: Mapped[float] = mapped_column(Number, nullable=True)
    sdpa_rms_error: Mapped[float] = mapped_column(Number, nullable=True)
    max_bound: Mapped[float] = mapped_column(Number, nullable=True)
    rms_bound: Mapped[float] = mapped_column(Number, nullable=True)
    worst_index: Mapped[list[Any]]


class Times:
    """Columns of a table of times; `shape` is empty for the only shape, and for the mean of several."""

    shape: Mapped[str] = mapped_column(String(255), server_default="")
    p50_us: Mapped[float] = mapped_column(Number, nullable=True)
    p90_us: Mapped[float] = mapped_column(Number, nullable=True)
    p99_us: Mapped[float] = mapped_column(Number, nullable=True)
    samples: Mapped[tuple[float, ...]]


class TimingRow(Times, Base):
    """Times of a candidate in one cache regime; `final`: a finalist's cold timing."""

    __tablename__ = "timings"

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    final: Mapped[bool] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    regime: Mapped[str] = mapped_column(String(32))
    launches: Mapped[int] = mapped_column(BigInteger)


class ProfileRow(Base):
    """The latest profile of a candidate."""

    __tablename__ = "profiles"

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), primary_key=True)
    tool: Mapped[str] = mapped_column(String(32))
    device: Mapped[str] = mapped_column(String(255))
    time_us: Mapped[float | None] = mapped_column(Double)
    counters: Mapped[dict[str, Any]]
    floors_us: Mapped[dict[str, Any]]
    words: Mapped[list[Any]]


class FinalRow(Base):
    """A finalist's result, in the order of the finals."""

    __tablename__ = "finals"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(LongText)
    cases: Mapped[int]
    refused: Mapped[list[Any]]
    ratios: Mapped[dict[str, Any]]  # baseline -> {value, low, high}
    vs_best: Mapped[dict[str, Any] | None]
    best_baseline: Mapped[str | None] = mapped_column(String(64))
    vs_math: Mapped[dict[str, Any] | None]


class ContestantRow(Times, Base):
    """Interleaved times of the finals; `finalist` is the ordinal of a finalist, or None for a baseline."""

    __tablename__ = "contestants"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    finalist: Mapped[int | None]
    name: Mapped[str] = mapped_column(String(255))


class InsightRow(Base):
    """An observation about a run."""

    __tablename__ = "insights"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int]
    kind: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(LongText)
    data: Mapped[dict[str, Any]]
