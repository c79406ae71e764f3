"""What a person is shown while a search runs."""

from __future__ import annotations

from typing import Protocol

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation


class Progress(Protocol):
    """What a person is shown while a search runs; each method is called from the thread that searches."""

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """PyTorch's own times on a shape, before the first candidate."""
        ...

    def update(self, building: int, examining: int) -> None:
        """How many candidates are being built, and examined."""
        ...

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate for a shape has a result, which is in the database; whether it is the best so far."""
        ...

    def note(self, text: str) -> None:
        """Something that a person may want to know."""
        ...
