"""Queries. Each function makes a fixed number of queries, independent of the number of candidates."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select
from sqlalchemy.orm import aliased

from evoflash.core.candidate import Candidate, Origin
from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation, Timing
from evoflash.core.genome import Gene, Genome
from evoflash.core.profile import Profile
from evoflash.core.status import Status
from evoflash.store.columns import decoding
from evoflash.store.models import (
    AccuracyRow,
    BuildRow,
    CandidateRow,
    LineageRow,
    ProfileRow,
    RunRow,
    SourceRow,
    TimingRow,
)
from evoflash.store.records import (
    Ancestor,
    CandidateSummary,
    Outcome,
    Relative,
    RunSummary,
    StoredCandidate,
    Tally,
    Written,
)
from evoflash.store.rows import Row, checked, record


@dataclass(frozen=True)
class _Head:
    """The main columns of a candidate."""

    id: int
    run_id: int
    index: int
    family: str
    genome: dict[str, Gene]
    operator: str
    status: str
    fitness_us: float | None


@dataclass(frozen=True)
class _Written:
    """What was rendered for a candidate, and when it finished."""

    source_digest: str | None
    text: str | None
    language: str | None
    finished_at: datetime


CandidateIds = Select[Any]

_BUILD = [getattr(BuildRow, name) for name in BuildReport.model_fields]
_ACCURACY = [getattr(AccuracyRow, name) for name in Accuracy.model_fields]
_TIMING = [getattr(TimingRow, name) for name in Timing.model_fields]
_PROFILE = [getattr(ProfileRow, name) for name in Profile.model_fields]
_HEAD = [getattr(CandidateRow, name) for name in _Head.__dataclass_fields__]


def read_candidates(connection: Connection, chosen: CandidateIds, *, sources: bool = True) -> list[StoredCandidate]:
    """Candidates with their evidence, ordered by run and index; `sources=False` leaves out the source text."""
    text = SourceRow.text if sources else SourceRow.digest
    heads = connection.execute(
        select(CandidateRow.__table__, text.label("text"), SourceRow.language)
        .outerjoin(SourceRow, SourceRow.digest == CandidateRow.source_digest)
        .where(CandidateRow.id.in_(chosen))
        .order_by(CandidateRow.run_id, CandidateRow.index)
    ).mappings()
    rows = heads.all()
    parents = _parents(connection, chosen)
    evidence = Evidence(connection, chosen, final=False)
    return [_stored(row, parents.get(row["id"], []), evidence, sources) for row in rows]


def read_summaries(connection: Connection, run_id: int) -> tuple[list[CandidateSummary], list[CandidateSummary]]:
    """A run's candidates in the order in which they finished, and their parents in other runs."""
    own = select(CandidateRow.id).where(CandidateRow.run_id == run_id)
    parent = aliased(CandidateRow)
    edges = (
        select(LineageRow.candidate_id, LineageRow.parent_id, parent.run_id)
        .join(CandidateRow, CandidateRow.id == LineageRow.candidate_id)
        .join(parent, parent.id == LineageRow.parent_id)
        .where(CandidateRow.run_id == run_id)
        .order_by(LineageRow.candidate_id, LineageRow.ordinal)
    )
    parents: dict[int, list[int]] = defaultdict(list)
    elsewhere: set[int] = set()
    for child, each, its_run in connection.execute(edges):
        parents[child].append(each)
        if its_run != run_id:
            elsewhere.add(each)
    strangers = select(LineageRow.parent_id).where(LineageRow.candidate_id.in_(own))
    others = (CandidateRow.run_id != run_id, CandidateRow.id.in_(strangers))
    found = _summaries(connection, (CandidateRow.run_id == run_id,), parents)
    return found, _summaries(connection, others, {}) if elsewhere else []


def _summaries(
    connection: Connection, chosen: Sequence[ColumnElement[bool]], parents: Mapping[int, Sequence[int]]
) -> list[CandidateSummary]:
    """The chosen candidates with what their builds report."""
    columns = [
        getattr(CandidateRow, name) for name in CandidateSummary.__dataclass_fields__ if hasattr(CandidateRow, name)
    ]
    build = (BuildRow.registers, BuildRow.shared_bytes, BuildRow.spill_bytes, BuildRow.seconds.label("build_s"))
    cold = (TimingRow.candidate_id == CandidateRow.id, TimingRow.final.is_(False), TimingRow.regime == "cold")
    found = (
        select(*columns, *build, TimingRow.p50_us.label("cold_us"))
        .outerjoin(BuildRow, BuildRow.candidate_id == CandidateRow.id)
        .outerjoin(TimingRow, and_(*cold, TimingRow.shape == ""))
        .where(*chosen)
        .order_by(CandidateRow.id)
    )
    rows = connection.execute(found).mappings()
    return [checked(CandidateSummary, {**row, "parent_ids": tuple(parents.get(row["id"], ()))}) for row in rows]


def read_sources(connection: Connection, candidate_ids: Sequence[int]) -> dict[int, Written]:
    """Id -> source, of the candidates that have one on record."""
    chosen = (
        select(CandidateRow.id, SourceRow.text, SourceRow.language)
        .join(SourceRow, SourceRow.digest == CandidateRow.source_digest)
        .where(CandidateRow.id.in_(candidate_ids))
    )
    return {
        key: checked(Written, row) for key, row in ((row["id"], row) for row in connection.execute(chosen).mappings())
    }


def read_ancestry(connection: Connection, candidate_id: int) -> list[Ancestor]:
    """A candidate and all its ancestors without duplicates, nearest first."""
    start = select(CandidateRow.id.label("id")).where(CandidateRow.id == candidate_id)
    ancestry = start.cte("ancestry", recursive=True)
    # UNION, not UNION ALL: with crossover, ancestors can be shared, and each must be visited once.
    ancestry = ancestry.union(select(LineageRow.parent_id).join(ancestry, LineageRow.candidate_id == ancestry.c.id))
    chosen = select(ancestry.c.id)
    heads = connection.execute(select(*_HEAD).where(CandidateRow.id.in_(chosen))).mappings()
    rows = {row["id"]: row for row in heads}
    parents = _parents(connection, chosen)
    depths = {candidate_id: 0} if candidate_id in rows else {}
    queue = list(depths)
    for each in queue:  # grows during the iteration; breadth first gives the least depth
        for parent in parents.get(each, ()):
            if parent.id not in depths:
                depths[parent.id] = depths[each] + 1
                queue.append(parent.id)
    return [Ancestor(_relative(rows[each], parents.get(each, [])), depth) for each, depth in depths.items()]


def read_relatives(connection: Connection, run_id: int) -> list[Relative]:
    """The candidates of a run, and their parents in other runs, ordered by id; the latter without their own parents."""
    own = select(CandidateRow.id).where(CandidateRow.run_id == run_id)
    elsewhere = select(LineageRow.parent_id).where(LineageRow.candidate_id.in_(own))
    chosen = or_(CandidateRow.run_id == run_id, CandidateRow.id.in_(elsewhere))
    heads = connection.execute(select(*_HEAD).where(chosen).order_by(CandidateRow.id)).mappings().all()
    parents = _parents(connection, own)
    return [_relative(row, parents.get(row["id"], [])) for row in heads]


def read_tally(connection: Connection, run_id: int) -> list[Tally]:
    """Counts of a run's candidates by family, operator and status."""
    kinds = (CandidateRow.family, CandidateRow.operator, CandidateRow.status)
    totals = (func.count().label("count"), func.min(CandidateRow.fitness_us).label("best_us"))
    counts = select(*kinds, *totals).where(CandidateRow.run_id == run_id)
    return [checked(Tally, row) for row in connection.execute(counts.group_by(*kinds)).mappings()]


def read_improvements(connection: Connection, run_id: int) -> list[tuple[int, Outcome]]:
    """The candidates that improved the best time of a run, each with the number of candidates finished by then.

    Each step of the recursive query finds the first candidate that is faster than the last one. Few candidates are
    faster than a good one, so all steps together scan about one index entry per candidate, and few rows.
    """
    every = aliased(CandidateRow)
    right = (every.run_id == run_id, every.status == Status.OK, every.fitness_us.is_not(None))
    least = select(func.min(every.id)).where(*right)
    step = (
        select(CandidateRow.id.label("id"), CandidateRow.fitness_us.label("best_us"))
        .where(CandidateRow.id == least.scalar_subquery())
        .cte("step", recursive=True)
    )
    following = least.where(every.fitness_us < step.c.best_us).correlate(step).scalar_subquery()
    step = step.union_all(
        select(CandidateRow.id, CandidateRow.fitness_us)
        .select_from(step)
        .join(CandidateRow, CandidateRow.id == following)
    )
    columns = [getattr(CandidateRow, name) for name in Outcome.__dataclass_fields__]
    found = select(*columns).join(step, step.c.id == CandidateRow.id).order_by(CandidateRow.id)
    steps = [checked(Outcome, row) for row in connection.execute(found).mappings()]
    return list(zip(_places(connection, run_id, [each.id for each in steps]), steps, strict=True))


def _places(connection: Connection, run_id: int, ids: Sequence[int]) -> list[int]:
    """The number of candidates of a run that had finished when each of these finished, itself included."""
    own = CandidateRow.run_id == run_id
    totals = select(func.min(CandidateRow.id), func.max(CandidateRow.id), func.count()).where(own)
    least, most, count = connection.execute(totals).one()
    if not count or most - least + 1 == count:  # no other run wrote in between
        return [each - least + 1 for each in ids]
    before = aliased(CandidateRow)
    place = select(func.count()).where(before.run_id == run_id, before.id <= CandidateRow.id).scalar_subquery()
    found = connection.execute(select(place).where(CandidateRow.id.in_(ids)).order_by(CandidateRow.id))
    return list(found.scalars())


def read_fastest(connection: Connection, run_id: int, count: int, but: Sequence[int]) -> list[int]:
    """The ids of a run's fastest correct candidates except the indices `but`; ties are ordered by index."""
    right = (CandidateRow.run_id == run_id, CandidateRow.status == Status.OK, CandidateRow.fitness_us.is_not(None))
    ranking = select(CandidateRow.id).where(*right, CandidateRow.index.not_in(but))
    return list(connection.scalars(ranking.order_by(CandidateRow.fitness_us, CandidateRow.index).limit(count)))


def read_runs(connection: Connection, run_id: int | None = None) -> list[RunSummary]:
    """Runs with the totals of their candidates, ordered by id; only one run if an id is given."""
    correct = CandidateRow.status == Status.OK
    totals = select(
        CandidateRow.run_id,
        func.count().label("candidates"),
        func.count(case((correct, 1))).label("correct"),
        func.min(case((correct, CandidateRow.fitness_us))).label("best_us"),
    ).group_by(CandidateRow.run_id)
    if run_id is not None:
        totals = totals.where(CandidateRow.run_id == run_id)
    totals = totals.subquery()
    best = (
        select(func.min(CandidateRow.id))
        .where(CandidateRow.run_id == totals.c.run_id, correct, CandidateRow.fitness_us == totals.c.best_us)
        .correlate(totals)
        .scalar_subquery()
    )
    # This reads every row of a run, so it is only computed for runs without an elapsed time.
    own = aliased(CandidateRow)
    last = select(func.max(own.finished_at)).where(own.run_id == RunRow.id).correlate(RunRow).scalar_subquery()
    found = select(
        RunRow.__table__,
        totals,
        case((RunRow.elapsed_s.is_(None), last)).label("last_at"),
        CandidateRow.id.label("best_id"),
        CandidateRow.index.label("best_index"),
    )
    found = found.outerjoin(totals, totals.c.run_id == RunRow.id).outerjoin(CandidateRow, CandidateRow.id == best)
    if run_id is not None:
        found = found.where(RunRow.id == run_id)
    return [_summary(row) for row in connection.execute(found.order_by(RunRow.id)).mappings()]


def read_profile(connection: Connection, candidate_id: int) -> Profile | None:
    """The latest profile of a candidate."""
    chosen = select(*_PROFILE).where(ProfileRow.candidate_id == candidate_id)
    row = connection.execute(chosen).mappings().first()
    return record(Profile, row) if row is not None else None


class Evidence:
    """Builds, accuracies and timings of many candidates, by id."""

    def __init__(self, connection: Connection, chosen: CandidateIds, *, final: bool):
        self.builds: dict[int, BuildReport] = {}
        self.accuracy: dict[int, list[Accuracy]] = defaultdict(list)
        self.timings: dict[int, list[Timing]] = defaultdict(list)
        if not final:
            builds = select(BuildRow.candidate_id, *_BUILD).where(BuildRow.candidate_id.in_(chosen))
            for row in connection.execute(builds).mappings():
                self.builds[row["candidate_id"]] = record(BuildReport, row)
        for row in self._rows(connection, AccuracyRow, _ACCURACY, chosen, final):
            self.accuracy[row["candidate_id"]].append(record(Accuracy, row))
        for row in self._rows(connection, TimingRow, _TIMING, chosen, final):
            self.timings[row["candidate_id"]].append(record(Timing, row))

    @staticmethod
    def _rows(
        connection: Connection,
        table: type[AccuracyRow] | type[TimingRow],
        columns: list[Any],
        chosen: CandidateIds,
        final: bool,
    ) -> Iterable[Row]:
        found = select(table.candidate_id, *columns).where(table.candidate_id.in_(chosen), table.final.is_(final))
        return connection.execute(found.order_by(table.candidate_id, table.ordinal)).mappings()


@dataclass(frozen=True, slots=True)
class _Parent:
    """A parent of a candidate."""

    run_id: int
    index: int
    id: int


def _parents(connection: Connection, chosen: CandidateIds) -> dict[int, list[_Parent]]:
    """Id -> parents in order, with those of other runs last."""
    parent = aliased(CandidateRow)
    edges = (
        select(LineageRow.candidate_id, parent.run_id, parent.index, parent.id)
        .join(parent, parent.id == LineageRow.parent_id)
        .where(LineageRow.candidate_id.in_(chosen))
        .order_by(LineageRow.candidate_id, LineageRow.ordinal)
    )
    parents: dict[int, list[_Parent]] = defaultdict(list)
    for child, *parent_row in connection.execute(edges):
        parents[child].append(_Parent(*parent_row))
    return parents


def _head(row: Row) -> _Head:
    return checked(_Head, {name: row[name] for name in _Head.__dataclass_fields__})


def _candidate(head: _Head, parents: list[_Parent]) -> Candidate:
    own = tuple(each.index for each in parents if each.run_id == head.run_id)
    others = (Origin(each.run_id, each.index) for each in parents if each.run_id != head.run_id)
    with decoding():  # a damaged index may be smaller than those of its parents
        return Candidate(head.index, head.family, Genome(head.genome), head.operator, own, next(others, None))


def _relative(row: Row, parents: list[_Parent]) -> Relative:
    head = _head(row)
    return Relative(
        candidate=_candidate(head, parents),
        parent_ids=tuple(each.id for each in parents),
        **{name: getattr(head, name) for name in ("id", "run_id", "status", "fitness_us")},
    )


def _stored(row: Row, parents: list[_Parent], evidence: Evidence, sources: bool) -> StoredCandidate:
    key = row["id"]
    evaluation = Evaluation(
        build=evidence.builds.get(key),
        accuracy=tuple(evidence.accuracy.get(key, ())),
        timings=tuple(evidence.timings.get(key, ())),
        **{name: row[name] for name in ("status", "stage", "reason", "quick", "duplicate_of", "seconds")},
    )
    head, written = _head(row), checked(_Written, {name: row[name] for name in _Written.__dataclass_fields__})
    return StoredCandidate(
        id=head.id,
        run_id=head.run_id,
        candidate=_candidate(head, parents),
        evaluation=evaluation,
        parent_ids=tuple(each.id for each in parents),
        source_digest=written.source_digest,
        source=written.text if sources else None,
        language=written.language,
        finished_at=written.finished_at,
    )


def _summary(row: Row) -> RunSummary:
    computed = {
        "candidates": row["candidates"] or 0,
        "correct": row["correct"] or 0,
        "has_finals": row["final_rounds"] is not None,
    }
    plain = {name: row[name] for name in RunSummary.__dataclass_fields__ if name not in computed}
    summary = checked(RunSummary, {**plain, **computed})
    if summary.elapsed_s is not None or row["last_at"] is None:
        return summary
    seconds = (row["last_at"] - summary.created_at).total_seconds()
    return replace(summary, elapsed_s=max(0.0, seconds))  # the clock may have been set back
