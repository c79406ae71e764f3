"""Progress where there is no terminal: a line for each best, and one every few seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.report.live.counts import Counts
from evoflash.report.live.line import best_of, line_of
from evoflash.report.live.words import us

EVERY_S = 5.0


class PlainProgress:
    """Counts, and prints lines of the counts."""

    def __init__(self, counts: Counts, console: Console):
        self.counts = counts
        self._console = console
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """The times of the baselines, fastest first."""
        self.counts.baselines(shape, times_us)
        listed = ", ".join(f"{name} {us(value)}" for name, value in self.counts.shapes[shape].baselines.items())
        self.note(f"{shape}: baselines: {listed}")

    def update(self, building: int, examining: int) -> None:
        """Prints a line every few seconds."""
        if time.monotonic() - self._last > EVERY_S:
            self._last = time.monotonic()
            self.note(line_of(self.counts))
            for line in self.counts.devices.lines(self.counts.work.session_s):
                self.note(line)

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result; the best so far gets a line."""
        self.counts.devices.add(evaluation)
        own = candidate.index, candidate.family, candidate.operator
        if self.counts.add(shape, *own, evaluation.status, evaluation.fitness_us):
            what = f"#{candidate.index} {candidate.family} by {candidate.operator}"
            self.note(f"{what}: {best_of(self.counts, shape)}")

    def note(self, text: str) -> None:
        """Prints a line."""
        self._console.print(Text(f"{self.counts.elapsed_s:6.1f} s  {text}"), soft_wrap=True)
