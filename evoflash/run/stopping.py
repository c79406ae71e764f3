"""When to stop for want of gains: what is not to be expected is not paid for."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol, runtime_checkable

from evoflash.core.archive import Member
from evoflash.core.status import Status

HORIZON = 20  # candidates that a forecast is about, and results for which it must have been too low
MEMORY = 80  # results from whose gains a forecast is made where the strategy makes none


@runtime_checkable
class Forecaster(Protocol):
    """A strategy that says what it expects of the proposals to come."""

    def expected_gain(self, builds: int) -> float | None:
        """By what share the best time will shrink over so many builds, e.g. 0.01; None while nothing is known."""
        ...


class EarlyStopping:
    """Follows what the next `HORIZON` candidates are expected to gain; it is over when that has long been too little.

    The strategy's own forecast counts. Where it has none it is extrapolated from the gains on record: those of the last
    `MEMORY` results, in proportion. While there is no forecast nothing is given up, nor before something is right.
    Results count and seconds do not, so an interrupted run stops where an undisturbed one does. What it saves and costs
    on recorded spaces is in docs/results/search.md.

    Args:
        percent: the least gain worth waiting for, in percent of the best time; None waits for ever.
    """

    def __init__(self, percent: float | None):
        self._percent = percent
        self._best_us = math.inf
        self._bests: deque[float] = deque(maxlen=MEMORY + 1)  # the best after each of the last results
        self._expected: float | None = None
        self._low = 0  # results since when the forecast has been too low

    def tell(self, member: Member, strategy: object) -> None:
        """A result, and the strategy after it has heard of it."""
        if member.evaluation.status is Status.OK:
            self._best_us = min(self._best_us, member.fitness_us)
        if math.isfinite(self._best_us):
            self._bests.append(self._best_us)
        if self._percent is None:
            return
        forecast = strategy.expected_gain(HORIZON) if isinstance(strategy, Forecaster) else None
        self._expected = forecast if forecast is not None else self._extrapolated()
        is_low = self._expected is not None and 100 * self._expected < self._percent
        self._low = self._low + 1 if is_low else 0

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return self._low >= HORIZON and math.isfinite(self._best_us)

    def __str__(self) -> str:
        return (
            f"the next {HORIZON} candidates are expected to gain {100 * (self._expected or 0.0):.2g} %, "
            f"for {self._low} results less than the {self._percent:g} % of --patience"
        )

    def _extrapolated(self) -> float | None:
        if len(self._bests) <= MEMORY:
            return None
        return math.log(self._bests[0] / self._bests[-1]) * HORIZON / MEMORY
