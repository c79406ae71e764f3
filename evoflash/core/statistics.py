"""Comparison of timings: paired ratios with bootstrap intervals, and the equivalence margin."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from evoflash.core.record import Record

BOOTSTRAPS = 2000

# Ratios this close to 1 count as equal. Two copies of one kernel at fixed addresses differ by up to 0.2 % (measured on
# an H200 with a kernel that takes 3.7 us).
EQUIVALENCE_MARGIN = 0.003


class Ratio(Record):
    """A speedup over a baseline.

    Attributes:
        value: the median of paired ratios.
        low, high: its 95 % bootstrap interval.
    """

    value: float
    low: float
    high: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 1, by more than `EQUIVALENCE_MARGIN`."""
        return self.low > 1 + EQUIVALENCE_MARGIN or self.high < 1 - EQUIVALENCE_MARGIN

    @property
    def is_settled(self) -> bool:
        """Whether the comparison is decided: the difference is significant, or within `EQUIVALENCE_MARGIN`."""
        return self.is_significant or (self.low > 1 - EQUIVALENCE_MARGIN and self.high < 1 + EQUIVALENCE_MARGIN)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers; of a single one it is that number, to the bit."""
    return values[0] if len(values) == 1 else float(np.exp(np.mean(np.log(values))))


def paired_ratio(slower: Sequence[float], faster: Sequence[float]) -> Ratio:
    """The median over rounds of slower / faster, with a 95 % bootstrap interval (percentile method)."""
    ratios = np.asarray(slower) / np.asarray(faster)
    draws = np.random.default_rng(0).choice(ratios, size=(BOOTSTRAPS, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return Ratio(value=float(np.median(ratios)), low=float(low), high=float(high))


def are_settled(samples: Mapping[str, Sequence[float]]) -> bool:
    """Whether the comparison of each with the fastest is settled (`Ratio.is_settled`)."""
    if len(samples) < 2:
        return True
    fastest = min(samples, key=lambda name: statistics.median(samples[name]))
    return all(paired_ratio(values, samples[fastest]).is_settled for name, values in samples.items() if name != fastest)
