"""The search: one natural pass from a problem to the best kernel. Start reading here.

    Proposer.ask(archive) -> Candidate          which genome to try, from which parents
      -> Template.render  -> Source             one self-contained file
      -> Toolchain.build  -> Build              many at once
      -> Evaluator        -> Evaluation         right? fast? in a process that may die, one at a time
      -> RunStore.record, Archive.add, Proposer.tell     … until the budget is spent
      -> finals: the best few on every case, then interleaved against the baselines, in a fresh process

Candidates finish in any order, but are told to the proposer in the order of their numbers, and number n is proposed
when all but the last `window` before it have been told. So proposals are a function of the seed and the results alone,
and a run is resumed by telling the recorded results again: what was in flight is proposed anew, the same.
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from pathlib import Path

import evoflash
from evoflash import memory, proposers
from evoflash.archive import Archive, Member
from evoflash.candidate import Candidate
from evoflash.environment import git_state
from evoflash.errors import StorageError
from evoflash.evaluation import Evaluation, Finals, Status
from evoflash.evaluator import Evaluator
from evoflash.executors import Stations, Throughput
from evoflash.finals import Contest
from evoflash.insights import GENERATION, is_due, observe
from evoflash.patience import Patience
from evoflash.pipeline import Pipeline
from evoflash.plan import Plan
from evoflash.progress import Progress
from evoflash.store import RunStore
from evoflash.targets import Target
from evoflash.template import Source, load
from evoflash.toolchain import Toolchain


@dataclass(frozen=True)
class Outcome:
    """How a search ended; `finals` is None when nothing correct was found."""

    run_id: int
    reason: str
    finals: Finals | None
    throughput: Throughput


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
        spaces = {name: each.space(self.problem, target.facts) for name, each in self.templates.items()}
        self.spaces = memory.seeded(spaces, plan.warm)
        self.proposer = proposers.create(plan.strategy, self.spaces, plan.seed)
        self.archive = Archive()
        self.toolchain = toolchain
        self.evaluator = Evaluator(
            self.problem,
            target,
            limits=plan.limits,
            samples=plan.effort.samples,
            quick_samples=plan.effort.quick_samples,
            deadline_s=plan.evaluate_deadline_s,
        )
        self.stations = Stations(plan.builders, take_turns=target.builds_disturb_timing)
        self.pipeline = Pipeline(toolchain, self.evaluator, self.stations)
        self.store = store
        self.progress = progress
        self.run_id = run_id
        recorded = store.recorded(run_id) if run_id is not None else []
        self._recorded = {candidate.index: (candidate, evaluation) for candidate, evaluation in recorded}
        self._proposed: list[Candidate] = []
        self._known: dict[str, Evaluation] = {}  # results of earlier runs, by their source
        self._sources: dict[int, Source] = {}  # of the candidates in flight
        self._results: dict[int, Evaluation] = {}  # that wait until the proposer may be told
        self._best_us: float | None = None
        self._patience = Patience(plan.effort.patience)
        self._stop_reason = ""
        self._observed = (
            max((each.generation for each in store.insights(run_id)), default=0) if run_id is not None else 0
        )
        self._spent_s = (store.run(run_id).elapsed_s or 0.0) if run_id is not None else 0.0
        self._start = time.monotonic()
        self._worked_s = time.thread_time()

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
            self._observe()
            throughput = self._throughput()
            finals = self._finals()
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            with contextlib.suppress(StorageError):  # the database may be what failed; the first error counts
                self._end("interrupted" if interrupted else "failed", "interrupted" if interrupted else str(error))
            raise
        self._end("done", self._stop_reason)
        assert self.run_id is not None
        return Outcome(self.run_id, self._stop_reason, finals, throughput)

    def _begin(self) -> None:
        """Brings the worker up, and writes the run's head with everything that is known of the machine."""
        machine = {"device": self.target.device, "facts": dict(self.target.facts), **self.target.details}
        machine |= {**self.evaluator.start(), "evoflash": evoflash.__version__, "git": git_state(Path.cwd())}
        if self.run_id is not None:
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
        if self.plan.reuse:
            self._known = memory.results(self.store, self.run_id, self.plan.model_dump(mode="json"), machine)
        self.progress.baselines(self.evaluator.baselines())
        self._start, self._worked_s = time.monotonic(), time.thread_time()

    def _propose(self) -> None:
        """Fills the window with new candidates."""
        while len(self._proposed) - len(self.archive) < self.plan.window and not self._is_spent():
            proposal = self.proposer.ask(self.archive)
            if proposal is None:
                self._stop_reason = "every genome has been tried"
                return
            candidate = proposal.numbered(len(self._proposed))
            self.archive.propose(candidate.family, candidate.genome)
            self._proposed.append(candidate)
            self._send(candidate)

    def _is_spent(self) -> bool:
        if len(self._proposed) <= max(self._recorded, default=-1):
            return False  # what is on record was proposed, whatever the clock says now
        if len(self._proposed) >= self.plan.effort.budget:
            self._stop_reason = f"{self.plan.effort.budget} candidates tried"
        elif self.elapsed_s >= 60 * self.plan.effort.minutes:
            self._stop_reason = f"{self.plan.effort.minutes:g} minutes spent"
        elif self._patience.is_over:
            self._stop_reason = str(self._patience)
        return bool(self._stop_reason)

    def _send(self, candidate: Candidate) -> None:
        """Renders a candidate and sends it down the pipeline, unless its result is on record."""
        source = self.templates[candidate.family].render(candidate.genome, self.problem, self.target.facts)
        if candidate.index not in self._recorded:
            self._sources[candidate.index] = source
            if source.digest in self._known:
                self._take_over(candidate, source, self._known.pop(source.digest))
            else:
                self.pipeline.submit(candidate, source)
            return
        recorded, evaluation = self._recorded[candidate.index]
        if candidate != recorded:
            raise StorageError(
                f"run {self.run_id} cannot be resumed: candidate {candidate.index} would be {candidate.family} "
                f"{candidate.genome.digest}, on record is {recorded.family} {recorded.genome.digest}; "
                "templates, spaces or evoflash have changed since, so begin a new search"
            )
        self._known.pop(source.digest, None)
        self.pipeline.remember(candidate, source, evaluation)
        self._improves(evaluation)
        self._results[candidate.index] = evaluation

    def _take_over(self, candidate: Candidate, source: Source, evaluation: Evaluation) -> None:
        """A result that an earlier run got for the same source; a twin of it is noticed as of any other."""
        self.pipeline.remember(candidate, source, evaluation)
        self._results[candidate.index] = evaluation
        self._record(candidate, evaluation)

    def _collect(self) -> None:
        """Records what has finished; waits for it, unless there is something to learn from already."""
        self.progress.update(self.pipeline.building, self.pipeline.examining)
        if len(self.archive) in self._results:
            return
        for candidate, evaluation in self.pipeline.wait():
            self._results[candidate.index] = evaluation
            if evaluation.status is not Status.DUPLICATE:
                self._record(candidate, evaluation)

    def _learn(self) -> None:
        """Tells the proposer every result whose turn it is; each makes room for one proposal."""
        while (index := len(self.archive)) in self._results:
            candidate, evaluation = self._proposed[index], self._results.pop(index)
            if index in self._sources:  # a twin: its elder has a smaller number, so its result is known by now
                evaluation = self._inherit(evaluation)
                self._record(candidate, evaluation)
            member = self.archive.add(candidate, evaluation)
            self._patience.tell(member)
            self.proposer.tell(member)
            if is_due(len(self.archive)):
                self._observe()
            self._propose()

    def _observe(self) -> None:
        """Writes down what the results so far say; a resumed run does not write a generation again."""
        assert self.run_id is not None
        generation = -(-len(self.archive) // GENERATION)
        if generation > self._observed:
            self._observed = generation
            for each in observe(self.archive, self.spaces, self.target.facts, self.proposer):
                self.store.record_insight(self.run_id, generation, each.kind, each.text, each.data)

    def _inherit(self, twin: Evaluation) -> Evaluation:
        assert twin.duplicate_of is not None
        elder = self.archive.member(twin.duplicate_of).evaluation
        return twin.model_copy(update={"timings": elder.timings, "reason": f"{twin.reason} ({elder.status})"})

    def _record(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """A result goes into the database before anybody hears of it."""
        assert self.run_id is not None
        source = self._sources.pop(candidate.index)
        self.store.record(self.run_id, candidate, evaluation, source.text, source.language)
        self.progress.finished(candidate, evaluation, self._improves(evaluation))

    def _improves(self, evaluation: Evaluation) -> bool:
        fitness = evaluation.fitness_us if evaluation.status is Status.OK else None
        if fitness is None or (self._best_us is not None and fitness >= self._best_us):
            return False
        self._best_us = fitness
        return True

    def _finals(self) -> Finals | None:
        """The best few; if all of them fall, the next few."""
        assert self.run_id is not None
        ranking, count = self.archive.ok(), self.plan.effort.finalists
        contest = Contest(
            self.problem,
            self.target,
            self.templates,
            self.toolchain,
            self.stations,
            self.evaluator,
            sanitize=self.plan.sanitize,
        )
        standings: Finals | None = None
        for start in range(0, len(ranking), count):
            entrants = ranking[start : start + count]
            self.progress.note(f"finals: {len(entrants)} candidates on every case, then against the baselines")
            last = contest.hold(entrants, self.plan.effort.rounds)
            fallen = standings.finalists if standings is not None else ()
            standings = last.model_copy(update={"finalists": (*last.finalists, *fallen)})
            self.store.record_finals(self.run_id, standings)
            conditions = standings.conditions
            self.store.record_insight(self.run_id, 0, "conditions", str(conditions), conditions.model_dump())
            for name, words in standings.sanitized.items():
                self.store.record_insight(self.run_id, 0, "sanitizers", f"{name}: {words}", {})
            if standings.winner is not None:
                return standings
        return None

    def _throughput(self) -> Throughput:
        """What the machine was busy with until here; kept among the run's insights."""
        assert self.run_id is not None
        wall_s = time.monotonic() - self._start
        fresh = len(self.archive) - len(self._recorded)
        throughput = self.stations.throughput(fresh, wall_s, driver_s=time.thread_time() - self._worked_s)
        self.store.record_insight(self.run_id, 0, "throughput", str(throughput), throughput.model_dump())
        return throughput

    def _end(self, status: str, reason: str) -> None:
        """Stops everything that runs and closes the run's record."""
        self.stations.drop()
        self.toolchain.stop()
        self.evaluator.close()
        self.stations.close()
        if self.run_id is not None:
            self.store.finish_run(self.run_id, status=status, reason=reason, elapsed_s=self.elapsed_s)

    @property
    def best(self) -> Member | None:
        """The fastest so far."""
        return self.archive.best

    @property
    def elapsed_s(self) -> float:
        """Seconds of search, those before an interruption included."""
        return self._spent_s + time.monotonic() - self._start
