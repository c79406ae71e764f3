"""The seam between the driver of a search and those who work for it: builders, and one or more examiners.

The driver hands out jobs and gets futures back. It does not know how many devices there are or where; what it sends and
receives are the values of `jobs.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from evoflash.codegen.toolchain import Build
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.record import Record
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.jobs import Beginning, Entrant, Examination, Job


class Throughput(Record):
    """How fast candidates went through, and the share of the time in which each was at work.

    The slowest resource is what bounds a search: the builders or the devices; on a CPU the cores that both share.
    """

    candidates_a_minute: float
    builders_busy: float
    device_busy: float
    slowest_busy: float
    driver_busy: float

    def __str__(self) -> str:
        return (
            f"{self.candidates_a_minute:.0f} candidates a minute; busy: slowest resource {self.slowest_busy:.0%} "
            f"(builders {self.builders_busy:.0%}, device {self.device_busy:.0%}), driver {self.driver_busy:.1%}"
        )


class Scheduler(Protocol):
    """Has jobs done, by whoever is free. A future may come true in any thread, and in any order."""

    def begin(self, plan: int) -> Beginning:
        """Makes the devices ready for a plan, and times its baselines.

        Raises:
            WorkerError: when its shapes cannot be measured.
        """
        ...

    def build(self, job: Job) -> Future[Build]:
        """Builds a source; a failure is a value."""
        ...

    def examine(self, wanted: Examination) -> Future[Evaluation]:
        """Examines a build on a device; a failure of the kernel is a value, one of the last device an exception."""
        ...

    def passes(self, job: Job, build: Build, case: Case) -> bool:
        """Whether a kernel takes a case, of the first shape, and is right there."""
        ...

    def sanitize(self, job: Job, build: Build, problem: Problem) -> Future[list[Finding]]:
        """What the sanitizers say of a kernel; nothing is timed meanwhile."""
        ...

    def finals(self, plan: int, entrants: Sequence[Entrant], rounds: int, *, everywhere: bool = False) -> Finals:
        """The finals of these, all on the same device.

        Args:
            everywhere: also on each of the others, at the same time; see `Finals.elsewhere`.
        """
        ...

    def release(self, plan: int) -> None:
        """Nothing more will be asked about a plan."""
        ...

    def news(self) -> list[str]:
        """What the user should know, e.g. that a device was lost; each is told once."""
        ...

    @property
    def building(self) -> Sequence[Candidate]:
        """What builders are at work on now; another thread may ask."""
        ...

    @property
    def examining(self) -> Sequence[Candidate]:
        """What devices are at work on now; another thread may ask."""
        ...

    def throughput(self, candidates: int, wall_s: float, driver_s: float) -> Throughput:
        """How fast candidates went through in this time, of which the driver was at work itself for `driver_s`."""
        ...

    def drop(self) -> None:
        """Cancels what waits and ends what runs, without waiting for it."""
        ...

    def close(self) -> None:
        """Waits until nothing runs any more."""
        ...
