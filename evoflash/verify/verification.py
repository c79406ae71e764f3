"""Verification of one kernel or function by every correctness gate, in a worker process.

A kernel is checked on the standard cases that it supports, then on random cases, then it is timed and the output of the
timed launches is checked. The first gate that fails refuses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from evoflash.bench.entrants import Entrant
from evoflash.bench.session import Session
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.status import Gate, Status
from evoflash.errors import UsageError
from evoflash.evaluator import sanitizers
from evoflash.evaluator.device_lock import device_lock
from evoflash.evaluator.floor import floor_us, reject_below_floor
from evoflash.evaluator.messages import (
    Call,
    Examine,
    Examined,
    Prepare,
    Verified,
    Verify,
)
from evoflash.evaluator.sandbox import WorkerDeath
from evoflash.problems import Case, Problem
from evoflash.targets import Target
from evoflash.verify.verdict import Checked, Outcome, Verdict

TIMED = "timed"  # the name, among the cases, of the check of the timed launches
TIMED_SAMPLES = 20
BY_STATUS = {Status.CRASHED: Gate.CRASHED, Status.HUNG: Gate.HUNG, Status.LAUNCH_FAILED: Gate.LAUNCH}


class Verification(Session):
    """Verifies kernels and functions on a target.

    Args:
        say: called with progress messages.
        deadline_s: time limit of a case in seconds.
    """

    def __init__(
        self,
        target: Target,
        toolchain: Toolchain,
        say: Callable[[str], None] = lambda text: None,
        deadline_s: float = 60.0,
    ):
        super().__init__(target, toolchain, say)
        self._deadline_s = deadline_s

    def kernel(
        self, entrant: Entrant, problem: Problem, seed: int, only: Collection[str] = (), sanitize: bool = False
    ) -> Verdict:
        """Verifies a kernel that evoflash can build.

        Args:
            problem: the problem that the kernel is for, which determines the cases.
            seed: seed of the random cases.
            only: names of the cases to check, `TIMED` for the timing; empty for all.
            sanitize: also run an accepted kernel under the sanitizers.
        """
        built = self._build(entrant, problem)
        steps = self._cases(problem, seed, only, lambda case: self._check_kernel(entrant, case))
        timed = built[1] if not isinstance(built, str) and (not only or TIMED in only) else None
        verdict = self._conclude(entrant.name, entrant.origin, problem, seed, steps, timed)
        return self.sanitize(verdict, entrant, problem) if sanitize and verdict.accepted else verdict

    def sanitize(self, verdict: Verdict, entrant: Entrant, problem: Problem) -> Verdict:
        """Runs the sanitizers on an accepted kernel and updates its verdict; they need no worker."""
        kernel = entrant.kernel(problem, self._target)
        assert not isinstance(kernel, str)
        findings = sanitizers.run(self._target, self._toolchain, kernel.source, problem)
        changes: dict[str, Any] = {
            "sanitized": {each.tool: each.summary for each in findings},
            "warnings": tuple(f"{each.tool}: {words}" for each in findings for words in each.warnings),
        }
        found = next((each for each in findings if not each.clean), None)
        if found is not None:
            reason = f"{found.tool} sanitizer: {found.summary}"
            self._say(f"{verdict.name}: refused: {reason}")
            check = Checked(case=found.tool, outcome="refused", gate=Gate.SANITIZER, reason=reason)
            changes |= {"accepted": False, "gate": Gate.SANITIZER, "reason": reason}
            changes["checks"] = (*verdict.checks, check)
        return verdict.model_copy(update=changes)

    def function(self, name: str, problem: Problem, seed: int, only: Collection[str] = ()) -> Verdict:
        """Verifies a Python function, named by "module:function", with the arguments that the problem says.

        Raises:
            UsageError: when it cannot be imported.
        """
        steps = self._cases(problem, seed, only, lambda case: self._check_function(name, case))
        return self._conclude(name, name, problem, seed, steps, None)

    def reset(self) -> None:
        """Ends the worker, so that the next kernel gets a new one."""
        self._sandbox.close()

    # Steps.

    def _cases(
        self, problem: Problem, seed: int, only: Collection[str], check: Callable[[Case], Checked]
    ) -> Iterator[Checked]:
        """The result of each case. Declining the problem that the kernel is for is a refusal."""
        own = problem.random_cases(seed)
        for case in (*problem.cases(), *own):
            if only and case.name not in only:
                continue
            done = check(case)
            if case == own[0] and done.outcome == "declined":
                reason = f"declines {problem.label}, the problem that it is for: {done.reason}"
                done = done.model_copy(update={"outcome": "refused", "gate": Gate.DECLINED, "reason": reason})
            yield done

    def _check_kernel(self, entrant: Entrant, case: Case) -> Checked:
        built = self._build(entrant, case.problem)
        if isinstance(built, str):
            return Checked(case=case.name, outcome="declined", reason=built)
        _, build = built
        if build.library is None:
            return Checked(case=case.name, outcome="refused", gate=Gate.BUILD, reason=build.reason)
        request = Verify(cases=((case, build.library.resolve()),))
        return self._request(case, request)

    def _check_function(self, name: str, case: Case) -> Checked:
        checked = self._request(case, Call(function=name, case=case))
        if checked.gate is Gate.LAUNCH and checked.reason.startswith(name):
            raise UsageError(f"{checked.reason}; write module:function, importable from the working directory")
        return checked

    def _request(self, case: Case, request: Verify | Call) -> Checked:
        answer = self._sandbox.call(request, self._deadline_s, each_stage=True)
        if isinstance(answer, WorkerDeath):
            return Checked(case=case.name, outcome="refused", gate=BY_STATUS[answer.status], reason=answer.reason)
        verified = Verified.model_validate(answer)
        accuracy = verified.accuracy[-1] if verified.accuracy else None
        outcome: Outcome = "declined" if verified.refused else "passed"
        if verified.status is not Status.OK:
            outcome = "refused"
        return Checked(case=case.name, outcome=outcome, gate=verified.gate, reason=verified.reason, accuracy=accuracy)

    def _timed(self, problem: Problem, build: Build) -> tuple[Checked, float | None, float]:
        """Times a kernel and checks the timed launches; returns also the median and the floor in microseconds."""
        assert build.library is not None
        request = Examine(
            problem=problem,
            library=build.library.resolve(),
            best_us=None,
            samples=TIMED_SAMPLES,
            quick_samples=5,
        )
        with device_lock(self._target):
            self._sandbox.call(Prepare(problem=problem), self._deadline_s)
            answer = self._sandbox.call(request, self._deadline_s, each_stage=True)
        floor = floor_us(problem, self._target, self._sandbox.machine)
        if isinstance(answer, WorkerDeath):
            gate = BY_STATUS[answer.status]
            return Checked(case=TIMED, outcome="refused", gate=gate, reason=answer.reason), None, floor
        examined = reject_below_floor(Examined.model_validate(answer), floor)
        p50 = examined.timings[0].p50_us if examined.timings else None
        outcome: Outcome = "passed" if examined.status is Status.OK else "refused"
        return Checked(case=TIMED, outcome=outcome, gate=examined.gate, reason=examined.reason), p50, floor

    def _conclude(
        self,
        name: str,
        origin: str,
        problem: Problem,
        seed: int,
        steps: Iterator[Checked],
        build: Build | None,
    ) -> Verdict:
        """Runs the steps until one refuses the kernel, then the timing; returns the verdict."""
        start = time.monotonic()
        checks: list[Checked] = []
        p50 = floor = None
        for step in steps:
            checks.append(step)
            if step.outcome == "refused":
                break
        else:
            if build is not None and build.library is not None:
                timed, p50, floor = self._timed(problem, build)
                checks.append(timed)
        last = checks[-1]
        refused = last.outcome == "refused"
        self._say(f"{name}: {f'refused by {last.gate}: {last.reason}' if refused else 'accepted'}")
        return Verdict(
            name=name,
            origin=origin,
            problem=problem.label,
            accepted=not refused,
            gate=last.gate if refused else None,
            reason=last.reason if refused else "",
            seed=seed,
            checks=tuple(checks),
            p50_us=p50,
            floor_us=floor,
            seconds=time.monotonic() - start,
        )
