"""From a source to an evaluation: builds run in parallel, the device examines one library at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from queue import SimpleQueue

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status
from evoflash.errors import StorageError
from evoflash.run.task import Task, Trial
from evoflash.run.worker_pools import WorkerPools

MAX_EXAMINATIONS = 3  # of a candidate whose library is damaged between its build and its examination


class Pipeline:
    """Trials go in with their sources and come out with their evaluations, in any order.

    Attributes:
        building: trials that wait for a builder or are being built.
        examining: trials that wait for the device or are being examined.
        with_builders, with_device: candidates that are being built or examined right now, without those that wait. The
            threads of the pools change these lists, so a reader copies them.
    """

    def __init__(self, toolchain: Toolchain, pools: WorkerPools):
        self._toolchain = toolchain
        self._pools = pools
        self.building = 0
        self.examining = 0
        self.with_builders: list[Candidate] = []
        self.with_device: list[Candidate] = []
        self._finished: list[Trial] = []  # need neither a builder nor the device
        self._done: SimpleQueue[tuple[Trial, Future[Build] | Future[Evaluation]]] = SimpleQueue()
        # Per task the latest source on record that was right. The evaluator checks the device by it.
        self._known_good: dict[Task, Source] = {}

    def submit(self, trial: Trial) -> None:
        """Takes a trial in; one with a known source comes out as a duplicate without a build."""
        trial.evaluation = trial.task.duplicates.by_source(trial.index, trial.source.digest)
        if trial.evaluation is not None:
            self._finished.append(trial)
            return
        self.building += 1
        self._enqueue(trial, self._pools.build(lambda: self._build(trial)))

    def remember(self, trial: Trial) -> None:
        """Registers a trial whose evaluation is on record, so that its duplicates are found."""
        assert trial.evaluation is not None
        trial.task.duplicates.remember(trial.index, trial.source.digest, trial.evaluation)
        if trial.evaluation.status is Status.OK:
            self._known_good[trial.task] = trial.source

    def wait(self) -> list[Trial]:
        """The trials that have finished, once there is one; empty only when there is nothing to wait for."""
        finished, self._finished = self._finished, []
        while not finished and (self.building or self.examining):
            trial, future = self._done.get()
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
        """The evaluation of a build that need not go to the device; None sends it there."""
        evaluation = trial.task.evaluator.screen(build)
        if evaluation is None:
            evaluation = trial.task.duplicates.by_machine_code(trial.index, build.report)
        if evaluation is None:
            self.examining += 1
            self._enqueue(trial, self._pools.examine(lambda: self._examine(trial, build)))
        return evaluation

    def _build(self, trial: Trial) -> Build:
        with _among(trial.candidate, self.with_builders):
            return self._toolchain.build(trial.source)

    def _examine(self, trial: Trial, build: Build) -> Evaluation:
        with _among(trial.candidate, self.with_device):
            return self._examined(trial, build)

    def _examined(self, trial: Trial, build: Build) -> Evaluation:
        """Damage to the library since its build must not count against the kernel."""
        task = trial.task
        known_good = self._known_good.pop(task, None)
        if known_good is not None:
            task.evaluator.trust(self._toolchain.build(known_good))
        for _ in range(MAX_EXAMINATIONS):
            build = self._toolchain.restored(build, trial.source)
            evaluation = task.evaluator.screen(build) or task.evaluator.examine(build, task.best_us)
            if evaluation.status is Status.OK or build.library is None or build.is_intact:
                return evaluation
        raise StorageError(
            f"the build cache changes while it is used: {build.library} is not what was built; find out who writes "
            "there, or choose another folder by --cache, then go on by `evoflash resume`"
        )

    def _enqueue(self, trial: Trial, future: Future[Build] | Future[Evaluation]) -> None:
        future.add_done_callback(lambda done: self._done.put((trial, done)))


@contextlib.contextmanager
def _among(candidate: Candidate, there: list[Candidate]) -> Iterator[None]:
    """A candidate is in a list meanwhile."""
    there.append(candidate)
    try:
        yield
    finally:
        there.remove(candidate)
