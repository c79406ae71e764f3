"""The search: one natural pass from a problem to the best kernel. Start reading here.

    Proposer.ask(archive) -> Candidate          which genome to try, from which parents
      -> Template.render  -> Source             one self-contained file
      -> Toolchain.build  -> Build              many at once
      -> Evaluator        -> Evaluation         right? fast? in a process that may die, one at a time
      -> RunStore.record, Archive.add, Proposer.tell     … until the budget is spent
      -> finals: the best few on every case, then interleaved against the baselines, in a fresh process

A search has one task for each shape (`task.py`), mostly just one. Several take turns, whoever has proposed least, and
share builders, device, budget and history: every few proposals a task tries a genome that is among the best of another.

Candidates finish in any order, but are told to the proposer in the order of proposal, and one is proposed when all but
the last `window` before it have been told. So proposals are a function of the seed and the results alone, and a search
is resumed by telling the recorded results again: what was in flight is proposed anew, the same.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import evoflash
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.candidate import Candidate
from evoflash.core.finals import Finals
from evoflash.core.status import Status
from evoflash.errors import StorageError, WorkerError
from evoflash.progress import Progress
from evoflash.run import warm_start
from evoflash.run.pipeline import Pipeline
from evoflash.run.plan import Plan
from evoflash.run.task import Task
from evoflash.run.worker_pools import Throughput, WorkerPools
from evoflash.store import RunStore
from evoflash.targets import Target
from evoflash.targets.environment import git_state


@dataclass(frozen=True)
class Outcome:
    """How a task ended; `finals` is None when nothing correct was found."""

    run_id: int
    reason: str
    finals: Finals | None
    throughput: Throughput


class Search:
    """One search: a task for each plan.

    Args:
        plans: alike but for shape, window, families and what they begin with; effort and builders are those of all.
        store: open for writing.
        run_ids: the runs to go on with, in the order of the plans; none begins new ones.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        target: Target,
        toolchain: Toolchain,
        store: RunStore,
        progress: Progress,
        run_ids: Sequence[int] = (),
    ):
        self.plan = plans[0]
        self.target = target
        self.toolchain = toolchain
        self.store = store
        self.progress = progress
        self._is_new = not run_ids
        ids = run_ids or [None] * len(plans)
        self.tasks = [Task(plan, target, store, run_id) for plan, run_id in zip(plans, ids, strict=True)]
        self.pools = WorkerPools(self.plan.builders, take_turns=target.builds_disturb_timing)
        self.pipeline: Pipeline[Task] = Pipeline(toolchain, self.pools)
        self._window = max(plan.window for plan in plans)
        self._in_flight: deque[tuple[Task, Candidate]] = deque()  # in the order of proposal
        self._stop_reason = ""
        self._spent_s = max((store.run(run_id).elapsed_s or 0.0 for run_id in run_ids), default=0.0)
        self._start = time.monotonic()
        self._worked_s = time.thread_time()

    def run(self) -> list[Outcome]:
        """Searches until the budget is spent, then holds the finals of each task.

        Raises:
            KeyboardInterrupt: after everything that is known has been stored; the search can be resumed.
        """
        for task in self.tasks:
            task.require_valid_genomes()
        try:
            self._begin()
            self._propose()
            while self._in_flight:
                self._collect()
                self._learn()
            throughput = self._throughput()
            outcomes = [self._finish(task, throughput) for task in self.tasks]
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self._end("interrupted" if interrupted else "failed", "interrupted" if interrupted else str(error))
            raise
        self._end("done", self._stop_reason)
        return outcomes

    def _begin(self) -> None:
        """Brings the workers up, and writes the runs' heads with everything that is known of the machine."""
        known = {"device": self.target.device, "facts": dict(self.target.facts), **self.target.details}
        known |= {"evoflash": evoflash.__version__, "git": git_state(Path.cwd())}
        ready: list[tuple[Task, dict[str, object], str]] = []
        for task in self.tasks:
            if task.is_closed:  # of a search that was resumed: its history serves the others
                continue
            machine, failure = dict(known), ""
            try:
                machine |= task.evaluator.start()
                self.progress.baselines(task.plan.title, task.evaluator.baselines())
            except WorkerError as error:  # a shape that this machine cannot even measure does not stop the others
                if len(self.tasks) == 1 or task.recorded:
                    raise
                failure = str(error)
            ready.append((task, machine, failure))
        for task, machine, failure in ready:  # not before: who interrupts the above has begun none of them
            task.begin(machine)
            if failure:
                task.over = failure
                task.end("failed", failure, 0.0)
                self.progress.note(f"{task.plan.title} is left out: {failure}")
        if self._is_new and len(self.tasks) > 1:
            self.store.form_group([task.run_id for task in self.tasks if task.run_id is not None])
        if all(task.over for task in self.tasks):
            failures = ", ".join(f"{task.plan.title}: {task.over}" for task in self.tasks)
            raise WorkerError(f"none of the shapes can be measured ({failures}); run `evoflash doctor`")
        self._start, self._worked_s = time.monotonic(), time.thread_time()

    def _propose(self) -> None:
        """Fills the window with new candidates, of the task that has proposed least."""
        while len(self._in_flight) < self._window and not self._is_spent():
            turn = min((task for task in self.tasks if not task.over), key=lambda task: len(task.proposed))
            candidate = turn.propose(self._relatives(turn))
            if candidate is not None:
                self._in_flight.append((turn, candidate))
                self._send(turn, candidate)

    def _is_spent(self) -> bool:
        if all(task.over for task in self.tasks):
            return True
        if any(len(task.proposed) <= max(task.recorded, default=-1) for task in self.tasks):
            return False  # what is on record was proposed, whatever the clock says now
        effort, proposed = self.plan.effort, sum(len(task.proposed) for task in self.tasks)
        if proposed >= effort.budget:
            self._stop_reason = f"{effort.budget} candidates tried"
        elif self.elapsed_s >= 60 * effort.minutes:
            self._stop_reason = f"{effort.minutes:g} minutes spent"
        return bool(self._stop_reason)

    def _relatives(self, task: Task) -> list[Task]:
        """The other tasks, the one whose problem is most alike first."""
        others = [each for each in self.tasks if each is not task]
        return sorted(others, key=lambda other: warm_start.distance(other.problem.to_dict(), task.problem.to_dict()))

    def _send(self, task: Task, candidate: Candidate) -> None:
        """Renders a candidate and sends it down the pipeline, unless its result is on record."""
        source = task.render(candidate)
        evaluation = task.recall(candidate, source)
        if evaluation is None:
            self.pipeline.submit(task, candidate, source)
            return
        self.pipeline.remember(task, candidate, source, evaluation)
        task.results[candidate.index] = evaluation
        is_best = task.record(candidate, evaluation, self.elapsed_s)
        if candidate.index not in task.recorded:
            self.progress.finished(task.plan.title, candidate, evaluation, is_best)

    def _collect(self) -> None:
        """Records what has finished; waits for it, unless there is something to learn from already."""
        self.progress.update(self.pipeline.building, self.pipeline.examining)
        first, candidate = self._in_flight[0]
        if candidate.index in first.results:
            return
        for task, finished, evaluation in self.pipeline.wait():
            task.results[finished.index] = evaluation
            if evaluation.status is not Status.DUPLICATE:
                is_best = task.record(finished, evaluation, self.elapsed_s)
                self.progress.finished(task.plan.title, finished, evaluation, is_best)

    def _learn(self) -> None:
        """Tells every result whose turn it is; each makes room for one proposal."""
        while self._in_flight and self._in_flight[0][1].index in self._in_flight[0][0].results:
            task, candidate = self._in_flight.popleft()
            evaluation = task.results.pop(candidate.index)
            if evaluation.status is Status.DUPLICATE and candidate.index not in task.recorded:
                evaluation = task.inherit(evaluation)
                task.record(candidate, evaluation, self.elapsed_s)
                self.progress.finished(task.plan.title, candidate, evaluation, False)
            task.learn(candidate, evaluation)
            self._propose()

    def _finish(self, task: Task, throughput: Throughput) -> Outcome:
        """A task's finals, unless they are on record."""
        assert task.run_id is not None
        reason = task.over or self._stop_reason
        finals = task.finals() if task.is_closed else self._finals(task, task.run_id)
        if not task.is_closed:
            self.store.record_insight(task.run_id, 0, "throughput", str(throughput), throughput.model_dump())
            task.end("done", reason, self.elapsed_s)
        return Outcome(task.run_id, reason, finals if finals is not None and finals.winner else None, throughput)

    def _finals(self, task: Task, run_id: int) -> Finals | None:
        task.observe()
        contest, effort = task.contest(self.toolchain, self.pools, self.progress.note), self.plan.effort
        return contest.run_finals(
            task.archive.ok(), effort.finalists, effort.rounds, partial(self.store.record_finals, run_id)
        )

    def _throughput(self) -> Throughput:
        """What the machine was busy with until here."""
        wall_s = time.monotonic() - self._start
        fresh = sum(len(task.archive) - len(task.recorded) for task in self.tasks)
        return self.pools.throughput(fresh, wall_s, driver_s=time.thread_time() - self._worked_s)

    def _end(self, status: str, reason: str) -> None:
        """Stops everything that runs and closes the runs' records."""
        self.pools.drop()
        self.toolchain.stop()
        for task in self.tasks:
            with contextlib.suppress(StorageError):  # the database may be what failed; the first error counts
                task.end(status, reason, self.elapsed_s)
        self.pools.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds of search, those before an interruption included."""
        return self._spent_s + time.monotonic() - self._start
