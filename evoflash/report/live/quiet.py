"""No progress at all."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation


class QuietProgress:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """Nothing."""

    def update(self, building: int, examining: int) -> None:
        """Nothing."""

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
