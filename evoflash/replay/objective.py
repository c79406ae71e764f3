"""Objectives of recorded spaces, and the times that strategies see instead of their values.

Strategies and measures expect times: positive numbers, of which the smallest is the best, and which are compared by
ratios and logarithms. `Objective.times` converts the values of any objective to such times:

- Positive values where lower is better (time, energy) are times.
- Positive values where higher is better (GFLOP/s) become their reciprocals, so the fraction of the optimum is the
  value divided by the best value.
- Values of which some are zero or negative (the score of hyper-parameter tuning) have no ratios. They are mapped
  linearly, with the best at 1 and the median of the others at 2. The score of `measures` does not depend on a linear
  map. The fraction of the optimum is 1 / (1 + d) then, where d is the distance from the best value in units of the
  median distance: at 0.95 a value is about a twentieth of the median distance from the best.
- Values that a linear map would not keep apart, because they differ by too many orders of magnitude, count by their
  ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

# The objectives of Kernel Tuner of which higher values are better, in lower case.
HIGHER = (
    "fitness",
    "score",
    *(f"{scale}{unit}" for scale in "gt" for unit in ("flop/s", "flops", "b/s", "flops/w", "flop/j")),
)

LIMIT = 1e60  # times are between 1 / LIMIT and LIMIT, so that squares of their ratios are finite
ROUNDING = 1e-12  # values whose relative difference is smaller may have equal times


@dataclass(frozen=True)
class Objective:
    """What the values of a recorded space measure.

    Attributes:
        name: its name in the file.
        higher_is_better: whether the largest value is the best.
    """

    name: str
    higher_is_better: bool

    @classmethod
    def of(cls, name: str, higher_is_better: bool | None = None) -> Self:
        """An objective; without a direction, that of the name, which is lower for names that are not in `HIGHER`."""
        return cls(name, name.lower() in HIGHER if higher_is_better is None else higher_is_better)

    def best(self, values: np.ndarray) -> float:
        """The best of some values."""
        return float(values.max() if self.higher_is_better else values.min())

    def times(self, values: np.ndarray) -> np.ndarray:
        """Positive times for finite values, of the same shape; no value has a smaller time than a better one."""
        if (values > 0).all():
            with np.errstate(over="ignore"):
                times = 1 / values if self.higher_is_better else values
            if times.min() >= 1 / LIMIT and times.max() <= LIMIT:
                return times
        return _linear(-values if self.higher_is_better else values)


def _linear(costs: np.ndarray) -> np.ndarray:
    """Maps the lowest cost to 1 and the median of the others to 2; ranks instead of costs that would coincide."""
    _, exponent = np.frexp(np.abs(costs).max())
    with np.errstate(over="ignore"):
        times = _unit_gaps(np.ldexp(costs, -exponent))  # scaled to 1, since a difference of large costs may be infinite
        near = np.isclose(costs, costs.min(), rtol=ROUNDING, atol=0)
    if times.max() > LIMIT or not (times[~near] > 1).all():
        times = _unit_gaps(np.unique(costs, return_inverse=True)[1].astype(float))
    return times


def _unit_gaps(costs: np.ndarray) -> np.ndarray:
    gaps = costs - costs.min()
    return 1 + gaps / np.median(gaps[gaps > 0]) if gaps.any() else np.ones_like(gaps)
