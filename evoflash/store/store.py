"""The database of runs, candidates, lineage and evidence. The search writes it; everything else only reads."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, Engine, insert, literal, select
from sqlalchemy.engine import URL

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.profile import Profile
from evoflash.errors import NotFoundError, StorageError
from evoflash.problems.base import Problem
from evoflash.store import location, opening, reading, writing
from evoflash.store.claims import Claims
from evoflash.store.engine import decoded, explained, snapshots
from evoflash.store.finals import read_finals, write_finals
from evoflash.store.models import CandidateRow, InsightRow, RunRow
from evoflash.store.records import (
    Ancestor,
    CandidateSummary,
    DeviceTally,
    Insight,
    Outcome,
    Relative,
    RunSummary,
    StoredCandidate,
    Tally,
    Written,
)
from evoflash.store.rows import checked

LABEL = 255  # maximum length of a problem's label in the database


class RunStore:
    """The runs of one database. An SQLite file has one writer, a PostgreSQL server any number; each run has one.

    Opening for writing creates an SQLite file and its folder, takes its lock until the store is closed, and migrates
    the schema. Each write is one transaction, so that it is stored completely or not at all when the process is killed.
    Database and disk errors are StorageErrors that say what to do.
    """

    def __init__(self, url: URL, database: Engine, claims: Claims, *, write: bool):
        self._url = url
        self._engine = database
        self._snapshots = snapshots(database)
        self._claims = claims
        self._write = write
        self._shared: Connection | None = None  # of `together`

    @classmethod
    def open(cls, url: str, *, write: bool = False) -> Self:
        """Opens a SQLAlchemy URL or the path of an SQLite file.

        Raises:
            NotFoundError: when it is opened for reading and there are no runs yet.
            StorageError: when it cannot be opened, a newer evoflash wrote it, or it is an SQLite file that another
                search is writing.
            MissingError: when the package that speaks to the server is not installed.
        """
        where = location.resolve(url)
        database, claims = opening.open_writer(where) if write else opening.open_reader(where)
        return cls(where, database, claims, write=write)

    def close(self) -> None:
        """Closes the database and ends the claims on its runs."""
        self._engine.dispose()
        self._claims.close()

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
        """Creates a run with status "running"; returns its id. `label` replaces the problem's label."""
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
            self._claims.claim(connection, key[0])  # before others see the run
        return key[0]

    def record(
        self,
        run_id: int,
        candidate: Candidate,
        evaluation: Evaluation,
        source_text: str | None,
        language: str | None = None,
        elapsed_s: float | None = None,
        source_digest: str | None = None,
    ) -> int:
        """Records a finished candidate in one transaction; its parents must be recorded already. Returns its id.

        Args:
            elapsed_s: seconds of search so far; stored, so that it is known for a killed run.
            source_digest: the SHA-256 of the text, for who has it already.

        Raises:
            StorageError: also when the run already has this index, or a parent is missing.
        """
        source = (source_text, language) if source_text is not None else None
        with self._writing(f"record candidate {candidate.index} of run {run_id}") as connection:
            if elapsed_s is not None:
                writing.update_run(connection, run_id, {"elapsed_s": elapsed_s})
            return writing.write_candidate(connection, run_id, candidate, evaluation, source, source_digest)

    def record_finals(self, run_id: int, finals: Finals) -> None:
        """Records the finals of a run, replacing earlier ones."""
        with self._writing(f"record the finals of run {run_id}") as connection:
            write_finals(connection, run_id, finals)

    def record_insight(self, run_id: int, generation: int, kind: str, text: str, data: Mapping[str, Any]) -> None:
        """Records an observation about a run."""
        with self._writing(f"record an insight of run {run_id}") as connection:
            writing.write_insight(connection, run_id, generation, kind, text, data)

    def record_profile(self, candidate_id: int, profile: Profile) -> None:
        """Records a candidate's profile, replacing an earlier one.

        Raises:
            NotFoundError: when there is no candidate with this id.
        """
        with self._writing(f"record a profile of candidate {candidate_id}") as connection:
            writing.write_profile(connection, candidate_id, profile)

    def finish_run(self, run_id: int, *, status: str, reason: str, elapsed_s: float) -> None:
        """Ends a run with a status ("done", "interrupted" or "failed"), a reason and its total seconds of search."""
        values = {"status": status, "stop_reason": reason, "elapsed_s": elapsed_s, "finished_at": datetime.now(UTC)}
        with self._writing(f"finish run {run_id}") as connection:
            writing.update_run(connection, run_id, values)
        with self._writing(f"finish run {run_id}") as connection:  # when its end is on record, and not before
            self._claims.give_up(connection, run_id)

    def reopen_run(self, run_id: int) -> None:
        """Sets the status of a run to "running" again.

        Raises:
            StorageError: also when another process is searching it.
        """
        with self._writing(f"reopen run {run_id}") as connection:
            self._claims.claim(connection, run_id)
            writing.update_run(connection, run_id, {"status": "running", "stop_reason": "", "finished_at": None})

    def runs(self) -> list[RunSummary]:
        """All runs, oldest first."""
        with self._reading("list the runs") as connection:
            found = reading.read_runs(connection)
        return self._checked(found)

    def run(self, run_id: int | None = None) -> RunSummary:
        """One run, by default the latest.

        Raises:
            NotFoundError: when there is no such run; names the existing ones.
        """
        with self._reading("read a run") as connection:
            known = list(connection.scalars(select(RunRow.id).order_by(RunRow.id)))
            if not known:
                raise NotFoundError(f"there are no runs in {location.shown(self._url)} yet; run `evoflash search`")
            if run_id is not None and run_id not in known:
                named = ", ".join(str(each) for each in known[-20:])
                raise NotFoundError(f"there is no run {run_id}; choose from: {'… ' if len(known) > 20 else ''}{named}")
            found = reading.read_runs(connection, known[-1] if run_id is None else run_id)
        return self._checked(found)[0]

    def group(self, run_id: int | None = None) -> list[RunSummary]:
        """All runs of the search that a run belongs to, ordered by id: itself, and those of the other shapes.

        Raises:
            NotFoundError: when there is no such run; names the existing ones.
        """
        run = self.run(run_id)
        if run.group_id is None:
            return [run]
        return [each for each in self.runs() if each.group_id == run.group_id]

    def form_group(self, run_ids: Sequence[int]) -> None:
        """Marks runs as belonging to one search over several shapes."""
        with self._writing(f"group the runs {', '.join(map(str, run_ids))}") as connection:
            for run_id in run_ids:
                writing.update_run(connection, run_id, {"group_id": run_ids[0]})

    def recorded(self, run_id: int) -> list[tuple[Candidate, Evaluation]]:
        """All evaluated candidates of a run, ordered by index."""
        return [(stored.candidate, stored.evaluation) for stored in self.stored(run_id)]

    def stored(self, run_id: int, *, after: int = 0, limit: int | None = None) -> list[StoredCandidate]:
        """Candidates of a run with their evidence and without sources, ordered by index.

        Args:
            after: only those that were recorded after the candidate with this id.
            limit: at most so many, the earliest recorded.
        """
        own = (CandidateRow.run_id == run_id, CandidateRow.id > after)
        with self._reading(f"read the candidates of run {run_id}") as connection:
            found = connection.scalars(select(CandidateRow.id).where(*own).order_by(CandidateRow.id).limit(limit)).all()
            if not found:
                return []
            chosen = select(CandidateRow.id).where(*own, CandidateRow.id <= found[-1])
            return reading.read_candidates(connection, chosen, sources=False)

    def finished_by_source(self, run_id: int, statuses: Sequence[str]) -> dict[str, int]:
        """Source digest -> candidate id, of a run's fully evaluated candidates with one of these statuses."""
        chosen = (CandidateRow.run_id == run_id, CandidateRow.status.in_(statuses), CandidateRow.quick.is_(False))
        wanted = select(CandidateRow.source_digest, CandidateRow.id).where(*chosen).order_by(CandidateRow.index)
        with self._reading(f"read the candidates of run {run_id}") as connection:
            return {digest: key for digest, key in connection.execute(wanted) if digest is not None}

    def outcomes(self, run_id: int) -> list[Outcome]:
        """The outcomes of all candidates of a run, in the order in which they finished."""
        columns = [getattr(CandidateRow, name) for name in Outcome.__dataclass_fields__]
        chosen = select(*columns).where(CandidateRow.run_id == run_id).order_by(CandidateRow.id)
        with self._reading(f"read the candidates of run {run_id}") as connection:
            return [checked(Outcome, row) for row in connection.execute(chosen).mappings()]

    def summaries(self, run_id: int) -> tuple[list[CandidateSummary], list[CandidateSummary]]:
        """A run's candidates in the order in which they finished, and their parents in other runs."""
        with self._reading(f"read the candidates of run {run_id}") as connection:
            return reading.read_summaries(connection, run_id)

    def sources(self, candidate_ids: Sequence[int]) -> dict[int, Written]:
        """Id -> source, of the candidates that have one on record; at most some thousands at once."""
        with self._reading("read sources") as connection:
            return reading.read_sources(connection, candidate_ids)

    def tally(self, run_id: int) -> list[Tally]:
        """Counts of a run's candidates by family, operator and status."""
        with self._reading(f"count the candidates of run {run_id}") as connection:
            return reading.read_tally(connection, run_id)

    def devices(self, run_id: int) -> list[DeviceTally]:
        """Counts of a run's candidates by the device that examined them."""
        with self._reading(f"count the candidates of run {run_id}") as connection:
            return reading.read_devices(connection, run_id)

    def improvements(self, run_id: int) -> list[tuple[int, Outcome]]:
        """The candidates that improved the best time of a run, each with the number of candidates finished by then."""
        with self._reading(f"read the improvements of run {run_id}") as connection:
            return reading.read_improvements(connection, run_id)

    def fastest(self, run_id: int, count: int = 1, but: Sequence[int] = ()) -> list[int]:
        """The ids of a run's fastest correct candidates, except the indices `but`."""
        with self._reading(f"read the fastest of run {run_id}") as connection:
            return reading.read_fastest(connection, run_id, count, but)

    def finals(self, run_id: int) -> Finals | None:
        """The finals of a run; None before they ran."""
        with self._reading(f"read the finals of run {run_id}") as connection:
            return read_finals(connection, run_id)

    def candidate(self, candidate_id: int) -> StoredCandidate:
        """One candidate with its evidence and source.

        Raises:
            NotFoundError: when there is no candidate with this id.
        """
        with self._reading(f"read candidate {candidate_id}") as connection:
            found = reading.read_candidates(connection, select(literal(candidate_id)))
        return found[0] if found else _no_candidate(candidate_id)

    def profile(self, candidate_id: int) -> Profile | None:
        """The latest profile of a candidate; None where it was not profiled."""
        with self._reading(f"read the profile of candidate {candidate_id}") as connection:
            return reading.read_profile(connection, candidate_id)

    def candidate_ids(self, run_id: int, indices: Sequence[int]) -> dict[int, int]:
        """Index in a run -> id, for several indices.

        Raises:
            NotFoundError: when the run has no candidate with one of the indices.
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
            NotFoundError: when the run has no candidate with this index.
        """
        return self.candidate_ids(run_id, [index])[index]

    def ancestry(self, candidate_id: int) -> list[Ancestor]:
        """A candidate and all its ancestors without duplicates, nearest first.

        Raises:
            NotFoundError: when there is no candidate with this id.
        """
        with self._reading(f"read the lineage of candidate {candidate_id}") as connection:
            return reading.read_ancestry(connection, candidate_id) or _no_candidate(candidate_id)

    def relatives(self, run_id: int) -> list[Relative]:
        """The candidates of a run, and their parents in other runs, ordered by id."""
        with self._reading(f"read the lineage of run {run_id}") as connection:
            return reading.read_relatives(connection, run_id)

    def insights(self, run_id: int) -> list[Insight]:
        """The observations about a run, oldest first."""
        columns = [getattr(InsightRow, name) for name in Insight.__dataclass_fields__]
        chosen = select(*columns).where(InsightRow.run_id == run_id).order_by(InsightRow.id)
        with self._reading(f"read the insights of run {run_id}") as connection:
            return [checked(Insight, row) for row in connection.execute(chosen).mappings()]

    def _checked(self, runs: Sequence[RunSummary]) -> list[RunSummary]:
        """The runs; those that are marked as running but abandoned are interrupted: their process was killed."""
        running = {run.id for run in runs if run.status == "running"}
        with explained(self._url, "ask which runs are being searched"):
            killed = self._claims.abandoned(running)
        return [
            replace(run, status="interrupted", stop_reason=opening.KILLED) if run.id in killed else run for run in runs
        ]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Makes one transaction of all that is written meanwhile: to wait for the disk takes as long as to write.

        It is stored completely or not at all.
        """
        with self._writing("record results") as connection:
            self._shared = connection
            try:
                yield
            finally:
                self._shared = None

    @contextlib.contextmanager
    def _writing(self, doing: str) -> Iterator[Connection]:
        if not self._write:
            raise StorageError(f"cannot {doing}: {location.shown(self._url)} is open read-only; open it for writing")
        if self._shared is not None:
            with explained(self._url, doing):
                yield self._shared
            return
        with explained(self._url, doing), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _reading(self, doing: str) -> Iterator[Connection]:
        with explained(self._url, doing), decoded(self._url, doing), self._snapshots.connect() as connection:
            yield connection


def _no_candidate(candidate_id: int) -> Any:
    raise NotFoundError(f"there is no candidate {candidate_id}; `evoflash runs best` shows the best of a run")
