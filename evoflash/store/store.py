"""The one database: runs, candidates, lineage and evidence. The loop writes it, everything else reads it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from filelock import FileLock
from sqlalchemy import Connection, Engine, insert, literal, select
from sqlalchemy.engine import URL

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.errors import NotFoundError, StorageError
from evoflash.problems.base import Problem
from evoflash.store import location, opening, reading, writing
from evoflash.store.engine import explained
from evoflash.store.finals import read_finals, write_finals
from evoflash.store.models import CandidateRow, InsightRow, RunRow
from evoflash.store.records import Ancestor, Insight, Outcome, RunSummary, StoredCandidate, Tally

LABEL = 255  # characters that the database keeps of a problem's label


class RunStore:
    """Runs in one database; many may read it while one writes.

    Opened for writing it makes the folder and file, brings the schema up to date, and holds a lock beside it until
    it is closed. Each write is one transaction: whenever the process is killed, it is there as a whole or not at all.
    Every refusal of the database or the disk is a StorageError that says what to do.
    """

    def __init__(self, url: URL, database: Engine, lock: FileLock | None, *, write: bool, alive: bool):
        self._url = url
        self._engine = database
        self._lock = lock
        self._write = write
        self._alive = alive

    @classmethod
    def open(cls, url: str, *, write: bool = False) -> Self:
        """Opens a SQLAlchemy URL or the path of an SQLite file.

        Raises:
            NotFoundError: for reading, when there are no runs yet.
            StorageError: when it cannot be opened, another search writes it, or a newer evoflash made it.
        """
        where = location.resolve(url)
        if write:
            database, lock = opening.open_writer(where)
            return cls(where, database, lock, write=True, alive=True)
        database, alive = opening.open_reader(where)
        return cls(where, database, None, write=False, alive=alive)

    def close(self) -> None:
        """Lets go of the database and the writer's lock."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_run(
        self,
        *,
        strategy: str,
        seed: int,
        target: str,
        problem: Problem,
        plan: Mapping[str, Any],
        machine: Mapping[str, Any],
        label: str | None = None,
    ) -> int:
        """A new run, running; answers its id. `label` says what is searched where that is not the problem alone."""
        row = insert(RunRow).values(
            created_at=datetime.now(UTC),
            status="running",
            stop_reason="",
            strategy=strategy,
            seed=seed,
            target=target,
            problem=problem.to_dict(),
            problem_label=(label or problem.label)[:LABEL],
            plan=dict(plan),
            machine=dict(machine),
        )
        with self._writing("begin a run") as connection:
            key = connection.execute(row).inserted_primary_key
        if key is None:
            raise StorageError("the database gave the run no id; check the database")
        return key[0]

    def record(
        self,
        run_id: int,
        candidate: Candidate,
        evaluation: Evaluation,
        source_text: str | None,
        language: str | None = None,
        elapsed_s: float | None = None,
    ) -> int:
        """One finished candidate, in one commit; its parents must be recorded already. Answers its id.

        Args:
            elapsed_s: seconds that the run has searched by now; kept, so that a run that is killed knows them.

        Raises:
            StorageError: also when the run has this index already, or lacks a parent.
        """
        source = (source_text, language) if source_text is not None else None
        with self._writing(f"record candidate {candidate.index} of run {run_id}") as connection:
            if elapsed_s is not None:
                writing.update_run(connection, run_id, {"elapsed_s": elapsed_s})
            return writing.write_candidate(connection, run_id, candidate, evaluation, source)

    def record_finals(self, run_id: int, finals: Finals) -> None:
        """The finals of a run, in place of earlier ones."""
        with self._writing(f"record the finals of run {run_id}") as connection:
            write_finals(connection, run_id, finals)

    def record_insight(self, run_id: int, generation: int, kind: str, text: str, data: Mapping[str, Any]) -> None:
        """Something that was learnt during a run."""
        with self._writing(f"record an insight of run {run_id}") as connection:
            writing.write_insight(connection, run_id, generation, kind, text, data)

    def finish_run(self, run_id: int, *, status: str, reason: str, elapsed_s: float) -> None:
        """Ends a run: "done", "interrupted" or "failed", why, and how many seconds it searched in all."""
        values = {"status": status, "stop_reason": reason, "elapsed_s": elapsed_s, "finished_at": datetime.now(UTC)}
        with self._writing(f"finish run {run_id}") as connection:
            writing.update_run(connection, run_id, values)

    def reopen_run(self, run_id: int) -> None:
        """Sets a run running again."""
        with self._writing(f"reopen run {run_id}") as connection:
            writing.update_run(connection, run_id, {"status": "running", "stop_reason": "", "finished_at": None})

    def runs(self) -> list[RunSummary]:
        """All runs, the earliest first."""
        with self._reading("list the runs") as connection:
            return [self._judged(run) for run in reading.read_runs(connection)]

    def run(self, run_id: int | None = None) -> RunSummary:
        """One run; the latest where no id is given.

        Raises:
            NotFoundError: names the runs that exist.
        """
        with self._reading("read a run") as connection:
            known = list(connection.scalars(select(RunRow.id).order_by(RunRow.id)))
            if not known:
                raise NotFoundError(f"there are no runs in {location.shown(self._url)} yet; run `evoflash search`")
            if run_id is not None and run_id not in known:
                named = ", ".join(str(each) for each in known[-20:])
                raise NotFoundError(f"there is no run {run_id}; choose from: {'… ' if len(known) > 20 else ''}{named}")
            return self._judged(reading.read_runs(connection, known[-1] if run_id is None else run_id)[0])

    def group(self, run_id: int | None = None) -> list[RunSummary]:
        """The runs of the search that a run belongs to, by id: those over its other shapes and itself.

        Raises:
            NotFoundError: when there is no such run; names those that exist.
        """
        run = self.run(run_id)
        if run.group_id is None:
            return [run]
        return [each for each in self.runs() if each.group_id == run.group_id]

    def form_group(self, run_ids: Sequence[int]) -> None:
        """Notes that runs belong to one search over several shapes."""
        with self._writing(f"group the runs {', '.join(map(str, run_ids))}") as connection:
            for run_id in run_ids:
                writing.update_run(connection, run_id, {"group_id": run_ids[0]})

    def recorded(self, run_id: int) -> list[tuple[Candidate, Evaluation]]:
        """Everything that a run evaluated, by index, exactly as recorded."""
        chosen = select(CandidateRow.id).where(CandidateRow.run_id == run_id)
        with self._reading(f"read the candidates of run {run_id}") as connection:
            found = reading.read_candidates(connection, chosen, sources=False)
        return [(stored.candidate, stored.evaluation) for stored in found]

    def finished_by_source(self, run_id: int, statuses: Sequence[str]) -> dict[str, int]:
        """Digests of the sources of a run's candidates that were judged in full and ended so -> the candidates' ids."""
        chosen = (CandidateRow.run_id == run_id, CandidateRow.status.in_(statuses), CandidateRow.quick.is_(False))
        wanted = select(CandidateRow.source_digest, CandidateRow.id).where(*chosen).order_by(CandidateRow.index)
        with self._reading(f"read the candidates of run {run_id}") as connection:
            return {digest: key for digest, key in connection.execute(wanted) if digest is not None}

    def outcomes(self, run_id: int) -> list[Outcome]:
        """Every candidate of a run in one line, in the order in which they finished."""
        columns = [getattr(CandidateRow, name) for name in Outcome.__dataclass_fields__]
        chosen = select(*columns).where(CandidateRow.run_id == run_id).order_by(CandidateRow.id)
        with self._reading(f"read the candidates of run {run_id}") as connection:
            return [Outcome(*row) for row in connection.execute(chosen)]

    def tally(self, run_id: int) -> list[Tally]:
        """The candidates of a run, counted by family, operator and status."""
        with self._reading(f"count the candidates of run {run_id}") as connection:
            return reading.read_tally(connection, run_id)

    def improvements(self, run_id: int) -> list[tuple[int, Outcome]]:
        """The candidates that made the best of a run better, each after how many that had finished, itself included."""
        with self._reading(f"read the improvements of run {run_id}") as connection:
            return reading.read_improvements(connection, run_id)

    def fastest(self, run_id: int, count: int = 1, but: Sequence[int] = ()) -> list[int]:
        """The ids of a run's fastest right candidates, leaving these indices out."""
        with self._reading(f"read the fastest of run {run_id}") as connection:
            return reading.read_fastest(connection, run_id, count, but)

    def finals(self, run_id: int) -> Finals | None:
        """The finals of a run as recorded; None before they ran."""
        with self._reading(f"read the finals of run {run_id}") as connection:
            return read_finals(connection, run_id)

    def candidate(self, candidate_id: int) -> StoredCandidate:
        """One candidate with its evidence and source.

        Raises:
            NotFoundError: when there is none with this id.
        """
        with self._reading(f"read candidate {candidate_id}") as connection:
            found = reading.read_candidates(connection, select(literal(candidate_id)))
        return found[0] if found else _no_candidate(candidate_id)

    def candidate_ids(self, run_id: int, indices: Sequence[int]) -> dict[int, int]:
        """Indices in a run -> ids.

        Raises:
            NotFoundError: when the run has none with one of them.
        """
        wanted = select(CandidateRow.index, CandidateRow.id).where(
            CandidateRow.run_id == run_id, CandidateRow.index.in_(indices)
        )
        with self._reading(f"find candidates of run {run_id}") as connection:
            found: dict[int, int] = {row[0]: row[1] for row in connection.execute(wanted)}
        for index in indices:
            if index not in found:
                raise NotFoundError(f"run {run_id} has no candidate {index}; see `evoflash runs show {run_id}`")
        return found

    def candidate_id(self, run_id: int, index: int) -> int:
        """The id of a run's candidate.

        Raises:
            NotFoundError: when the run has none with this index.
        """
        return self.candidate_ids(run_id, [index])[index]

    def ancestry(self, candidate_id: int) -> list[Ancestor]:
        """A candidate and every ancestor of it, each once, nearest first.

        Raises:
            NotFoundError: when there is no candidate with this id.
        """
        with self._reading(f"read the lineage of candidate {candidate_id}") as connection:
            return reading.read_ancestry(connection, candidate_id) or _no_candidate(candidate_id)

    def insights(self, run_id: int) -> list[Insight]:
        """What was learnt during a run, in the order in which it was."""
        columns = [getattr(InsightRow, name) for name in Insight.__dataclass_fields__]
        chosen = select(*columns).where(InsightRow.run_id == run_id).order_by(InsightRow.id)
        with self._reading(f"read the insights of run {run_id}") as connection:
            return [Insight(*row) for row in connection.execute(chosen)]

    def _judged(self, run: RunSummary) -> RunSummary:
        """A run that says it is running while nobody holds the writer's lock was killed."""
        killed = run.status == "running" and not self._alive
        return replace(run, status="interrupted", stop_reason=opening.KILLED) if killed else run

    @contextlib.contextmanager
    def _writing(self, doing: str) -> Iterator[Connection]:
        if not self._write:
            raise StorageError(f"cannot {doing}: {location.shown(self._url)} is open for reading; open it for writing")
        with explained(self._url, doing), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _reading(self, doing: str) -> Iterator[Connection]:
        with explained(self._url, doing), self._engine.connect() as connection:
            yield connection


def _no_candidate(candidate_id: int) -> Any:
    raise NotFoundError(f"there is no candidate {candidate_id}; `evoflash runs best` names the best of a run")
