"""What is known of a running search: counts, bests and baselines. It is told of results and does no more than count."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evoflash.core.status import Status
from evoflash.progress import Work
from evoflash.report.live.devices import Devices
from evoflash.store import Outcome

LEAST_S = 1.0  # of a search, until a rate says something


@dataclass(frozen=True)
class Found:
    """The best of a shape: number in the run, family, operator, microseconds, results of the shape when it came."""

    index: int
    family: str
    operator: str
    time_us: float
    after: int


@dataclass
class Share:
    """The results of one family or operator.

    Attributes:
        right: how many were correct, duplicates of correct ones included.
        bests: how often one was the fastest of its shape so far.
    """

    tried: int = 0
    right: int = 0
    bests: int = 0
    best_us: float | None = None


@dataclass
class ShapeCounts:
    """One shape, or several that one kernel serves.

    Attributes:
        baselines: microseconds by name, the fastest first.
        steps: (results so far, best so far) at each improvement.
    """

    baselines: Mapping[str, float] = field(default_factory=dict)
    results: int = 0
    best: Found | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)


class Counts:
    """Counts of all shapes. The search's thread tells, another one may read while it holds `lock`.

    Args:
        budget: candidates over all shapes.
        minutes: of the search.
        title: what is searched, and where.
        shapes: what the search calls them; more may come.
        devices: of the search, if there are several.

    Attributes:
        families, operators: by name, in the order of their first results.
        statuses: how often each was.
    """

    def __init__(
        self,
        budget: int,
        minutes: float,
        title: str = "",
        shapes: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        devices: Devices | None = None,
    ):
        self.lock = threading.Lock()
        self.budget = budget
        self.minutes = minutes
        self.title = title
        self.shapes = {shape: ShapeCounts() for shape in shapes}
        self.statuses: Counter[Status] = Counter()
        self.families: defaultdict[str, Share] = defaultdict(Share)
        self.operators: defaultdict[str, Share] = defaultdict(Share)
        self.devices = devices or Devices()
        self._clock = clock
        self._recalled = 0  # results on record from before an interruption, which say nothing of the pace
        self._begun = clock()
        self._work: Callable[[], Work] = Work

    def watch(self, work: Callable[[], Work]) -> None:
        """Where to ask what is going on."""
        self._work = work

    def baselines(self, shape: str, times_us: Mapping[str, float]) -> None:
        """The baselines of a shape have been timed, with which its search begins."""
        with self.lock:
            own = self.shapes.setdefault(shape, ShapeCounts())
            own.baselines = dict(sorted(times_us.items(), key=lambda pair: pair[1]))

    def add(
        self,
        shape: str,
        index: int,
        family: str,
        operator: str,
        status: Status,
        time_us: float | None,
    ) -> bool:
        """A candidate has a result; whether it is the fastest of its shape so far.

        Args:
            time_us: None for a failure.
        """
        with self.lock:
            own = self.shapes.setdefault(shape, ShapeCounts())
            own.results += 1
            self.statuses[status] += 1
            is_best = status is Status.OK and time_us is not None and (own.best is None or time_us < own.best.time_us)
            for share in (self.families[family], self.operators[operator]):
                share.tried += 1
                share.right += time_us is not None
                share.bests += is_best
                if time_us is not None and (share.best_us is None or time_us < share.best_us):
                    share.best_us = time_us
            if is_best and time_us is not None:
                own.best = Found(index, family, operator, time_us, own.results)
                own.steps.append((own.results, time_us))
            return is_best

    def recall(self, shape: str, outcomes: Sequence[Outcome]) -> None:
        """Results on record of a run that is resumed, in the order in which they came."""
        for each in outcomes:
            self._recalled += 1
            self.add(shape, each.index, each.family, each.operator, Status(each.status), each.fitness_us)

    @property
    def work(self) -> Work:
        """What is going on now."""
        return self._work()

    @property
    def results(self) -> int:
        """Candidates with a result."""
        return self.statuses.total()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the command began."""
        return self._clock() - self._begun

    def failures(self) -> Sequence[tuple[Status, int]]:
        """Counts by kind of failure, the most frequent first; a duplicate is none."""
        return [
            (status, count)
            for status, count in self.statuses.most_common()
            if status not in (Status.OK, Status.DUPLICATE)
        ]

    def candidates_a_minute(self, work: Work) -> float | None:
        """The pace of this search since it began or was resumed; None while there is too little to tell."""
        new = self.results - self._recalled
        return 60 * new / work.session_s if new and work.session_s >= LEAST_S else None

    def left_s(self, work: Work) -> float:
        """Seconds until candidates or minutes are spent, whichever is first."""
        by_clock = 60 * self.minutes - work.elapsed_s
        pace = self.candidates_a_minute(work)
        by_count = 60 * (self.budget - self.results) / pace if pace else by_clock
        return max(0.0, min(by_clock, by_count))
