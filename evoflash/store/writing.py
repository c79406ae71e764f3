"""Inserts and updates within a transaction of the store."""

import contextlib
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, Executable, Insert, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Accuracy, Evaluation, Timing
from evoflash.core.profile import Profile
from evoflash.errors import NotFoundError, StorageError
from evoflash.store.models import (
    AccuracyRow,
    Base,
    BuildRow,
    CandidateRow,
    InsightRow,
    LineageRow,
    ProfileRow,
    RunRow,
    SourceRow,
    TimingRow,
)


def source_digest(text: str) -> str:
    """The key of a source in the database: the SHA-256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_candidate(
    connection: Connection,
    run_id: int,
    candidate: Candidate,
    evaluation: Evaluation,
    source: tuple[str, str | None] | None,
    digest: str | None = None,
) -> int:
    """Inserts a candidate with its evidence; `source` is text and language, `digest` its own. Returns its id."""
    found = ids_of(connection, run_id, candidate.parents)
    parents = [found[index] for index in candidate.parents]
    if candidate.origin is not None:
        other = candidate.origin
        parents += ids_of(connection, other.run_id, [other.index]).values()
    digest = _write_source(connection, *source, digest) if source is not None else None
    fitness = evaluation.fitness_us
    row = {
        "run_id": run_id,
        "index": candidate.index,
        "family": candidate.family,
        "genome": dict(candidate.genome),
        "genome_digest": candidate.genome.digest,
        "operator": candidate.operator,
        "source_digest": digest,
        "status": evaluation.status.value,
        "stage": evaluation.stage.value,
        "reason": evaluation.reason,
        "quick": evaluation.quick,
        "duplicate_of": evaluation.duplicate_of,
        "fitness_us": fitness if fitness is not None and math.isfinite(fitness) else None,
        "seconds": evaluation.seconds,
        "finished_at": datetime.now(UTC),
        "device": evaluation.device,
        "clock_ratio": evaluation.clock_ratio,
        "temperature_c": evaluation.temperature_c,
        "clock_mhz": evaluation.clock_mhz,
    }
    try:
        with _savepoint(connection):
            inserted = connection.execute(_insert(CandidateRow), row)
    except IntegrityError:
        _refuse_second(connection, run_id, candidate.index)
        raise
    key = inserted.inserted_primary_key
    if key is None:
        raise StorageError(f"the database gave candidate {candidate.index} no id; check the database")
    candidate_id: int = key[0]
    edges = [
        {"candidate_id": candidate_id, "ordinal": ordinal, "parent_id": parent}
        for ordinal, parent in enumerate(parents)
    ]
    insert_all(connection, LineageRow, edges)
    if evaluation.build is not None:
        connection.execute(_insert(BuildRow), {"candidate_id": candidate_id, **evaluation.build.model_dump()})
    write_evidence(connection, candidate_id, evaluation.accuracy, evaluation.timings, final=False)
    return candidate_id


def write_insight(
    connection: Connection, run_id: int, generation: int, kind: str, text: str, data: Mapping[str, Any]
) -> None:
    """Inserts an observation about a run; generation 0 is the run as a whole."""
    row = {"run_id": run_id, "generation": generation, "kind": kind, "text": text, "data": dict(data)}
    connection.execute(_insert(InsightRow), row)


def write_profile(connection: Connection, candidate_id: int, profile: Profile) -> None:
    """Inserts a candidate's profile in place of an earlier one.

    Raises:
        NotFoundError: when there is no such candidate.
    """
    if connection.execute(select(CandidateRow.id).where(CandidateRow.id == candidate_id)).first() is None:
        raise NotFoundError(f"there is no candidate {candidate_id}; `evoflash runs best` shows the best of a run")
    connection.execute(delete(ProfileRow).where(ProfileRow.candidate_id == candidate_id))
    connection.execute(_insert(ProfileRow), {"candidate_id": candidate_id, **profile.model_dump()})


def update_run(connection: Connection, run_id: int, values: dict[str, Any]) -> None:
    """Updates columns of a run.

    Raises:
        NotFoundError: when there is no such run.
    """
    changed = connection.execute(_update_of_run(), {"run": run_id, **values})
    if not changed.rowcount:
        raise NotFoundError(f"there is no run {run_id}; `evoflash runs list` shows the existing ones")


def ids_of(connection: Connection, run_id: int, indices: Sequence[int]) -> dict[int, int]:
    """Index in a run -> id, for several indices.

    Raises:
        StorageError: when one of them is not recorded.
    """
    if not indices:
        return {}
    rows = connection.execute(_ids_by_index(), {"run": run_id, "indices": list(set(indices))})
    found: dict[int, int] = {row[0]: row[1] for row in rows}
    missing = sorted(set(indices) - set(found))
    if missing:
        raise StorageError(f"candidate {missing[0]} of run {run_id} is not recorded; record parents before children")
    return found


def _savepoint(connection: Connection) -> contextlib.AbstractContextManager[Any]:
    """After an error within, PostgreSQL answers again, as SQLite does anyway."""
    return connection.begin_nested() if connection.dialect.name == "postgresql" else contextlib.nullcontext()


def _refuse_second(connection: Connection, run_id: int, index: int) -> None:
    """Raises the error for a missing run or a duplicate index, if one of them is the cause."""
    same = (CandidateRow.run_id == RunRow.id) & (CandidateRow.index == index)
    wanted = select(CandidateRow.id).select_from(RunRow).outerjoin(CandidateRow, same).where(RunRow.id == run_id)
    row = connection.execute(wanted).first()
    if row is None:
        raise NotFoundError(f"there is no run {run_id}; begin it before recording candidates")
    if row[0] is not None:
        raise StorageError(f"candidate {index} of run {run_id} is already recorded (id {row[0]}); use another index")


def _write_source(connection: Connection, text: str, language: str | None, digest: str | None) -> str:
    digest = digest or source_digest(text)
    statement = _insert_new_source(connection.dialect.name)
    if statement is None:
        known = select(SourceRow.digest).where(SourceRow.digest == digest)
        statement = _insert(SourceRow) if connection.execute(known).first() is None else None
    if statement is not None:
        connection.execute(statement, {"digest": digest, "text": text, "language": language})
    return digest


def write_evidence(
    connection: Connection, candidate_id: int, accuracy: Sequence[Accuracy], timings: Sequence[Timing], *, final: bool
) -> None:
    """Inserts the errors and times of a candidate, from the search or from the finals."""
    for table, records in ((AccuracyRow, accuracy), (TimingRow, timings)):
        rows = [
            {"candidate_id": candidate_id, "final": final, "ordinal": ordinal, **record.model_dump()}
            for ordinal, record in enumerate(records)
        ]
        insert_all(connection, table, rows)


# Statements are made once: for a small row that takes SQLAlchemy longer than to insert it.


def _table(row: type[Base]) -> Table:
    """The table of a mapped class; inserting into the class itself takes twice as long."""
    return cast(Table, row.__table__)


@functools.cache
def _insert(row: type[Base]) -> Insert:
    return insert(_table(row))


@functools.cache
def _insert_new_source(dialect: str) -> Insert | None:
    """Inserts a source unless it is there; None for a database that has no such statement.

    Duplicates share a source, and on a server another search may insert it between a query and an insert.
    """
    table = _table(SourceRow)
    match dialect:
        case "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        case "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
        case "mysql" | "mariadb":
            made = mysql.insert(table)
            return made.on_duplicate_key_update(digest=made.inserted.digest)
        case _:
            return None


@functools.cache
def _update_of_run() -> Executable:
    """Sets the columns that are named beside "run", its id."""
    table = _table(RunRow)
    return update(table).where(table.c.id == bindparam("run"))


@functools.cache
def _ids_by_index() -> Executable:
    table = _table(CandidateRow)
    wanted = table.c.index.in_(bindparam("indices", expanding=True))
    return select(table.c.index, table.c.id).where(table.c.run_id == bindparam("run"), wanted)


def insert_all(connection: Connection, table: type[Base], rows: list[dict[str, Any]]) -> None:
    """Inserts rows into a table; all rows have the same columns."""
    if rows:
        connection.execute(_insert(table), rows)
