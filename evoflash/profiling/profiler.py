"""The profiler: builds a kernel, checks and times it, measures ceilings, and counts."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evoflash.bench.entrants import Entrant, Kernel
from evoflash.bench.session import Session
from evoflash.core.profile import Profile
from evoflash.core.record import Record
from evoflash.core.status import Status
from evoflash.errors import NothingCorrectError, WorkerError
from evoflash.evaluator.device_lock import device_lock
from evoflash.evaluator.messages import Ceilings, Count, Counted, Examine, Examined, MeasureCeilings, Prepare
from evoflash.evaluator.sandbox import WorkerDeath
from evoflash.problems import Problem
from evoflash.profiling import ncu, perf
from evoflash.profiling.floors import floors_us
from evoflash.profiling.words import words
from evoflash.system import processes

SAMPLES = 50
DEADLINE_S = 120.0
NCU_DEADLINE_S = 300.0  # some twenty passes over a kernel, each with its memory restored


class Profiler(Session):
    """Profiles kernels on a target."""

    def profile(self, entrant: Entrant, problem: Problem) -> Profile:
        """What bounds a kernel on a problem.

        Raises:
            NothingCorrectError: when it declines the problem, does not build, or is wrong.
            WorkerError: when the device cannot be measured.
        """
        self.start()
        kernel, library = self._library(entrant, problem)
        with device_lock(self._target):
            time_us = self._time_us(entrant, problem, library)
            ceilings = Ceilings.model_validate(self._asked(MeasureCeilings(dtype=str(problem.facts().get("dtype")))))
            self._say("counting")
            tool, counters, why = self._counted(kernel, problem, library, time_us)
        floors = floors_us(problem, ceilings, self._sandbox.machine)
        own = {f"ceiling.{name}": value for name, value in ceilings.model_dump(exclude={"dtype"}).items()}
        cache = int(self._target.facts.get("l2_bytes", 0))
        said = words(problem, ceilings, floors, time_us, counters, cache_bytes=cache, why_no_counters=why)
        return Profile(
            tool=tool,
            device=self._target.device,
            time_us=time_us,
            counters={**counters, **own},
            floors_us=floors,
            words=said,
        )

    def _library(self, entrant: Entrant, problem: Problem) -> tuple[Kernel, Path]:
        built = self._build(entrant, problem)
        if isinstance(built, str):
            raise NothingCorrectError(f"{entrant.origin} does not take {problem.label}: {built}; choose another shape")
        kernel, build = built
        if build.library is None:
            raise NothingCorrectError(
                f"{entrant.origin} does not build: {build.reason}; `evoflash build` shows the compiler's output"
            )
        return kernel, build.library.resolve()

    def _time_us(self, entrant: Entrant, problem: Problem, library: Path) -> float:
        """The median of a launch with warm inputs, of a kernel that is right."""
        self._say("checking and timing")
        self._asked(Prepare(problem=problem))
        request = Examine(problem=problem, library=library, best_us=None, samples=SAMPLES, quick_samples=SAMPLES)
        examined = Examined.model_validate(self._asked(request))
        if examined.status is not Status.OK:
            raise NothingCorrectError(
                f"{entrant.origin} is {examined.status} on {problem.label}: {examined.reason}; "
                "`evoflash verify` runs it through every gate"
            )
        return next(each.p50_us for each in examined.timings if each.regime == "warm")

    def _counted(
        self, kernel: Kernel, problem: Problem, library: Path, time_us: float
    ) -> tuple[str, Mapping[str, float], str]:
        """The tool, its counters, and why there are none."""
        if self._target.name == "cuda":
            counters, why = self._by_ncu(kernel, problem, library)
            return ("ncu", counters, "") if counters else ("clock", {}, why)
        counters, why = self._by_perf(problem, library, time_us)
        return ("perf", counters, "") if any(name in counters for name in perf.HARDWARE) else ("clock", counters, why)

    def _by_ncu(self, kernel: Kernel, problem: Problem, library: Path) -> tuple[Mapping[str, float], str]:
        program = ncu.find()
        if program is None:
            return {}, "there is no ncu; install Nsight Compute, e.g. apt-get install cuda-nsight-compute-13-0"
        if kernel.source.language == "python":
            return {}, "ncu launches compiled kernels, and this one is written in Python"
        with processes.temporary_folder("evoflash-profile-", Path(tempfile.gettempdir())) as folder:
            listed = folder / "problems.json"
            listed.write_text(json.dumps([problem.to_dict()] * 2), encoding="utf-8")  # the first launch is a cold one
            launched = [
                sys.executable,
                "-P",
                "-m",
                "evoflash.worker.sanitized_launch",
                str(library),
                "cuda",
                str(listed),
            ]
            try:
                ended = processes.run(
                    ncu.command(program, launched),
                    NCU_DEADLINE_S,
                    variables=self._target.variables,
                    stderr=subprocess.STDOUT,
                )
            except subprocess.TimeoutExpired:
                return {}, f"ncu took more than {NCU_DEADLINE_S:g} s"
        launches = ncu.read(ended.stdout)
        if not launches:
            return {}, ncu.why_not(ended.stdout)
        return ncu.merged(launches[len(launches) // 2 :]), ""

    def _by_perf(self, problem: Problem, library: Path, time_us: float) -> tuple[Mapping[str, float], str]:
        program = perf.find()
        if program is None:
            return {}, "there is no perf; install it, e.g. apt-get install linux-perf"
        if any(each.updates is not None for each in problem.outputs()):
            return {}, "perf counts thousands of launches in a row, and what is updated in place would drift away"
        request = Count(problem=problem, library=library, command=tuple(perf.command(program)))
        output = Counted.model_validate(self._asked(request)).output
        counts = perf.read(output)
        return perf.a_launch(counts, time_us) if counts else {}, perf.why_not(output)

    def _asked(self, request: Record) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            WorkerError: when the worker dies of it.
        """
        answer = self._sandbox.call(request, DEADLINE_S)
        if isinstance(answer, WorkerDeath):
            raise WorkerError(f"the worker died while it profiled ({answer.reason}); `evoflash verify` says more")
        return answer
