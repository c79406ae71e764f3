"""How much better than the best a family's untried points may be: expected improvement by what its results say."""

from __future__ import annotations

import math

import numpy as np

from evoflash.proposers.lattice import Lattice, Point
from evoflash.proposers.models import Failures, Forest, Process

CAUTION = 3  # power of the probability: beyond the edge of what works the regression promises most, and knows least
LEAST = 3  # right results before there is anything to learn


class Surrogate:
    """The models of one family.

    A forest sees products, ratios and the space's own figures, and finds switches and thresholds; a Gaussian process
    sees the coordinates, and knows where nothing was tried. Their means and deviations are averaged; what each is worth
    on recorded spaces is in docs/results/search.md.

    Args:
        trees: of a forest.
        process: the weight of the Gaussian process, from 0 to 1.
    """

    def __init__(self, lattice: Lattice, trees: int, process: float):
        self._lattice = lattice
        self._points: list[Point] = []
        self._rows: list[np.ndarray] = []
        self._log_times: list[float] = []  # NaN: a failure
        self._forest, self._process, self._failures = Forest(trees), Process(), Failures(trees)
        self._weight = process
        self._fitted_on = 0

    def tell(self, point: Point, time_us: float | None) -> None:
        """A result; None for a failure."""
        self._points.append(point)
        self._log_times.append(math.nan if time_us is None else math.log(time_us))

    def fit(self, seed: int, growth: float = 0.0) -> bool:
        """Learns what was told, where that is more than before by a share; whether there was enough of it."""
        times = np.array(self._log_times)
        right = ~np.isnan(times)
        if right.sum() < LEAST:
            return False
        if self._fitted_on and len(times) - self._fitted_on < max(1, growth * len(times)):
            return True
        self._fitted_on = len(times)
        self._rows += list(self._lattice.features(self._points[len(self._rows) :]))
        rows = np.stack(self._rows)
        self._forest.fit(rows[right], times[right], seed)
        if self._weight > 0:
            self._process.fit(self._lattice.unit(self._points)[right], times[right], seed)
        self._failures.fit(rows, ~right, seed)
        return True

    def expected_improvement(self, points: list[Point], best_us: float) -> np.ndarray:
        """Of log time beyond the best (Jones and others, 1998), times a power of the probability to be right.

        The shape is (points,).

        `fit` must have answered True.
        """
        from scipy.special import ndtr

        rows = self._lattice.features(points)
        mean, spread = self._forest.guess(rows)
        if self._weight > 0:
            other_mean, other_spread = self._process.guess(self._lattice.unit(points))
            mean += self._weight * (other_mean - mean)
            spread += self._weight * (other_spread - spread)
        spread += 1e-9
        ahead = (math.log(best_us) - mean) / spread
        improvement = spread * (ahead * ndtr(ahead) + np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi))
        return improvement * (1 - self._failures.probability(rows)) ** CAUTION
