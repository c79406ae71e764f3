"""The bench: baselines and any kernels, on any shapes.

For each shape: every entrant is rendered and built; in the worker, under the device's lock, each kernel is checked
against the float64 reference; what is right races against the baselines, interleaved. Whoever brings the worker down is
reported and left out, and the race begins anew without it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evoflash.bench.entrants import Entrant
from evoflash.bench.measurement import DECLINED, CaseTally, Entry, ShapeResult
from evoflash.bench.session import Session
from evoflash.bench.standings import contestant, standings
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.evaluation import Accuracy, BuildReport
from evoflash.core.record import Record
from evoflash.core.reliability import SelfTested
from evoflash.core.status import Status
from evoflash.errors import UsageError, WorkerError
from evoflash.evaluator.device_lock import device_lock
from evoflash.evaluator.messages import Prepare, Race, Raced, SelfTest, Verified, Verify
from evoflash.evaluator.racing import Racing, require_functions
from evoflash.evaluator.sandbox import WorkerDeath
from evoflash.evaluator.shape_evaluator import FINALS_DEADLINE_S
from evoflash.problems import Case, Problem, searched_cases
from evoflash.system import processes
from evoflash.targets import Target

BASE_CASE = re.compile(r".+ seed \d+")  # the fifteen base cases, as `Problem.cases` names them
SLOWEST_FLOPS = {"cpu": 1e9, "cuda": 1e11}  # operations a second, below which a step counts as hung


@dataclass(frozen=True)
class Effort:
    """How long a shape is timed: rounds of samples after warm-up rounds, but no longer than a budget."""

    samples: int = 100
    warmup: int = 20
    budget_s: float = 300.0
    check: bool = True


class Bench(Session):
    """Measures entrants on a target.

    Args:
        say: is told what is going on.
        rivals: baselines of other packages and of the user, as in `messages.Race`.
    """

    def __init__(
        self,
        target: Target,
        toolchain: Toolchain,
        entrants: Sequence[Entrant],
        effort: Effort,
        say: Callable[[str], None],
        rivals: Sequence[str] = (),
    ):
        super().__init__(target, toolchain, say)
        self._entrants = entrants
        self._effort = effort
        self._rivals = tuple(rivals)
        self._lock = device_lock(target)

    # Shapes.

    def shape(self, name: str, problem: Problem) -> ShapeResult:
        """Checks every entrant on a problem and times those that are right; a failure is a value in the result."""
        start = time.monotonic()
        made = [self._entry(entrant, problem) for entrant in self._entrants]
        self._say(f"{name}: {problem.label}, {sum(library is not None for _, library in made)} kernels built")
        with self._lock:
            prepared = self._call(Prepare(problem=problem), problem)
            if isinstance(prepared, WorkerDeath):
                raced: Raced | WorkerDeath = prepared
            else:
                made = [self._checked(entry, library, problem) for entry, library in made]
                raced, made = self._race(problem, made)
        if isinstance(raced, Raced) and raced.conditions.doubt:
            self._say(f"{name}: {raced.conditions.doubt}")
        kernels = [entry for entry, _ in made]
        return standings(name, problem, raced, kernels, time.monotonic() - start)

    def _entry(self, entrant: Entrant, problem: Problem) -> tuple[Entry, Path | None]:
        """An entrant's library for a problem, or the reason why there is none."""
        same: dict[str, Any] = {"name": entrant.name, "origin": entrant.origin, "family": entrant.family}
        built = self._build(entrant, problem)
        if isinstance(built, str):
            return Entry(**same, status=DECLINED, reason=built), None
        kernel, build = built
        entry = Entry(
            **same,
            status=build.status or Status.OK,
            reason=build.reason,
            genome=kernel.genome,
            note=kernel.note,
            build=_without_log(build.report) if build.status is None else build.report,
        )
        return entry, build.library

    def _checked(self, entry: Entry, library: Path | None, problem: Problem) -> tuple[Entry, Path | None]:
        """An entry after the checks on the shape itself; without its library when it failed them."""
        if library is None or not self._effort.check:
            return entry, library
        verified = self._verify(searched_cases(problem), library)
        changes: dict[str, Any] = {"status": verified.status, "reason": verified.reason, "accuracy": verified.accuracy}
        if verified.status is Status.OK and verified.refused:
            changes |= {"status": DECLINED, "reason": "its launcher answers that it does not take this shape"}
        entry = entry.model_copy(update=changes)
        return entry, library if entry.status == Status.OK else None

    def _race(
        self, problem: Problem, made: Sequence[tuple[Entry, Path | None]]
    ) -> tuple[Raced | WorkerDeath, list[tuple[Entry, Path | None]]]:
        """The race, and the entries with the reasons of those that fell in it.

        Raises:
            UsageError: for a function of the user's that cannot be loaded.
        """
        racing = {contestant(entry): library.resolve() for entry, library in made if library is not None}
        rivalry = Racing()
        fallen: dict[str, WorkerDeath] = {}
        while True:
            request = Race(
                problem=problem,
                libraries={name: library for name, library in racing.items() if name not in fallen},
                rivals=self._rivals,
                rounds=self._effort.samples,
                warmup=self._effort.warmup,
                budget_s=self._effort.budget_s,
            )
            answer = rivalry.run(partial(self._send, problem), request)
            name = answer.stage.removeprefix("racing ") if isinstance(answer, WorkerDeath) else ""
            if not isinstance(answer, WorkerDeath) or name not in request.libraries:
                break
            fallen[name] = answer
            self._say(f"{name} brought the worker down ({answer.reason}); racing again without it")
        entries = []
        for entry, library in made:
            death = fallen.get(contestant(entry)) or (answer if isinstance(answer, WorkerDeath) else None)
            if library is not None and death is not None:
                entry = entry.model_copy(update={"status": death.status, "reason": death.reason})
            entries.append((entry, library))
        if isinstance(answer, WorkerDeath):
            return answer, entries
        require_functions(answer)
        return answer, entries

    def self_test(self, problem: Problem, trials: int) -> dict[str, SelfTested]:
        """Each entrant against itself, PyTorch's own answer where there is none; by name.

        Raises:
            WorkerError: when the worker dies of it.
            UsageError: for an entrant that cannot be built for the problem.
        """
        libraries: dict[str, Path] = {}
        for entrant in self._entrants:
            entry, library = self._entry(entrant, problem)
            if library is None:
                raise UsageError(f"{entrant.origin} cannot be timed here: {entry.reason}; name another --kernel")
            libraries[entrant.name] = library.resolve()
        results = {}
        with self._lock, processes.temporary_folder("evoflash-duplicates-", Path(tempfile.gettempdir())) as folder:
            self._call(Prepare(problem=problem), problem)
            copies: dict[str, tuple[Path, Path] | None] = {
                name: (library, Path(shutil.copy(library, folder / f"{number}.so")))
                for number, (name, library) in enumerate(libraries.items())
            }
            for name, pair in (copies or {"sdpa": None}).items():
                self._say(f"{name}: at most {trials} trials of {self._effort.samples} rounds")
                request = SelfTest(
                    problem=problem,
                    copies=pair,
                    trials=trials,
                    rounds=self._effort.samples,
                    budget_s=self._effort.budget_s,
                )
                answer = self._call(request, problem)
                if isinstance(answer, WorkerDeath):
                    raise WorkerError(f"{name} brought the worker down ({answer.reason}); `evoflash verify` says more")
                results[name] = SelfTested.model_validate(answer)
        return results

    # Cases.

    def cases(self, of: str, cases: Sequence[Case]) -> list[CaseTally]:
        """How each entrant does on correctness cases."""
        tallies = []
        for entrant in self._entrants:
            self._say(f"{entrant.name}: {len(cases)} cases, {of}")
            made = [(case, *self._entry(entrant, case.problem)) for case in cases]
            with self._lock:
                tallies.append(self._tally(entrant.name, of, made))
        return tallies

    def _tally(self, name: str, of: str, made: Sequence[tuple[Case, Entry, Path | None]]) -> CaseTally:
        passed: list[str] = []
        declined: list[str] = []
        failed: dict[str, str] = {}
        accuracy: list[Accuracy] = []
        hung = False
        for case, entry, library in made:
            if entry.status == DECLINED:
                declined.append(case.name)
            elif library is None or hung:
                failed[case.name] = "not run: it hung before" if hung else f"{entry.status}: {entry.reason}"
            else:
                verified = self._verify([case], library)
                accuracy += verified.accuracy
                hung = verified.status is Status.HUNG
                if verified.status is not Status.OK:
                    failed[case.name] = f"{verified.status}: {verified.reason}"
                elif verified.refused:
                    declined.append(case.name)
                else:
                    passed.append(case.name)
        return CaseTally(
            kernel=name,
            of=of,
            passed=tuple(passed),
            declined=tuple(declined),
            failed=failed,
            accuracy=tuple(accuracy),
            **_worst(accuracy),
        )

    # The worker.

    def _verify(self, cases: Sequence[Case], library: Path) -> Verified:
        request = Verify(cases=tuple((case, library.resolve()) for case in cases))
        answer = self._call(request, max((case.problem for case in cases), key=lambda problem: problem.flops))
        if isinstance(answer, WorkerDeath):
            return Verified(status=answer.status, reason=answer.reason)
        return Verified.model_validate(answer)

    def _call(self, request: Record, problem: Problem) -> dict[str, Any] | WorkerDeath:
        """The worker's answer under a deadline that grows with the problem."""
        return self._sandbox.call(request, self._deadline_s(problem))

    def _send(self, problem: Problem, request: Race, deadlines_s: Mapping[str, float]) -> dict[str, Any] | WorkerDeath:
        """The worker's answer to a race, each of whose stages has a deadline."""
        deadline_s = self._deadline_s(problem)
        return self._sandbox.call(request, deadline_s, each_stage=True, stage_deadlines_s=deadlines_s)

    def _deadline_s(self, problem: Problem) -> float:
        return FINALS_DEADLINE_S + self._effort.budget_s + problem.flops / SLOWEST_FLOPS[self._target.name]


def case_sets(problems: Sequence[Problem], every: bool) -> dict[str, list[Case]]:
    """The distinct sets of cases of problems, every case or the base ones, by what they have in common.

    Attention has fifteen base cases; of a problem without such, all cases are base ones.
    """
    sets: dict[str, list[Case]] = {}
    for problem in problems:
        facts = problem.facts()
        kind = "" if problem.computes == problem.kind else problem.computes
        words = (kind, str(facts.get("dtype", problem.kind)), "causal" if facts.get("causal") else "")
        of = problem.label if every else " ".join(word for word in words if word)
        base = [case for case in problem.cases() if BASE_CASE.fullmatch(case.name)]
        sets.setdefault(of, list(problem.cases()) if every or not base else base)
    return sets


def _without_log(report: BuildReport) -> BuildReport:
    return report.model_copy(update={"log": ""})


def _worst(accuracy: Sequence[Accuracy]) -> dict[str, Any]:
    """The largest errors over what was allowed, and the case of the larger one."""
    largest = [(each.max_error / each.max_bound, each.case) for each in accuracy if each.max_bound > 0]
    rms = [(each.rms_error / each.rms_bound, each.case) for each in accuracy if each.rms_bound > 0]
    return {
        "worst_max_ratio": max(largest)[0] if largest else None,
        "worst_rms_ratio": max(rms)[0] if rms else None,
        "worst_case": max(largest + rms)[1] if largest or rms else None,
    }
