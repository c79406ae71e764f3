"""When to stop for want of gains: what is not to be expected is not paid for."""

from __future__ import annotations

import math

from evoflash.archive import Member
from evoflash.evaluation import Status

GAIN = 0.005  # of the best; less is noise


class Patience:
    """Counts results, in the order in which they are told, since the best last became better by more than `GAIN`.

    Counting results and not seconds makes an interrupted run stop where an undisturbed one does.

    Args:
        results: how many to wait; None waits for ever. Nothing is given up before something is right.
    """

    def __init__(self, results: int | None):
        self._results = results
        self._best_us = math.inf
        self._since = 0

    def tell(self, member: Member) -> None:
        """A result."""
        self._since += 1
        fitness = member.fitness_us if member.evaluation.status is Status.OK else math.inf
        if fitness < self._best_us * (1 - GAIN):
            self._best_us, self._since = fitness, 0

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return self._results is not None and math.isfinite(self._best_us) and self._since >= self._results

    def __str__(self) -> str:
        return f"no gain of {GAIN:.1%} in the last {self._since} results"
