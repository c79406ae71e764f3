"""The search: one natural pass from a problem to the best kernel. Start reading here.

    Proposer.ask(archive) -> Candidate          which genome to try, from which parents
      -> Template.render  -> Source             one self-contained file
      -> Toolchain.build  -> Build              many at once
      -> Evaluator        -> Evaluation         right? fast? in a process that may die; one at a time
      -> RunStore.record, Archive.add, Proposer.tell     … until the budget is spent
      -> finals: the best few on every case, then against the baselines, interleaved, in a fresh process

Candidates finish in any order, but they are told to the proposer in the order of their numbers, and number n is
proposed when all but the last `window` before it have been told. So proposals are a function of the seed and the
results alone, and a run is resumed by telling the recorded results again: what was in flight is proposed anew, the
same.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Protocol

from evoflash import proposers
from evoflash.archive import Archive, Member
from evoflash.candidate import Candidate
from evoflash.errors import StorageError
from evoflash.evaluation import Evaluation, Final, Finals, Stage, Status
from evoflash.evaluator import Evaluator, Finalist
from evoflash.executors import Stations
from evoflash.plan import Plan
from evoflash.store import RunStore
from evoflash.targets import Target
from evoflash.template import Source, load
from evoflash.toolchain import Build, Toolchain


class Progress(Protocol):
    """What a person is shown while a search runs; each method is called from the thread that searches."""

    def baselines(self, times_us: dict[str, float]) -> None:
        """PyTorch's own times, before the first candidate."""
        ...

    def update(self, building: int, examining: int, archive_size: int) -> None:
        """What is going on."""
        ...

    def finished(self, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result, which is in the database."""
        ...

    def note(self, text: str) -> None:
        """Something that a person may want to know."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a search ended: the run, why it stopped, and the finals (None when nothing correct was found)."""

    run_id: int
    reason: str
    finals: Finals | None
    best: Member | None


class Search:
    """One run of a plan.

    Args:
        store: open for writing.
        run_id: the run to go on with; None begins a new one.
    """

    def __init__(
        self,
        plan: Plan,
        target: Target,
        toolchain: Toolchain,
        store: RunStore,
        progress: Progress,
        run_id: int | None = None,
    ):
        self.plan = plan
        self.problem = plan.make_problem()
        self.target = target
        self.templates = {family: load(family, plan.templates) for family in plan.families}
        self.spaces = {name: each.space(self.problem, target.facts) for name, each in self.templates.items()}
        self.proposer = proposers.create(plan.strategy, self.spaces, plan.seed)
        self.archive = Archive()
        self.toolchain = toolchain
        self.stations = Stations(plan.builders, take_turns=target.builds_disturb_timing)
        self.evaluator = Evaluator(
            self.problem,
            target,
            limits=plan.limits,
            samples=plan.effort.samples,
            quick_samples=plan.effort.quick_samples,
            deadline_s=plan.evaluate_deadline_s,
        )
        self.store = store
        self.progress = progress
        self.run_id = run_id if run_id is not None else 0
        self._resumed = run_id is not None
        recorded = store.recorded(run_id) if run_id is not None else []
        self._recorded = {candidate.index: (candidate, evaluation) for candidate, evaluation in recorded}
        self._proposed: list[Candidate] = []
        self._sources: dict[int, Source] = {}
        self._elders: dict[str, int] = {}  # digest of a source or of machine code -> the first candidate that has it
        self._twins: dict[int, tuple[int, str, Build | None]] = {}
        self._results: dict[int, Evaluation] = {}
        self._builds: dict[Future[Build], Candidate] = {}
        self._examinations: dict[Future[Evaluation], Candidate] = {}
        self._best_us: float | None = None
        self._reason = ""
        self._busy_share = 0.0
        self._spent_s = (store.run(run_id).elapsed_s or 0.0) if run_id is not None else 0.0
        self._start = time.monotonic()

    def run(self) -> Outcome:
        """Searches until the budget is spent, then holds the finals.

        Raises:
            KeyboardInterrupt: after everything that is known has been stored; the run can be resumed.
        """
        for space in self.spaces.values():
            space.require_valid_genomes(random.Random(self.plan.seed))
        try:
            self._begin()
            self._propose()
            while len(self.archive) < len(self._proposed):
                self._collect()
                self._learn()
            self._busy_share = self.stations.busiest_share(time.monotonic() - self._start)
            finals = self._finals()
        except BaseException as error:
            with contextlib.suppress(StorageError):  # the database itself may be what failed; the first error counts
                self._end(
                    *(
                        ("interrupted", "interrupted")
                        if isinstance(error, KeyboardInterrupt)
                        else ("failed", str(error))
                    )
                )
            raise
        self._end("done", self._reason)
        return Outcome(self.run_id, self._reason, finals, self.archive.best)

    # Before.

    def _begin(self) -> None:
        machine = {"device": self.target.device, "facts": dict(self.target.facts), **self.target.details}
        machine |= self.evaluator.start()
        if self._resumed:
            self.store.reopen_run(self.run_id)
        else:
            self.run_id = self.store.begin_run(
                strategy=self.plan.strategy,
                seed=self.plan.seed,
                target=self.target.name,
                problem=self.problem,
                plan=self.plan.model_dump(mode="json"),
                machine=machine,
            )
        self.progress.baselines(self.evaluator.baselines())
        self._start = time.monotonic()

    # The loop.

    def _propose(self) -> None:
        """Fills the window with new candidates and sends their sources to the builders."""
        while len(self._proposed) - len(self.archive) < self.plan.window and not self._is_spent():
            proposal = self.proposer.ask(self.archive)
            if proposal is None:
                self._reason = "every genome has been tried"
                return
            candidate = proposal.numbered(len(self._proposed))
            self.archive.propose(candidate.family, candidate.genome)
            self._proposed.append(candidate)
            self._dispatch(candidate)

    def _is_spent(self) -> bool:
        if len(self._proposed) <= max(self._recorded, default=-1):
            return False  # what is on record was proposed, whatever the clock says now
        if len(self._proposed) >= self.plan.effort.budget:
            self._reason = f"{self.plan.effort.budget} candidates tried"
        elif self.elapsed_s >= 60 * self.plan.effort.minutes:
            self._reason = f"{self.plan.effort.minutes:g} minutes spent"
        return bool(self._reason)

    def _dispatch(self, candidate: Candidate) -> None:
        """Renders a candidate and has it built, unless its result, or an elder twin, is known."""
        source = self.templates[candidate.family].render(candidate.genome, self.problem, self.target.facts)
        self._sources[candidate.index] = source
        elder = self._elders.setdefault(source.digest, candidate.index)
        known = self._recorded.get(candidate.index)
        if known is not None:
            self._recall(candidate, *known)
        elif elder != candidate.index:
            self._twins[candidate.index] = (elder, "the same source", None)
        else:
            self._builds[self.stations.build(lambda: self.toolchain.build(source))] = candidate

    def _recall(self, candidate: Candidate, recorded: Candidate, evaluation: Evaluation) -> None:
        if candidate != recorded:
            raise StorageError(
                f"run {self.run_id} cannot be resumed: candidate {candidate.index} would be {candidate.family} "
                f"{candidate.genome.digest}, on record is {recorded.family} {recorded.genome.digest}; "
                "templates, spaces or evoflash have changed since, so begin a new search"
            )
        if evaluation.build is not None and evaluation.build.binary_digest is not None:
            self._elders.setdefault(evaluation.build.binary_digest, candidate.index)
        self._note_best(evaluation)
        self._results[candidate.index] = evaluation

    def _collect(self) -> None:
        """Waits until something has finished; sends what was built to the device, and records what was examined."""
        self.progress.update(len(self._builds), len(self._examinations), len(self.archive))
        pending = [*self._builds, *self._examinations]
        if not pending or len(self.archive) in self._results or len(self.archive) in self._twins:
            return
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            if future in self._builds:
                self._take_build(self._builds.pop(future), future.result())
            else:
                self._record(self._examinations.pop(future), future.result())

    def _take_build(self, candidate: Candidate, build: Build) -> None:
        verdict = self.evaluator.screen(build)
        if verdict is not None:
            self._record(candidate, verdict)
            return
        assert build.report.binary_digest is not None
        elder = self._elders.setdefault(build.report.binary_digest, candidate.index)
        if elder < candidate.index:
            self._twins[candidate.index] = (elder, "the same machine code", build)
        else:
            examine = self._examination(build)
            self._examinations[self.stations.examine(examine)] = candidate

    def _examination(self, build: Build) -> Callable[[], Evaluation]:
        return lambda: self.evaluator.examine(build, self._best_us)

    def _record(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """A result: first into the database, then to the person, then into the population when its number is up."""
        source = self._sources.pop(candidate.index)
        self.store.record(self.run_id, candidate, evaluation, source.text, source.language)
        self._results[candidate.index] = evaluation
        is_best = self._note_best(evaluation)
        self.progress.finished(candidate, evaluation, is_best)

    def _note_best(self, evaluation: Evaluation) -> bool:
        fitness = evaluation.fitness_us if evaluation.status is Status.OK else None
        if fitness is None or (self._best_us is not None and fitness >= self._best_us):
            return False
        self._best_us = fitness
        return True

    def _learn(self) -> None:
        """Tells the proposer every result whose turn it is; each makes room for one proposal."""
        while (index := len(self.archive)) < len(self._proposed):
            if index in self._twins:
                self._record(self._proposed[index], self._as_twin(*self._twins.pop(index)))
            if index not in self._results:
                return
            self.proposer.tell(self.archive.add(self._proposed[index], self._results.pop(index)))
            self._sources.pop(index, None)
            self._propose()

    def _as_twin(self, elder: int, what: str, build: Build | None) -> Evaluation:
        """A twin's result is its elder's, whose number is smaller, so it is known when the twin's turn comes."""
        known = list(self.archive)[elder].evaluation
        return Evaluation(
            status=Status.DUPLICATE,
            stage=Stage.BUILD if build is None else Stage.RESOURCES,
            reason=f"{what} as candidate {elder} ({known.status})",
            build=build.report if build is not None else None,
            timings=known.timings,
            duplicate_of=elder,
        )

    # After.

    def _finals(self) -> Finals | None:
        """The best few on every case that they claim, then against the baselines; if all fall, the next few."""
        ranking = self.archive.ok()
        count = self.plan.effort.finalists
        fallen: list[Final] = []
        for start in range(0, len(ranking), count):
            entrants = ranking[start : start + count]
            self.progress.note(f"finals: {len(entrants)} candidates on every case, then against the baselines")
            finalists, failed = self._enter(entrants)
            fallen += failed
            finals = self.evaluator.finals(finalists, self.plan.effort.rounds)
            finals = finals.model_copy(update={"finalists": (*finals.finalists, *fallen)})
            self.store.record_finals(self.run_id, finals)
            if finals.winner is not None:
                return finals
            fallen = list(finals.finalists)
        return None

    def _enter(self, members: Sequence[Member]) -> tuple[list[Finalist], list[Final]]:
        """Builds each finalist for every case that its template and genome admit."""
        wanted: dict[str, Future[Build]] = {}

        def library(source: Source) -> Future[Build]:
            if source.digest not in wanted:
                wanted[source.digest] = self.stations.build(lambda: self.toolchain.build(source))
            return wanted[source.digest]

        entries = []
        for member in members:
            template, genome = self.templates[member.candidate.family], member.candidate.genome
            own = library(template.render(genome, self.problem, self.target.facts))
            cases = [
                (case, library(template.render(genome, case.problem, self.target.facts)))
                for case in self.problem.cases()
                if not template.refusals(case.problem, self.target.facts)
                and template.space(case.problem, self.target.facts).is_valid(genome)
            ]
            entries.append((member.candidate.index, own, cases))
        finalists, failed = [], []
        for index, own, cases in entries:
            broken = next((build.result() for _, build in cases if build.result().library is None), None)
            main = own.result().library
            if broken is not None or main is None:
                report = broken or own.result()
                failed.append(Final(index=index, status=report.status or Status.BUILD_FAILED, reason=report.reason))
            else:
                built = [(case, path) for case, build in cases if (path := build.result().library) is not None]
                finalists.append(Finalist(index, main, built))
        return finalists, failed

    def _end(self, status: str, reason: str) -> None:
        """Stops everything that runs and closes the run's record."""
        self.stations.drop()
        self.toolchain.stop()
        self.evaluator.close()
        self.stations.close()
        if self.run_id:
            self.store.finish_run(self.run_id, status=status, reason=reason, elapsed_s=self.elapsed_s)

    @property
    def busy_share(self) -> float:
        """How busy the slowest resource was while candidates were searched: the builders, or the device."""
        return self._busy_share

    @property
    def elapsed_s(self) -> float:
        """Seconds of search, those before an interruption included."""
        return self._spent_s + time.monotonic() - self._start
