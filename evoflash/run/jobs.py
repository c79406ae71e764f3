"""What a search's driver sends out and gets back: values, so that they may travel to another process or host.

A source is known by the digest of its text, a library by the digest of its machine code (`Build.report.binary_digest`).
Who receives a build whose library is not at its path, builds its source again or fetches the library by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build
from evoflash.core.candidate import Candidate
from evoflash.problems import Case


@dataclass(frozen=True)
class Job:
    """A candidate to be built.

    Attributes:
        plan: the number of its plan among those of the search.
    """

    plan: int
    candidate: Candidate
    source: Source


@dataclass(frozen=True)
class Examination:
    """A build to be examined: right, and how fast?

    Attributes:
        best_us: the best time so far, by which a slow candidate is given up early.
        known_good: a source that was right before the run was interrupted; a device is checked by it.
        reference: the baselines by whose times devices are compared, in microseconds; none for a single device.
        hardest: cases of the finals on which the first right kernel of its family must be right, too.
    """

    job: Job
    build: Build
    best_us: float | None = None
    known_good: Source | None = None
    reference: Mapping[str, float] = field(default_factory=dict)
    hardest: Sequence[Case] = ()


@dataclass(frozen=True)
class Entrant:
    """A candidate of the finals, built for the first shape, and for each case that it claims."""

    job: Job
    build: Build
    cases: Sequence[tuple[Case, Source, Build]]

    @property
    def index(self) -> int:
        """The candidate's number."""
        return self.job.candidate.index

    @property
    def failure(self) -> Build | None:
        """The first build that failed."""
        builds = (*(build for *_, build in self.cases), self.build)
        return next((each for each in builds if each.library is None), None)


@dataclass(frozen=True)
class Beginning:
    """What examiners know of a plan before its first candidate.

    Attributes:
        machine: facts of it, as its worker tells.
        baselines: median microseconds by name.
        rivals_out: rivals that could not be timed, by name, with the reason.
        preparation_s: the seconds that rivals took before they could be timed, by name.
        reference: the baselines by whose times devices are compared; none where there is only one device.
        clock_ratios: how much longer than the reference each device takes, by its label.
    """

    machine: Mapping[str, object]
    baselines: Mapping[str, float]
    rivals_out: Mapping[str, str]
    preparation_s: Mapping[str, float]
    reference: Mapping[str, float] = field(default_factory=dict)
    clock_ratios: Mapping[str, float] = field(default_factory=dict)
