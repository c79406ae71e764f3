"""The scheduler of one machine: threads, of which each builds, or examines on a device of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.errors import WorkerError
from evoflash.evaluator import Evaluator, sanitizers
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.examiner import Examiner, make_evaluator
from evoflash.run.fair_clock import ratio_of
from evoflash.run.jobs import Beginning, Entrant, Examination, Job
from evoflash.run.plan import Plan
from evoflash.run.scheduler import Throughput
from evoflash.run.worker_pools import WorkerPools
from evoflash.targets import Target


class LocalScheduler:
    """Builders that share the machine's cores, and an examiner for each device.

    Examinations go to whichever device is free. Finals, and what else must be compared, are on the first device.
    A device that fails is left out, and another one does its work; the failure of the last is an error.

    Args:
        plans: of the search; builders are those of the first.
        targets: a device each.
        toolchain: of all devices, which are alike.

    Attributes:
        examiners: those at work, in the order of the devices.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        targets: Sequence[Target],
        toolchain: Toolchain,
        make_evaluator: Callable[[Plan, Target], Evaluator] = make_evaluator,
    ):
        self.toolchain = toolchain
        self.examiners = [Examiner(plans, target, toolchain, make_evaluator) for target in targets]
        take_turns = any(target.builds_disturb_timing for target in targets)
        self._target = targets[0]
        self._has_several = len(targets) > 1
        self._pools = WorkerPools(plans[0].builders, len(targets), take_turns=take_turns)
        self._free: SimpleQueue[Examiner] = SimpleQueue()
        for each in self.examiners:
            self._free.put(each)
        self._guard = threading.Lock()  # of who is left out
        self._building: list[Candidate] = []
        self._examining: list[Candidate] = []
        self._news: SimpleQueue[str] = SimpleQueue()

    def begin(self, plan: int) -> Beginning:
        """Times a plan's baselines on the first device; if there are more, on all at the same time, to compare them."""
        home = self.examiners[0]
        begun = home.begin(plan)
        if len(self.examiners) == 1:
            return begun
        timed = {each: self._pools.examine(partial(_clock, each, plan)) for each in self.examiners}
        times_us: dict[Examiner, Mapping[str, float]] = {}
        for examiner, future in timed.items():
            try:
                times_us[examiner] = future.result()
            except WorkerError as error:
                if examiner is home:
                    raise
                self._leave_out(examiner, error)
        reference = times_us[home]
        ratios = {each.target.label: ratio_of(times, reference) for each, times in times_us.items()}
        return replace(begun, reference=reference, clock_ratios=ratios)

    def build(self, job: Job) -> Future[Build]:
        """Builds a source on the next builder that is free."""
        return self._pools.build(partial(self._build, job))

    def examine(self, wanted: Examination) -> Future[Evaluation]:
        """Examines a build on the next device that is free."""
        return self._pools.examine(partial(self._examine, wanted))

    def passes(self, job: Job, build: Build, case: Case) -> bool:
        """Whether a kernel takes a case and is right there."""
        return self.examiners[0].passes(job.plan, job.source, build, case)

    def sanitize(self, job: Job, build: Build, problem: Problem) -> Future[list[Finding]]:
        """Runs a kernel under the sanitizers on a builder."""
        return self._pools.build(partial(sanitizers.run, self._target, self.toolchain, job.source, problem, build))

    def finals(self, plan: int, entrants: Sequence[Entrant], rounds: int, *, everywhere: bool = False) -> Finals:
        """The finals on the first device, and on the others if they are to be everywhere."""
        home, *others = self.examiners
        begun = others if everywhere else []
        elsewhere = {each: self._pools.examine(partial(each.finals, plan, entrants, rounds)) for each in begun}
        found = home.finals(plan, entrants, rounds)
        if not self._has_several:
            return found
        held: list[Finals] = []
        for examiner, future in elsewhere.items():
            try:
                held.append(future.result().on(examiner.target.label))
            except WorkerError as error:
                self._leave_out(examiner, error)
        return found.on(home.target.label).model_copy(update={"elsewhere": tuple(held)})

    def release(self, plan: int) -> None:
        """Ends the workers of a plan."""
        for each in self.examiners:
            each.release(plan)

    def news(self) -> list[str]:
        """Which devices were left out since this was asked."""
        found = []
        while not self._news.empty():
            found.append(self._news.get())
        return found

    @property
    def building(self) -> Sequence[Candidate]:
        """What is being built."""
        return tuple(self._building)

    @property
    def examining(self) -> Sequence[Candidate]:
        """What is being examined."""
        return tuple(self._examining)

    def throughput(self, candidates: int, wall_s: float, driver_s: float) -> Throughput:
        """How fast candidates went through."""
        return self._pools.throughput(candidates, wall_s, driver_s)

    def drop(self) -> None:
        """Cancels what waits, and ends compilers and workers."""
        self._pools.drop()
        self.toolchain.stop()
        for each in self.examiners:
            each.close()

    def close(self) -> None:
        """Waits for the threads."""
        self._pools.close()

    def _build(self, job: Job) -> Build:
        with _among(job.candidate, self._building):
            return self.toolchain.build(job.source)

    def _examine(self, wanted: Examination) -> Evaluation:
        """Examines on a free device; on another one, if that fails."""
        with _among(wanted.job.candidate, self._examining):
            while True:
                examiner = self._take()
                try:
                    evaluation = examiner.examine(wanted)
                except WorkerError as error:
                    if not self._leave_out(examiner, error):
                        self._free.put(examiner)
                        raise
                except BaseException:
                    self._free.put(examiner)
                    raise
                else:
                    self._free.put(examiner)
                    return evaluation

    def _take(self) -> Examiner:
        """Waits for a device that is free."""
        while True:
            examiner = self._free.get()
            if examiner in self.examiners:
                return examiner

    def _leave_out(self, examiner: Examiner, error: WorkerError) -> bool:
        """Goes on without a device; not without the last one."""
        with self._guard:
            if len(self.examiners) == 1:
                return False
            self.examiners.remove(examiner)
        examiner.close()
        self._news.put(f"{examiner.target.label} is left out: {error}")
        return True


def _clock(examiner: Examiner, plan: int) -> Mapping[str, float]:
    """The baselines of a plan on a device."""
    return examiner.clocks[plan].times_us


@contextlib.contextmanager
def _among(candidate: Candidate, there: list[Candidate]) -> Iterator[None]:
    """A candidate is in a list meanwhile."""
    there.append(candidate)
    try:
        yield
    finally:
        there.remove(candidate)
