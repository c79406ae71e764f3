"""The search: one natural pass from a problem to the best kernel. Start reading here.

    Proposer.ask(archive) -> Candidate          which genome to try, from which parents
      -> Template.render  -> Source             one self-contained file
      -> Scheduler.build   -> Build             many at once
      -> Scheduler.examine -> Evaluation        right? fast? in a process that may die, one at a time on each device
      -> RunStore.record, Archive.add, Proposer.tell     … until the budget is spent
      -> finals: the best few on every case, then interleaved against the baselines, in a fresh process

A `Trial` (run/task.py) is one candidate on this way. A search has a task for each kernel that is searched for, usually
just one. Several tasks take turns: the task with the fewest proposals is next. They share builders, devices, budget
and history: every few proposals a task tries one of the best genomes of another.

Trials finish in any order, but the proposer learns their results in the order of proposal, and a candidate is proposed
when all but the last `window` before it have been learned. So proposals are a function of the seed and the results
alone. A search is resumed by learning the results on record again: what was in flight is proposed anew, the same.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evoflash.core.finals import Finals
from evoflash.core.status import Stage
from evoflash.errors import StorageError
from evoflash.progress import Phase, Progress, Work
from evoflash.run.contest import Contest
from evoflash.run.pipeline import Pipeline
from evoflash.run.plan import EACH, Plan
from evoflash.run.scheduler import Scheduler, Throughput
from evoflash.run.task import Task, Trial
from evoflash.run.tasks import Tasks
from evoflash.store import RunStore
from evoflash.targets import Target
from evoflash.targets.environment import git_state
from evoflash.version import __version__


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
        plans: alike but for shape, window, families and warm start; effort and builders are those of all.
        store: open for writing.
        target: what the candidates are rendered for; the devices behind the scheduler are alike.
        scheduler: who builds and examines; it is closed at the end.
        run_ids: the runs to go on with, in the order of the plans; none begins new ones.

    Attributes:
        tasks: empty until `run` has begun their runs.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        target: Target,
        scheduler: Scheduler,
        store: RunStore,
        progress: Progress,
        run_ids: Sequence[int] = (),
    ):
        self.plans = plans
        self.target = target
        self.scheduler = scheduler
        self.store = store
        self.progress = progress
        self.tasks = Tasks()
        self.pipeline = Pipeline(scheduler, target)
        self._run_ids = run_ids
        self._effort = plans[0].effort
        self._window = max(plan.window for plan in plans)
        self._told: set[tuple[Task, str]] = set()  # of which families it is known that they fall in the finals
        self._in_flight: deque[Trial] = deque()  # in the order of proposal
        self._stop_reason = ""
        self._phase: Phase = "baselines"
        self._spent_s = max((store.run(run_id).elapsed_s or 0.0 for run_id in run_ids), default=0.0)
        self._searched_s = 0.0  # when the finals began
        self._start = time.monotonic()
        self._worked_s = time.thread_time()

    def run(self) -> list[Outcome]:
        """Searches until the budget is spent, then runs the finals of each task.

        Raises:
            KeyboardInterrupt: after everything that is known has been stored; the search can be resumed.
        """
        try:
            self._begin()
            self._propose()
            while self._in_flight:
                self._collect()
                self._learn()
            throughput = self._throughput()
            self._announce_finals()
            outcomes = [self._finish(task, throughput) for task in self.tasks]
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self._end("interrupted" if interrupted else "failed", "interrupted" if interrupted else str(error))
            raise
        self._end("done", self._stop_reason)
        return outcomes

    def _begin(self) -> None:
        known = {"device": self.target.device, "facts": dict(self.target.facts), **self.target.details}
        if self.target.uuid:
            known["home"] = {self.target.label: self.target.uuid}  # where the finals are
        known |= {"evoflash": __version__, "git": git_state(Path.cwd())}
        self.tasks.begin(self.plans, self._run_ids, self.target, self.store, self.progress, self.scheduler, known)
        gc.freeze()  # spaces and modules stay until the end: the garbage collector need not look through them each time
        self._start, self._worked_s = time.monotonic(), time.thread_time()
        self._phase = "search"

    def _propose(self) -> None:
        """Fills the window with new trials, of the task that has proposed least."""
        while len(self._in_flight) < self._window and not self._is_spent() and (task := self.tasks.next) is not None:
            trial = task.propose(self.tasks.related(task))
            if trial is not None:
                self._in_flight.append(trial)
                self._send(trial)

    def _is_spent(self) -> bool:
        if self.tasks.are_replaying:
            return False  # what is on record was proposed, whatever the clock says now
        if self.tasks.proposed >= self._effort.budget:
            self._stop_reason = f"{self._effort.budget} candidates tried"
        elif self.elapsed_s >= 60 * self._effort.minutes:
            self._stop_reason = f"{self._effort.minutes:g} minutes spent"
        return bool(self._stop_reason)

    def _send(self, trial: Trial) -> None:
        """Sends a trial down the pipeline, unless its result is on record."""
        if trial.evaluation is None:
            self.pipeline.submit(trial)
        else:
            self.pipeline.remember(trial)
            self._record([trial])

    def _collect(self) -> None:
        """Records what has finished; waits for it, unless there is something to learn already."""
        self.progress.update(self.pipeline.building, self.pipeline.examining)
        self._tell_news()
        if self._in_flight[0].evaluation is None:
            self._record([trial for trial in self.pipeline.wait() if not trial.is_new_duplicate])

    def _tell_news(self) -> None:
        for text in self.scheduler.news():
            self.progress.note(text)

    def _learn(self) -> None:
        """Learns every result whose turn it is; each makes room for one proposal."""
        while self._in_flight and self._in_flight[0].evaluation is not None:
            trial = self._in_flight.popleft()
            if trial.is_new_duplicate:
                trial.complete()
                self._record([trial])
            trial.task.learn(trial)
            self._propose()

    def _record(self, trials: Sequence[Trial]) -> None:
        """Writes results down, in one transaction, then tells of them."""
        new = [trial for trial in trials if not trial.is_on_record]
        last = {trial.task: trial for trial in new}.values()  # of each run; the time is written once
        with self.store.together() if len(new) > 1 else contextlib.nullcontext():
            is_best = [trial.task.record(trial, self.elapsed_s if trial in last else None) for trial in trials]
        for trial, best in zip(trials, is_best, strict=True):
            self._tell_of_finals(trial)
            if not trial.is_on_record and trial.evaluation is not None:
                self.progress.finished(trial.task.plan.title, trial.candidate, trial.evaluation, best)

    def _tell_of_finals(self, trial: Trial) -> None:
        """Says, once for a family, that its kernels fall where the finals look."""
        evaluation, family = trial.evaluation, trial.candidate.family
        if evaluation is None or evaluation.stage is not Stage.FINAL or (trial.task, family) in self._told:
            return
        self._told.add((trial.task, family))
        self.progress.note(
            f"{trial.task.plan.title}: candidate {trial.index} of {family} is right on the searched inputs, but falls "
            f"on a case of the finals: {evaluation.reason}"
        )

    def _announce_finals(self) -> None:
        """Says what the budget was spent on, since what follows takes time as well."""
        self._phase, self._searched_s = "finals", self.elapsed_s
        if any(task.has_finals and task.archive.best is not None for task in self.tasks):
            self.progress.note(
                f"the search took {self.elapsed_s:.1f} s; finals and export follow, which its minutes do not count"
            )

    def _finish(self, task: Task, throughput: Throughput) -> Outcome:
        """A task's finals, unless they are on record."""
        reason = task.stop_reason or self._stop_reason
        finals = self._finals(task) if task.has_finals else task.finals()
        if not task.is_closed:
            self.scheduler.release(task.number)
            self.store.record_insight(task.run_id, 0, "throughput", str(throughput), throughput.model_dump())
            task.end("done", reason, self._searched_s)
        return Outcome(task.run_id, reason, finals if finals is not None and finals.winner else None, throughput)

    def _finals(self, task: Task) -> Finals | None:
        task.observe()
        families, effort = task.families, self._effort
        contest = Contest(
            task.number,
            families.problems,
            self.target,
            families.templates,
            self.scheduler,
            self.progress.note,
            sanitize=task.plan.sanitize,
            everywhere=task.plan.finals_on == EACH,
        )
        finals = contest.run_finals(
            task.archive.ok(), effort.finalists, effort.rounds, partial(self.store.record_finals, task.run_id)
        )
        self._tell_news()
        return finals

    def _throughput(self) -> Throughput:
        """What the machine was busy with until here."""
        wall_s = time.monotonic() - self._start
        return self.scheduler.throughput(self.tasks.examined, wall_s, driver_s=time.thread_time() - self._worked_s)

    def _end(self, status: str, reason: str) -> None:
        """Stops everything that runs and closes the runs' records."""
        gc.unfreeze()
        self.scheduler.drop()
        for task in self.tasks:
            with contextlib.suppress(StorageError):  # the database may be what failed; the first error counts
                task.end(status, reason, self.elapsed_s)
        self.scheduler.close()

    @property
    def work(self) -> Work:
        """What is going on now; another thread may ask."""
        building, examining = tuple(self.scheduler.building), tuple(self.scheduler.examining)
        waiting = self.pipeline.building + self.pipeline.examining - len(building) - len(examining)
        return Work(self._phase, building, examining, max(0, waiting), self.elapsed_s, time.monotonic() - self._start)

    @property
    def elapsed_s(self) -> float:
        """Seconds of search, those before an interruption included."""
        return self._spent_s + time.monotonic() - self._start
