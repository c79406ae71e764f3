"""An examiner: one device with its lock, its worker, and an evaluator for each plan of a search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.status import Stage, Status
from evoflash.errors import StorageError, WorkerError
from evoflash.evaluator import Evaluator, Finalist, ShapeEvaluator, screen
from evoflash.problems import Case
from evoflash.run.fair_clock import ROUNDS, FairClock, corrected
from evoflash.run.jobs import Beginning, Entrant, Examination
from evoflash.run.plan import Plan
from evoflash.targets import Target
from evoflash.targets.devices import State

STATE_S = 1.0  # between two looks at the temperature and the clock of a device, which waits meanwhile
MAX_EXAMINATIONS = 3  # of a candidate whose library is damaged between its build and its examination


def make_evaluator(plan: Plan, target: Target) -> Evaluator:
    """What judges the builds of a plan on its shapes."""
    return Evaluator(
        {
            name: ShapeEvaluator(
                problem,
                target,
                samples=plan.effort.samples,
                quick_samples=plan.effort.quick_samples,
                give_up=plan.effort.give_up,
                deadline_s=plan.evaluate_deadline_s,
                rivals=plan.rivals,
                spare_s=plan.effort.spare_s,
            )
            for name, problem in plan.problems.items()
        }
    )


class Examiner:
    """Examines builds on one device, one at a time.

    It is made from values, so it can be made where the device is. It needs no word from the driver between two
    examinations.

    Args:
        plans: of the search; jobs name them by their numbers.
        target: the device.
        toolchain: for libraries that are not where they were built, or not what was built.

    Attributes:
        clocks: of each plan; used where several devices are compared.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        target: Target,
        toolchain: Toolchain,
        make_evaluator: Callable[[Plan, Target], Evaluator] = make_evaluator,
    ):
        self.target = target
        self.evaluators = [make_evaluator(plan, target) for plan in plans]
        self.clocks = [
            FairClock(partial(each.baselines, ROUNDS, with_rivals=False))  # rivals may take minutes to be ready
            for each in self.evaluators
        ]
        self._last_state, self._looked_s = State(), -math.inf
        self._plans = plans
        self._toolchain = toolchain
        self._best_us: dict[int, float] = {}  # by plan
        self._proven: set[tuple[int, str]] = set()  # plans and families of which a kernel was right on all its cases
        self._fell_on: dict[tuple[int, str], str] = {}  # why the last one was not
        self._trusting: set[int] = set()  # plans of which a kernel from before an interruption is known to be right

    def begin(self, plan: int) -> Beginning:
        """Starts the worker of a plan and times the baselines.

        Raises:
            WorkerError: when its shapes cannot be measured.
        """
        evaluator = self.evaluators[plan]
        machine = evaluator.start()
        baselines = evaluator.baselines()
        return Beginning(machine, baselines, evaluator.rivals_out, evaluator.preparation_s)

    def examine(self, wanted: Examination) -> Evaluation:
        """The evaluation of a build. Damage to its library since it was built does not count against the kernel.

        Raises:
            WorkerError: when the device fails.
            StorageError: when the library changes again and again.
        """
        plan, source, build = wanted.job.plan, wanted.job.source, wanted.build
        evaluator, limits = self.evaluators[plan], self._plans[plan].limits
        if wanted.known_good is not None and plan not in self._trusting:
            self._trusting.add(plan)
            evaluator.trust(self._toolchain.build(wanted.known_good))
        ratio = self.clocks[plan].ratio(wanted.reference) if wanted.reference else 1.0
        known = [each for each in (wanted.best_us, self._best_us.get(plan)) if each is not None]
        best_us = min(known) * ratio if known else None  # by this device's clock
        for _ in range(MAX_EXAMINATIONS):
            build = self._toolchain.restored(build, source)
            further = self._further(wanted)
            evaluation = screen(build, limits, self.target) or evaluator.examine(build, best_us, further)
            if evaluation.status is Status.OK or build.library is None or build.is_intact:
                self._learn(wanted, evaluation)
                evaluation = corrected(evaluation, self.target.label, ratio)
                evaluation = evaluation.model_copy(update=self._state()._asdict())
                if evaluation.fitness_us is not None:
                    self._best_us[plan] = min([*known, evaluation.fitness_us])
                return evaluation
        raise StorageError(
            f"the build cache changes while it is used: {build.library} is not what was built; find out who writes "
            "there, or choose another folder by --cache, then go on by `evoflash resume`"
        )

    def _state(self) -> State:
        """The state of the device, as of the last second."""
        if time.monotonic() - self._looked_s >= STATE_S:
            self._last_state, self._looked_s = self.target.state, time.monotonic()
        return self._last_state

    def _further(self, wanted: Examination) -> Sequence[Case]:
        """The cases of the finals that a kernel meets at once; first of all the one that its family fell on last."""
        key = (wanted.job.plan, wanted.job.candidate.family)
        if key in self._proven:
            return ()
        fell_on = self._fell_on.get(key, "")
        return sorted(wanted.hardest, key=lambda case: case.name not in fell_on)

    def _learn(self, wanted: Examination, evaluation: Evaluation) -> None:
        key = (wanted.job.plan, wanted.job.candidate.family)
        if evaluation.status is Status.OK:
            self._proven.add(key)
        elif evaluation.stage is Stage.FINAL:
            self._fell_on[key] = evaluation.reason

    def passes(self, plan: int, source: Source, build: Build, case: Case) -> bool:
        """Whether a kernel takes a case, of the first shape, and is right there."""
        return self.evaluators[plan].passes(self._toolchain.restored(build, source), case)

    def finals(self, plan: int, entrants: Sequence[Entrant], rounds: int) -> Finals:
        """Every case of the entrants, then interleaved rounds against all baselines, in a fresh process."""
        return self.evaluators[plan].finals([self._finalist(each) for each in entrants], rounds)

    def release(self, plan: int) -> None:
        """Ends the worker of a plan."""
        self.evaluators[plan].close()

    def close(self) -> None:
        """Ends all workers; a thread may do so while another waits for one."""
        for each in self.evaluators:
            each.close()

    def _finalist(self, entrant: Entrant) -> Finalist:
        library = self._library(entrant.build, entrant.job.source)
        cases = [(case, self._library(build, source)) for case, source, build in entrant.cases]
        return Finalist(entrant.index, library, cases, cost_of(entrant.build, library))

    def _library(self, build: Build, source: Source) -> Path:
        """The library of a build that has one.

        Raises:
            WorkerError: when it is gone and cannot be built again.
        """
        restored = self._toolchain.restored(build, source)
        if restored.library is None:
            raise WorkerError(f"what has been built does not build any more: {restored.reason}; run `evoflash doctor`")
        return restored.library


def cost_of(build: Build, library: Path) -> tuple[int, ...]:
    """What a kernel takes, the dearest first: spills, shared memory of a block, registers of a thread, machine code."""
    report = build.report
    figures = (report.spill_bytes, report.shared_bytes, report.registers)
    size = library.stat().st_size if library.is_file() else 0  # whoever cleans the cache meanwhile may
    return (*(figure or 0 for figure in figures), size)
