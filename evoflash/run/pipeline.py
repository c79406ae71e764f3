"""From a source to an evaluation: what is built, what of that goes to a device, and what comes back."""

from __future__ import annotations

from concurrent.futures import Future
from queue import Empty, SimpleQueue

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status
from evoflash.evaluator import screen
from evoflash.run.jobs import Examination
from evoflash.run.scheduler import Scheduler
from evoflash.run.task import Task, Trial
from evoflash.targets import Target

PATIENCE_S = 1.0  # with which results are waited for, until who waits may look at something else


class Pipeline:
    """Trials go in with their sources and come out with their evaluations, in any order.

    Attributes:
        building: trials that wait for a builder or are being built.
        examining: trials that wait for a device or are being examined.
    """

    def __init__(self, scheduler: Scheduler, target: Target):
        self._scheduler = scheduler
        self._target = target
        self.building = 0
        self.examining = 0
        self._finished: list[Trial] = []  # need neither a builder nor a device
        self._done: SimpleQueue[tuple[Trial, Future[Build] | Future[Evaluation]]] = SimpleQueue()
        # Per task the latest source on record that was right. Examiners check their devices by it.
        self._known_good: dict[Task, Source] = {}

    def submit(self, trial: Trial) -> None:
        """Takes a trial in; one with a known source comes out as a duplicate without a build."""
        trial.evaluation = trial.task.duplicates.by_source(trial.index, trial.source.digest)
        if trial.evaluation is not None:
            self._finished.append(trial)
            return
        self.building += 1
        self._enqueue(trial, self._scheduler.build(trial.job))

    def remember(self, trial: Trial) -> None:
        """Registers a trial whose evaluation is on record, so that its duplicates are found."""
        assert trial.evaluation is not None
        trial.task.duplicates.remember(trial.index, trial.source.digest, trial.evaluation)
        if trial.evaluation.status is Status.OK:
            self._known_good[trial.task] = trial.source
            trial.task.families.proven.add(trial.candidate.family)

    def wait(self) -> list[Trial]:
        """All trials that have finished, once there is one; empty if none has for a moment."""
        finished, self._finished = self._finished, []
        while (self.building or self.examining) and not (finished and self._done.empty()):
            try:
                trial, future = self._done.get(timeout=PATIENCE_S)
            except Empty:  # the scheduler may have news meanwhile: that it waits for something itself
                break
            outcome = future.result()
            if isinstance(outcome, Build):
                self.building -= 1
                trial.evaluation = self._screen(trial, outcome)
            else:
                self.examining -= 1
                trial.evaluation = outcome
            if trial.evaluation is not None:
                finished.append(trial)
        return finished

    def _screen(self, trial: Trial, build: Build) -> Evaluation | None:
        """The evaluation of a build that need not go to a device; None sends it there."""
        task = trial.task
        evaluation = screen(build, task.plan.limits, self._target)
        if evaluation is None:
            evaluation = task.duplicates.by_machine_code(trial.index, build.report)
        if evaluation is None:
            self.examining += 1
            known_good = self._known_good.get(task)
            hardest = task.families.hardest(trial.candidate.family)
            wanted = Examination(trial.job, build, task.best_us, known_good, task.reference, hardest)
            self._enqueue(trial, self._scheduler.examine(wanted))
        return evaluation

    def _enqueue(self, trial: Trial, future: Future[Build] | Future[Evaluation]) -> None:
        future.add_done_callback(lambda done: self._done.put((trial, done)))
