"""Progress on a terminal: a panel that is painted again twice a second, by a thread of its own."""

from __future__ import annotations

import textwrap
import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.report.live.counts import Counts
from evoflash.report.live.layout import Glyphs, panel
from evoflash.report.live.painter import Painter

EVERY_S = 0.5


class TerminalProgress:
    """Counts, and shows the counts as a panel; notes stay above it.

    Args:
        console: a terminal that knows escape sequences.
    """

    def __init__(self, counts: Counts, console: Console):
        self.counts = counts
        self._painter = Painter(console)
        self._glyphs = Glyphs.of(console.encoding)
        self._painting = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._paint_on, name="live view", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._painter.clear()

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """The times of the baselines."""
        self.counts.baselines(shape, times_us)

    def update(self, building: int, examining: int) -> None:
        """Nothing: the thread looks by itself."""

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result."""
        with self.counts.lock:
            self.counts.devices.add(evaluation)
        self.counts.add(
            shape,
            candidate.index,
            candidate.family,
            candidate.operator,
            evaluation.status,
            evaluation.fitness_us,
        )

    def note(self, text: str) -> None:
        """Prints a permanent line above the panel, wrapped between words."""
        head = f"{self.counts.elapsed_s:6.1f} s  "
        with self._painting:
            width = max(len(head) + 20, self._painter.size[0] - 1)
            for line in textwrap.wrap(head + text, width, subsequent_indent=" " * len(head), break_long_words=False):
                self._painter.print(Text(line))
        self.paint()

    def paint(self) -> None:
        """Shows the counts as they are now."""
        with self._painting:
            width, height = self._painter.size
            with self.counts.lock:
                lines = panel(self.counts, width - 1, height, self._glyphs)  # at the last column terminals differ
            self._painter.paint(lines)

    def _paint_on(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.paint()
