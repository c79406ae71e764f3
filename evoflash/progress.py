"""The interface through which a search reports its progress."""

from __future__ import annotations

from typing import Protocol

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation


class Progress(Protocol):
    """Callbacks of a running search, all called from the search's thread."""

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """Called before the first candidate, with the times of the baselines on a shape."""
        ...

    def update(self, building: int, examining: int) -> None:
        """Called with the number of candidates that are being built and evaluated."""
        ...

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """Called when a candidate's result is in the database; `is_best`: it is the fastest of its shape so far."""
        ...

    def note(self, text: str) -> None:
        """Called with a message for the user."""
        ...
