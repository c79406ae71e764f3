"""Runs, and what they count."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, case, func, select
from sqlalchemy.orm import aliased

from evoflash.core.status import Status
from evoflash.store.models import (
    CandidateRow,
    RunRow,
)
from evoflash.store.records import (
    DeviceTally,
    Outcome,
    RunSummary,
    Tally,
)
from evoflash.store.rows import Row, checked


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


def read_tally(connection: Connection, run_id: int) -> list[Tally]:
    """Counts of a run's candidates by family, operator and status."""
    kinds = (CandidateRow.family, CandidateRow.operator, CandidateRow.status)
    totals = (func.count().label("count"), func.min(CandidateRow.fitness_us).label("best_us"))
    counts = select(*kinds, *totals).where(CandidateRow.run_id == run_id)
    return [checked(Tally, row) for row in connection.execute(counts.group_by(*kinds)).mappings()]


def read_devices(connection: Connection, run_id: int) -> list[DeviceTally]:
    """Counts of a run's candidates by the device that examined them."""
    totals = (
        func.count().label("count"),
        func.sum(case((CandidateRow.status != Status.OK, 1), else_=0)).label("failed"),
        func.sum(CandidateRow.seconds).label("seconds"),
        func.avg(CandidateRow.clock_ratio).label("clock_ratio"),
        func.min(CandidateRow.temperature_c).label("lowest_c"),
        func.max(CandidateRow.temperature_c).label("highest_c"),
        func.min(CandidateRow.clock_mhz).label("lowest_mhz"),
        func.avg(CandidateRow.clock_mhz).label("mean_mhz"),
        func.max(CandidateRow.clock_mhz).label("highest_mhz"),
    )
    own = (CandidateRow.run_id == run_id, CandidateRow.device != "")
    counts = select(CandidateRow.device, *totals).where(*own)
    found = connection.execute(counts.group_by(CandidateRow.device).order_by(CandidateRow.device)).mappings()
    return [checked(DeviceTally, row) for row in found]


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
