"""Candidates with their parents: ancestries, and all of a run."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, or_, select
from sqlalchemy.orm import aliased

from evoflash.core.candidate import Candidate, Origin
from evoflash.core.genome import Gene, Genome
from evoflash.store.columns import decoding
from evoflash.store.models import (
    CandidateRow,
    LineageRow,
)
from evoflash.store.records import (
    Ancestor,
    Relative,
)
from evoflash.store.rows import Row, checked

CandidateIds = Select[Any]


@dataclass(frozen=True)
class Head:
    """The main columns of a candidate."""

    id: int
    run_id: int
    index: int
    family: str
    genome: dict[str, Gene]
    operator: str
    status: str
    fitness_us: float | None


_HEAD = [getattr(CandidateRow, name) for name in Head.__dataclass_fields__]


def read_ancestry(connection: Connection, candidate_id: int) -> list[Ancestor]:
    """A candidate and all its ancestors without duplicates, nearest first."""
    start = select(CandidateRow.id.label("id")).where(CandidateRow.id == candidate_id)
    ancestry = start.cte("ancestry", recursive=True)
    # UNION, not UNION ALL: with crossover, ancestors can be shared, and each must be visited once.
    ancestry = ancestry.union(select(LineageRow.parent_id).join(ancestry, LineageRow.candidate_id == ancestry.c.id))
    chosen = select(ancestry.c.id)
    heads = connection.execute(select(*_HEAD).where(CandidateRow.id.in_(chosen))).mappings()
    rows = {row["id"]: row for row in heads}
    parents = parents_of(connection, chosen)
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
    parents = parents_of(connection, own)
    return [_relative(row, parents.get(row["id"], [])) for row in heads]


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent of a candidate."""

    run_id: int
    index: int
    id: int


def parents_of(connection: Connection, chosen: CandidateIds) -> dict[int, list[Parent]]:
    """Id -> parents in order, with those of other runs last."""
    parent = aliased(CandidateRow)
    edges = (
        select(LineageRow.candidate_id, parent.run_id, parent.index, parent.id)
        .join(parent, parent.id == LineageRow.parent_id)
        .where(LineageRow.candidate_id.in_(chosen))
        .order_by(LineageRow.candidate_id, LineageRow.ordinal)
    )
    parents: dict[int, list[Parent]] = defaultdict(list)
    for child, *parent_row in connection.execute(edges):
        parents[child].append(Parent(*parent_row))
    return parents


def head_of(row: Row) -> Head:
    """The main columns of a row of candidates."""
    return checked(Head, {name: row[name] for name in Head.__dataclass_fields__})


def candidate_of(head: Head, parents: list[Parent]) -> Candidate:
    """The candidate itself; a parent in another run is its origin."""
    own = tuple(each.index for each in parents if each.run_id == head.run_id)
    others = (Origin(each.run_id, each.index) for each in parents if each.run_id != head.run_id)
    with decoding():  # a damaged index may be smaller than those of its parents
        return Candidate(head.index, head.family, Genome(head.genome), head.operator, own, next(others, None))


def _relative(row: Row, parents: list[Parent]) -> Relative:
    head = head_of(row)
    return Relative(
        candidate=candidate_of(head, parents),
        parent_ids=tuple(each.id for each in parents),
        **{name: getattr(head, name) for name in ("id", "run_id", "status", "fitness_us")},
    )
