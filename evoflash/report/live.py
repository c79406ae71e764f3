"""Progress of a search on standard error: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status

PLAIN_EVERY_S = 5.0


class LiveProgress:
    """Counts results and shows the progress.

    Args:
        budget: the budget of candidates over all shapes.
    """

    def __init__(self, budget: int):
        self._budget = budget
        self._console = Console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True) if self._console.is_terminal else None
        )
        self._start = time.monotonic()
        self._baselines: dict[str, Mapping[str, float]] = {}  # by shape, the fastest first
        self._statuses: Counter[Status] = Counter()
        self._best: dict[str, tuple[Candidate, float]] = {}  # by shape
        self._doing = (0, 0)
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """The times of the baselines, fastest first."""
        self._baselines[shape] = dict(sorted(times_us.items(), key=lambda pair: pair[1]))
        self._start = time.monotonic()
        self.note(f"{shape}: baselines: {self._baselines_of(shape)}")

    def update(self, building: int, examining: int) -> None:
        """Updates the panel; off a terminal prints a line every few seconds."""
        self._doing = (building, examining)
        if self._live is not None:
            self._live.update(self._panel())
        elif time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result."""
        self._statuses[evaluation.status] += 1
        fitness = evaluation.fitness_us
        if is_best and fitness is not None:
            self._best[shape] = (candidate, fitness)
            what = f"#{candidate.index} {candidate.family} by {candidate.operator}"
            self.note(f"{self._prefix(shape)}{what}: {_us(fitness)}{self._against(shape)}")

    def note(self, text: str) -> None:
        """Prints a permanent line."""
        elapsed = time.monotonic() - self._start
        self._console.print(Text(f"{elapsed:6.1f} s  {text}"), soft_wrap=True)

    def _prefix(self, shape: str) -> str:
        return f"{shape}: " if len(self._baselines) > 1 else ""

    def _baselines_of(self, shape: str) -> str:
        return ", ".join(f"{name} {_us(value)}" for name, value in self._baselines[shape].items())

    def _against(self, shape: str) -> str:
        name, time_us = next(iter(self._baselines.get(shape, {}).items()), ("", 0.0))
        return f", {time_us / self._best[shape][1]:.2f}x {name}" if name else ""

    def _rate(self) -> float:
        return 60 * self._statuses.total() / max(time.monotonic() - self._start, 1e-3)

    def _failures(self) -> str:
        failed = {status: count for status, count in self._statuses.items() if status is not Status.OK}
        return ", ".join(f"{count} {status}" for status, count in sorted(failed.items())) or "none"

    def _line(self) -> str:
        bests = [
            f"{self._prefix(shape)}best {_us(best)}{self._against(shape)}" for shape, (_, best) in self._best.items()
        ]
        building, examining = self._doing
        return (
            f"{time.monotonic() - self._start:6.1f} s  {self._statuses.total()}/{self._budget} candidates, "
            f"{self._rate():.0f} per minute; {building} building, {examining} timing; "
            f"{'; '.join(bests) or 'nothing correct yet'}; failures: {self._failures()}"
        )

    def _panel(self) -> Table:
        building, examining = self._doing
        table = Table(box=None, show_header=False, padding=(0, 1))
        table.add_row("candidates", f"{self._statuses.total()} of {self._budget}, {self._rate():.0f} per minute")
        table.add_row("now", f"{building} queued or building, {examining} queued or timing")
        for shape, (candidate, fitness) in self._best.items():
            best = f"{_us(fitness)}{self._against(shape)}: #{candidate.index} {candidate.family}"
            table.add_row(f"{self._prefix(shape)}best", best)
        for shape in self._baselines:
            table.add_row(f"{self._prefix(shape)}baselines", self._baselines_of(shape))
        table.add_row("failures", self._failures())
        return table


def _us(value: float) -> str:
    return f"{value:.2f} us" if value < 1000 else f"{value / 1000:.2f} ms"
