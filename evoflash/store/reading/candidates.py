"""Candidates with their evidence, summaries, sources and profiles."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select
from sqlalchemy.orm import aliased

from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation, Timing
from evoflash.core.profile import Profile
from evoflash.store.models import (
    AccuracyRow,
    BuildRow,
    CandidateRow,
    LineageRow,
    ProfileRow,
    SourceRow,
    TimingRow,
)
from evoflash.store.reading.lineage import CandidateIds, Parent, candidate_of, head_of, parents_of
from evoflash.store.records import (
    CandidateSummary,
    StoredCandidate,
    Written,
)
from evoflash.store.rows import Row, checked, record


@dataclass(frozen=True)
class _Rendered:
    """What was rendered for a candidate, and when it finished."""

    source_digest: str | None
    text: str | None
    language: str | None
    finished_at: datetime


_EVALUATION = (
    "status",
    "stage",
    "reason",
    "quick",
    "duplicate_of",
    "seconds",
    "device",
    "clock_ratio",
    "temperature_c",
    "clock_mhz",
)
_BUILD = [getattr(BuildRow, name) for name in BuildReport.model_fields]
_ACCURACY = [getattr(AccuracyRow, name) for name in Accuracy.model_fields]
_TIMING = [getattr(TimingRow, name) for name in Timing.model_fields]
_PROFILE = [getattr(ProfileRow, name) for name in Profile.model_fields]


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
    parents = parents_of(connection, chosen)
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


def _stored(row: Row, parents: list[Parent], evidence: Evidence, sources: bool) -> StoredCandidate:
    key = row["id"]
    evaluation = Evaluation(
        build=evidence.builds.get(key),
        accuracy=tuple(evidence.accuracy.get(key, ())),
        timings=tuple(evidence.timings.get(key, ())),
        **{name: row[name] for name in _EVALUATION},
    )
    head, written = head_of(row), checked(_Rendered, {name: row[name] for name in _Rendered.__dataclass_fields__})
    return StoredCandidate(
        id=head.id,
        run_id=head.run_id,
        candidate=candidate_of(head, parents),
        evaluation=evaluation,
        parent_ids=tuple(each.id for each in parents),
        source_digest=written.source_digest,
        source=written.text if sources else None,
        language=written.language,
        finished_at=written.finished_at,
    )
