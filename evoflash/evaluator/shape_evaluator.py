"""The cascade of gates for one built candidate on one shape, the cheapest first; each failure is a value."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.status import Gate, Stage, Status
from evoflash.errors import WorkerError
from evoflash.evaluator.device_lock import device_lock
from evoflash.evaluator.floor import floor_us, reject_below_floor, why_below_floor
from evoflash.evaluator.messages import (
    Examine,
    Examined,
    Prepare,
    Race,
    Raced,
    Verified,
    Verify,
)
from evoflash.evaluator.racing import Racing, require_functions
from evoflash.evaluator.ranking import Cost, name_of, rank
from evoflash.evaluator.sandbox import Sandbox, WorkerDeath
from evoflash.problems import BASE_SEEDS, Case, Problem
from evoflash.problems.rival import late
from evoflash.targets import Target

FINALS_DEADLINE_S = 600.0
FAULTS = (Status.LAUNCH_FAILED, Status.CRASHED, Status.HUNG)  # a kernel's own, or those of a device that is lost
KNOWN_GOOD = 3  # kernels that were right before, one of which must still be


@dataclass(frozen=True)
class Finalist:
    """A candidate of the finals: its library for the searched shape, and one for each case that it is checked on.

    Attributes:
        cost: what it takes, compared from left to right; among equals in time the least wins.
    """

    index: int
    library: Path
    cases: Sequence[tuple[Case, Path]]
    cost: Cost = ()


class ShapeEvaluator:
    """Examines builds on one shape, in a worker of its own; one at a time on a device however many processes do so.

    Args:
        samples, quick_samples: timing samples of a full and of a quick timing.
        give_up: whether a candidate that is far slower than the best is not timed in full.
        deadline_s: seconds that a candidate's evaluation may take.
        rivals: baselines of other packages and of the user, as in `messages.Race`.
        spare_s: seconds for each round of the finals, for more of them where those wanted do not tell kernels apart.
    """

    def __init__(
        self,
        problem: Problem,
        target: Target,
        *,
        samples: int = 100,
        quick_samples: int = 10,
        give_up: bool = True,
        deadline_s: float = 30.0,
        rivals: Sequence[str] = (),
        spare_s: float = 0.5,
    ):
        self.problem = problem
        self._target = target
        self._samples = samples
        self._quick_samples = quick_samples
        self._give_up = give_up
        self._deadline_s = deadline_s
        self._rivals = tuple(rivals)
        self._spare_s = spare_s
        self._racing = Racing()
        self._sandbox = Sandbox(target.place, Prepare(problem=problem))
        self._of_finals: Sandbox | None = None  # while they are held
        self._lock = device_lock(target)
        self._known_good: deque[Build] = deque(maxlen=KNOWN_GOOD)

    def start(self) -> Mapping[str, object]:
        """Brings the worker up ahead of the first candidate; what it says of the machine."""
        self._sandbox.start()
        return self._sandbox.machine

    def close(self) -> None:
        """Ends the workers, also while another thread waits for one."""
        self._sandbox.close()
        if self._of_finals is not None:
            self._of_finals.close()

    @property
    def worker_starts(self) -> int:
        """Workers started so far, those of the finals not counted."""
        return self._sandbox.starts

    @property
    def rivals_out(self) -> Mapping[str, str]:
        """Why rivals could not be timed so far, by name."""
        return self._racing.out

    @property
    def preparation_s(self) -> Mapping[str, float]:
        """The seconds that rivals took before they could be timed in the last race, by name."""
        return self._racing.preparation_s

    def baselines(self, rounds: int = 10, *, with_rivals: bool = True) -> dict[str, float]:
        """Median microseconds of each baseline, for a first comparison; the finals time them again.

        Args:
            with_rivals: beside PyTorch's, those of other packages and of the user, but for those that compile: the
                finals alone time them.

        Raises:
            WorkerError: when none can be timed.
            UsageError: for a function of the user's that cannot be loaded.
        """
        waiting = late(self._rivals, self.problem.rivals(self._target.name))
        rivals = [name for name in self._rivals if with_rivals and name not in waiting]
        with self._lock:
            raced = self._race(self._sandbox, {}, rounds, rivals=tuple(rivals))
        if isinstance(raced, WorkerDeath) or not raced.contestants:
            reason = raced.reason if isinstance(raced, WorkerDeath) else "; ".join(raced.failures.values())
            raise WorkerError(f"the baselines cannot be timed: {reason}; run `evoflash doctor`")
        require_functions(raced)
        return {each.name: each.p50_us for each in raced.contestants}

    def trust(self, build: Build) -> None:
        """Takes a kernel that was right before as known to be right: see `_require_device`."""
        self._known_good.append(build)

    def examine(self, build: Build, best_us: float | None, further: Sequence[Case] = ()) -> Evaluation:
        """Correctness on the searched problem, then timing; given up early when far behind the best.

        A kernel that would be the best must also be right on the problem's case of every size, if it takes it: a
        search should not follow what fails in the finals.

        Args:
            further: cases of the finals, on which a right kernel must be right, too, as far as it takes them.
        """
        assert build.library is not None
        request = Examine(
            problem=self.problem,
            library=build.library.resolve(),
            best_us=best_us if self._give_up else None,
            samples=self._samples,
            quick_samples=self._quick_samples,
        )
        with self._lock:
            self._sandbox.start()
            start = time.monotonic()
            answer = self._sandbox.call(request, self._deadline_s)
            seconds = time.monotonic() - start
        evaluation = self._evaluation(answer, build, seconds)
        cases = list(further)
        general, fitness_us = self.problem.general_case, evaluation.fitness_us
        would_be_best = fitness_us is not None and not evaluation.quick and fitness_us < (best_us or math.inf)
        if would_be_best and general is not None and general.name not in {case.name for case in cases}:
            cases.append(general)
        if cases and evaluation.status is Status.OK:
            evaluation = self._if_right(evaluation, build, cases)
        if evaluation.status is Status.OK:
            self._known_good.append(build)
        elif evaluation.status in FAULTS and build.is_intact:
            with self._lock:
                self._require_device(self._sandbox, evaluation.reason)
        return evaluation

    def passes(self, build: Build, case: Case) -> bool:
        """Whether a kernel takes a case and is right there."""
        assert build.library is not None
        with self._lock:
            verified = self._verified(self._sandbox, [(case, build.library)])
        return verified.status is Status.OK and not verified.refused

    def _if_right(self, evaluation: Evaluation, build: Build, cases: Sequence[Case]) -> Evaluation:
        """The evaluation, unless the kernel takes one of these cases of the finals and is wrong there."""
        assert build.library is not None
        start = time.monotonic()
        with self._lock:
            verified = self._verified(self._sandbox, [(case, build.library) for case in cases])
        seconds = evaluation.seconds + time.monotonic() - start
        if verified.status is Status.OK:
            return evaluation.model_copy(update={"seconds": seconds})
        return Evaluation(
            status=verified.status,
            stage=Stage.FINAL,
            reason=verified.reason,
            build=evaluation.build,
            accuracy=verified.accuracy,
            seconds=seconds,
        )

    def _evaluation(self, answer: Mapping[str, object] | WorkerDeath, build: Build, seconds: float) -> Evaluation:
        if isinstance(answer, WorkerDeath):
            stage = Stage.QUICK if "timing" in answer.reason else Stage.CORRECTNESS
            return Evaluation(
                status=answer.status, stage=stage, reason=answer.reason, build=build.report, seconds=seconds
            )
        floor = floor_us(self.problem, self._target, self._sandbox.machine)
        examined = reject_below_floor(Examined.model_validate(answer), floor)
        reached = Stage.CORRECTNESS if not examined.timings else Stage.QUICK if examined.quick else Stage.FULL
        return Evaluation(
            status=examined.status,
            stage=reached,
            reason=examined.reason,
            build=build.report,
            accuracy=examined.accuracy,
            timings=examined.timings,
            quick=examined.quick,
            seconds=seconds,
        )

    def finals(self, finalists: Sequence[Finalist], rounds: int) -> Finals:
        """Every case of the finalists, then interleaved rounds against all baselines, in a fresh process."""
        self._sandbox.close()
        with self._lock, Sandbox(self._target.place, Prepare(problem=self.problem)) as sandbox:
            self._of_finals = sandbox
            verdicts = {each.index: self._verified(sandbox, each.cases) for each in finalists}
            racing = {each.index: each for each in finalists if verdicts[each.index].status is Status.OK}
            raced = self._race(sandbox, racing, rounds, self._spare_s * rounds, self._rivals)
            while isinstance(raced, WorkerDeath):
                for index, death in self._deaths(sandbox, racing, raced).items():
                    verdicts[index] = Verified(status=death.status, reason=f"in the finals: {death.reason}")
                    del racing[index]
                raced = self._race(sandbox, racing, rounds, self._spare_s * rounds, self._rivals)
            faults = [each.reason for each in verdicts.values() if each.status in FAULTS]
            if faults:
                self._require_device(sandbox, faults[0])
            floor = floor_us(self.problem, self._target, sandbox.machine)
        times = {each.name: each.p50_us for each in raced.contestants}
        for index in racing:
            name, passed = name_of(index), verdicts[index]
            reason = why_below_floor(times[name], floor)
            if name in raced.wrong:
                changes = {"status": Status.WRONG, "gate": Gate.TIMED, "reason": raced.wrong[name]}
                verdicts[index] = passed.model_copy(update=changes)
            elif reason is not None:
                changes = {"status": Status.MISMEASURED, "gate": Gate.FLOOR, "reason": reason}
                verdicts[index] = passed.model_copy(update=changes)
        costs = {each.index: each.cost for each in finalists}
        return rank(verdicts, costs, raced, self.problem.plain_baseline)

    def _require_device(self, sandbox: Sandbox, reason: str) -> None:
        """Tells a kernel that fails from a device that is lost, on which the kernels fail that were right before.

        Raises:
            WorkerError: when none of them is right any more, or no baseline runs where none is known.
        """
        case = Case(name="known good", problem=self.problem, seed=BASE_SEEDS[0])
        known_good = [
            each.library.resolve() for each in self._known_good if each.library is not None and each.is_intact
        ]
        for library in reversed(known_good):
            answer = sandbox.call(Verify(cases=((case, library),)), self._deadline_s)
            if not isinstance(answer, WorkerDeath) and Verified.model_validate(answer).status is Status.OK:
                return
        if not known_good:
            raced = self._race(sandbox, {}, rounds=2)
            if not isinstance(raced, WorkerDeath) and raced.contestants:
                return
        works = "kernels that were right before" if known_good else "PyTorch's own"
        raise WorkerError(
            f"the device fails, not a kernel ({reason}): {works} fail there too; run `evoflash doctor`, then go on by "
            "`evoflash resume`"
        )

    def _deaths(self, sandbox: Sandbox, racing: Mapping[int, Finalist], death: WorkerDeath) -> dict[int, WorkerDeath]:
        """Who brought a race down: the one that was being made ready, else those that fall alone, else all of them."""
        if not racing:
            raise WorkerError(f"the baselines cannot be timed: {death.reason}; run `evoflash doctor`")
        named = {index: death for index in racing if death.stage == f"racing {name_of(index)}"}
        if named:
            return named
        alone = {index: self._race(sandbox, {index: finalist}, rounds=2) for index, finalist in racing.items()}
        deaths = {index: each for index, each in alone.items() if isinstance(each, WorkerDeath)}
        return deaths or dict.fromkeys(racing, death)

    def _verified(self, sandbox: Sandbox, cases: Sequence[tuple[Case, Path]]) -> Verified:
        """The verdict of some cases, each with its library; a worker that dies is one, too."""
        request = Verify(cases=tuple((case, library.resolve()) for case, library in cases))
        answer = sandbox.call(request, self._deadline_s, each_stage=True)
        if isinstance(answer, WorkerDeath):
            return Verified(status=answer.status, reason=answer.reason)
        return Verified.model_validate(answer)

    def _race(
        self,
        sandbox: Sandbox,
        racing: Mapping[int, Finalist],
        rounds: int,
        spare_s: float = 0.0,
        rivals: tuple[str, ...] = (),
    ) -> Raced | WorkerDeath:
        libraries = {name_of(index): finalist.library.resolve() for index, finalist in racing.items()}
        request = Race(problem=self.problem, libraries=libraries, rivals=rivals, rounds=rounds, spare_s=spare_s)

        def send(each: Race, deadlines_s: Mapping[str, float]) -> dict[str, Any] | WorkerDeath:
            return sandbox.call(each, FINALS_DEADLINE_S, each_stage=True, stage_deadlines_s=deadlines_s)

        return self._racing.run(send, request)
