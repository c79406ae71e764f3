"""What a person is shown while a search runs."""

from __future__ import annotations

from typing import Protocol

from evoflash.candidate import Candidate
from evoflash.evaluation import Evaluation


class Progress(Protocol):
    """What a person is shown while a search runs; each method is called from the thread that searches."""

    def baselines(self, times_us: dict[str, float]) -> None:
        """PyTorch's own times, before the first candidate."""
        ...

    def update(self, building: int, examining: int) -> None:
        """How many candidates are being built, and examined."""
        ...

    def finished(self, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result, which is in the database."""
        ...

    def note(self, text: str) -> None:
        """Something that a person may want to know."""
        ...
