"""Results of a running search, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.progress import SilentProgress


@dataclass(frozen=True)
class Result:
    """A candidate whose result is in the database.

    Attributes:
        shape: the name of what is searched, as the caller wrote it.
        candidate: its genome, parents and operator.
        evaluation: its status and the evidence for it.
        best: the fastest correct candidate of this shape so far, which may be this one; None while nothing is correct.
        best_us: its median time in microseconds.
    """

    shape: str
    candidate: Candidate
    evaluation: Evaluation
    best: Candidate | None
    best_us: float | None

    @property
    def is_best(self) -> bool:
        """Whether it is the fastest so far."""
        return self.best is self.candidate


OnResult = Callable[[Result], object]


class Results(SilentProgress):
    """The progress of a search that a program follows: it is told of each result, and of nothing else."""

    def __init__(self, on_result: OnResult | None):
        self._on_result = on_result
        self._best: dict[str, tuple[Candidate, float]] = {}  # by shape

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """Passes a result on; what the callback raises ends the search."""
        fitness = evaluation.fitness_us
        if is_best and fitness is not None:
            self._best[shape] = candidate, fitness
        if self._on_result is not None:
            best, best_us = self._best.get(shape, (None, None))
            self._on_result(Result(shape, candidate, evaluation, best, best_us))
