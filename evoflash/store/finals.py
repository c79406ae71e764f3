"""The finals of a run, into rows and back: verdicts, times, conditions and what the sanitizers said."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from evoflash.core.finals import Conditions, Contestant, Final, Finals
from evoflash.store.models import (
    AccuracyRow,
    CandidateRow,
    ContestantRow,
    FinalRow,
    InsightRow,
    RunRow,
    TimingRow,
)
from evoflash.store.reading import Evidence
from evoflash.store.rows import checked, record
from evoflash.store.writing import ids_of, insert_all, update_run, write_evidence, write_insight

# Kinds of insights that belong to the finals.
CONDITIONS, SANITIZERS, VERSIONS, ELSEWHERE = "conditions", "sanitizers", "versions", "finals elsewhere"

_CONTESTANT = [getattr(ContestantRow, name) for name in Contestant.model_fields]
_VERDICT = ("status", "reason", "cases", "refused", "ratios", "vs_best", "best_baseline", "vs_math")  # of a `Final`


@dataclass(frozen=True)
class _Report:
    """An insight that belongs to the finals."""

    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class _Sanitized:
    """What a sanitizer said of one finalist or baseline."""

    name: str
    words: str


def write_finals(connection: Connection, run_id: int, finals: Finals) -> None:
    """The finals of a run, in place of any that it had."""
    ids = ids_of(connection, run_id, [final.index for final in finals.finalists])
    former = select(CandidateRow.id).where(CandidateRow.run_id == run_id)
    for table in (AccuracyRow, TimingRow):
        connection.execute(delete(table).where(table.candidate_id.in_(former), table.final.is_(True)))
    for table in (FinalRow, ContestantRow):
        connection.execute(delete(table).where(table.run_id == run_id))
    baselines = (*finals.baselines, *finals.baselines_by_shape)
    contestants: list[tuple[int | None, Contestant]] = [(None, baseline) for baseline in baselines]
    for ordinal, final in enumerate(finals.finalists):
        candidate_id = ids[final.index]
        verdict = {**final.model_dump(include=set(_VERDICT)), "status": final.status.value}
        connection.execute(
            insert(FinalRow).values(run_id=run_id, ordinal=ordinal, candidate_id=candidate_id, **verdict)
        )
        cold = (final.cold,) if final.cold is not None else ()
        write_evidence(connection, candidate_id, final.accuracy, cold, final=True)
        contestants += [(ordinal, each) for each in (final.time, *final.by_shape) if each is not None]
    rows = [
        {"run_id": run_id, "ordinal": n, "finalist": finalist, **contestant.model_dump()}
        for n, (finalist, contestant) in enumerate(contestants)
    ]
    insert_all(connection, ContestantRow, rows)
    connection.execute(delete(InsightRow).where(*_insights(run_id)))
    write_insight(connection, run_id, 0, CONDITIONS, str(finals.conditions), finals.conditions.model_dump())
    for name, words in finals.sanitized.items():
        write_insight(connection, run_id, 0, SANITIZERS, f"{name}: {words}", {"name": name, "words": words})
    for each in finals.elsewhere:
        document = each.model_dump(mode="json")
        for final in document["finalists"]:
            final["accuracy"] = ()  # on the first device they are on record, case by case
        write_insight(connection, run_id, 0, ELSEWHERE, _words(each, ids), document)
    if finals.versions:
        words = ", ".join(f"{name} {version or 'of unknown version'}" for name, version in finals.versions.items())
        write_insight(connection, run_id, 0, VERSIONS, words, finals.versions)
    totals = {"final_rounds": finals.rounds, "baseline_failures": finals.baseline_failures}
    update_run(connection, run_id, totals)


def read_finals(connection: Connection, run_id: int) -> Finals | None:
    """The finals of a run exactly as recorded, or None before they ran."""
    run = connection.execute(select(RunRow.final_rounds, RunRow.baseline_failures).where(RunRow.id == run_id)).first()
    if run is None or run.final_rounds is None:
        return None
    verdicts = (
        select(
            FinalRow.ordinal, FinalRow.candidate_id, CandidateRow.index, *(getattr(FinalRow, name) for name in _VERDICT)
        )
        .join(CandidateRow, CandidateRow.id == FinalRow.candidate_id)
        .where(FinalRow.run_id == run_id)
        .order_by(FinalRow.ordinal)
    )
    rows = connection.execute(verdicts).mappings().all()
    evidence = Evidence(connection, select(FinalRow.candidate_id).where(FinalRow.run_id == run_id), final=True)
    times: dict[tuple[int | None, bool], list[Contestant]] = defaultdict(list)  # by finalist; of one shape or of all
    entered = select(ContestantRow.finalist, *_CONTESTANT).where(ContestantRow.run_id == run_id)
    for row in connection.execute(entered.order_by(ContestantRow.ordinal)).mappings():
        times[row["finalist"], bool(row["shape"])].append(record(Contestant, row))
    finalists = [
        Final(
            index=row["index"],
            accuracy=tuple(evidence.accuracy[row["candidate_id"]]),
            time=next(iter(times[row["ordinal"], False]), None),
            by_shape=tuple(times[row["ordinal"], True]),
            cold=next(iter(evidence.timings[row["candidate_id"]]), None),
            **{name: row[name] for name in _VERDICT},
        )
        for row in rows
    ]
    written = select(InsightRow.kind, InsightRow.data).where(*_insights(run_id)).order_by(InsightRow.id)
    reports = [checked(_Report, row) for row in connection.execute(written).mappings()]
    conditions = (Conditions.model_validate(each.data) for each in reports if each.kind == CONDITIONS)
    versions = next((each.data for each in reports if each.kind == VERSIONS), {})
    # Early versions wrote what sanitizers said without data.
    sanitized = [checked(_Sanitized, each.data) for each in reports if each.kind == SANITIZERS and each.data]
    return Finals(
        conditions=next(conditions, Conditions()),
        sanitized={each.name: each.words for each in sanitized},
        finalists=tuple(finalists),
        baselines=tuple(times[None, False]),
        baselines_by_shape=tuple(times[None, True]),
        baseline_failures=run.baseline_failures or {},
        versions=versions,
        rounds=run.final_rounds,
        elsewhere=tuple(Finals.model_validate(each.data) for each in reports if each.kind == ELSEWHERE),
    )


def _words(finals: Finals, ids: Mapping[int, int]) -> str:
    """The finals on another device in a sentence, with the candidate's number in the database, as everywhere."""
    winner, device = finals.winner, finals.conditions.device
    if winner is None or winner.time is None:
        return f"on {device}: nobody passes"
    return f"on {device}: candidate {ids[winner.index]} wins with {winner.time.p50_us:.4g} us ({finals.conditions})"


def _insights(run_id: int) -> tuple[ColumnElement[bool], ...]:
    """Which insights belong to the finals of a run."""
    return (InsightRow.run_id == run_id, InsightRow.kind.in_((CONDITIONS, SANITIZERS, VERSIONS, ELSEWHERE)))
