"""The interface through which a search reports its progress, and the one that shows none of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation

Phase = Literal["baselines", "search", "finals"]


@dataclass(frozen=True)
class Work:
    """What a search is doing at one moment.

    Attributes:
        phase: "baselines" until they are timed, "finals" from the last result on.
        building, examining: candidates that a builder, or the device, is at work on.
        waiting: candidates that wait for either.
        elapsed_s: seconds of search, those before an interruption included.
        session_s: seconds of search since it began or was resumed.
    """

    phase: Phase = "baselines"
    building: tuple[Candidate, ...] = ()
    examining: tuple[Candidate, ...] = ()
    waiting: int = 0
    elapsed_s: float = 0.0
    session_s: float = 0.0


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


class SilentProgress:
    """Shows nothing; the base of those that show some of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """Shows nothing."""

    def update(self, building: int, examining: int) -> None:
        """Shows nothing."""

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing."""
