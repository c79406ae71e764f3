"""The surrogate of a family: expected improvement of untried points, from models fitted to its results."""

from __future__ import annotations

import math

import numpy as np

from evoflash.proposers import gaussian_process
from evoflash.proposers.gaussian_process import GaussianProcess
from evoflash.proposers.lattice import Lattice, Point
from evoflash.proposers.models import MAX_FOREST_RESULTS, FailureClassifier, Forest, training_subset

FEASIBILITY_POWER = 3  # exponent of the success probability, since regression is least reliable where kernels fail
MIN_RESULTS = 3  # correct results that are needed to fit the models
FOREST_GROWTH = 0.1  # forests, which take longest, are grown anew when the results have grown by this share
SECONDS_TREES = 20  # of the forest of seconds: whether a child costs as much or ten times as much is told by a few
MIN_UNIT = 0.05  # of log time, so that no noise of the fastest half is stretched against the others


class Surrogate:
    """The models of one family.

    The forest gets products, ratios and derived values as features, and models switches and thresholds. The Gaussian
    process gets the coordinates, and is uncertain where nothing was tried. Means and deviations are weighted averages
    of both. docs/results/search.md has an ablation on recorded spaces.

    Where the space has a prior, both model what log times are above it: where nothing was tried, the prior counts.

    Seconds have a forest of their own, since genes that decide them need not matter for the time.

    Args:
        trees: trees of a forest.
        process: weight of the Gaussian process, from 0 to 1.
        flatten: whether times above the median are compressed before the models are fitted; see `flattened`.
    """

    def __init__(self, lattice: Lattice, trees: int, process: float, flatten: bool = True):
        self._lattice = lattice
        self._points: list[Point] = []
        self._rows: list[np.ndarray] = []
        self._log_times: list[float] = []  # NaN for a failure
        self._log_seconds: list[float] = []  # NaN where not known
        self._forest, self._process, self._failures = Forest(trees), GaussianProcess(), FailureClassifier(trees)
        self._seconds, self._knows_seconds = Forest(SECONDS_TREES), False
        self._weight = process
        self._flatten = flatten
        self._fitted_on = self._grown_on = 0

    def tell(self, point: Point, time_us: float | None, seconds: float | None = None) -> None:
        """Adds a result.

        Args:
            time_us: None for a failure.
            seconds: that its build and its examination took; None where that tells nothing, as from the cache.
        """
        self._points.append(point)
        self._log_seconds.append(math.log(seconds) if seconds else math.nan)
        self._log_times.append(math.nan if time_us is None else math.log(time_us))

    def fit(self, seed: int, growth: float = 0.0) -> bool:
        """Refits the models if the results have grown by the share `growth`; returns whether there are enough.

        The Gaussian process is refitted each time, the forests not as often.
        """
        times = np.array(self._log_times)
        right = ~np.isnan(times)
        if right.sum() < MIN_RESULTS:
            return False
        if self._fitted_on and len(times) - self._fitted_on < max(1, growth * len(times)):
            return True
        self._fitted_on = len(times)
        self._rows += list(self._lattice.features(self._points[len(self._rows) :]))
        targets = flattened(times[right]) if self._flatten else times[right]
        targets = targets - self._lattice.expected(self._points)[right]
        if self._weight > 0:
            chosen = training_subset(targets, gaussian_process.MAX_RESULTS)
            self._process.fit(self._lattice.unit(self._points)[right][chosen], targets[chosen])
        if len(times) >= (1 + FOREST_GROWTH) * self._grown_on:
            self._grown_on = len(times)
            rows = np.stack(self._rows)
            self._forest.fit(rows[right], targets, seed)
            self._failures.fit(rows, ~right, seed)
            seconds = np.array(self._log_seconds)
            known = right & ~np.isnan(seconds)
            self._knows_seconds = bool(known.any())
            if self._knows_seconds:
                latest = np.flatnonzero(known)[-MAX_FOREST_RESULTS:]  # of more it would take the cheapest
                self._seconds.fit(rows[latest], seconds[latest], seed)
        return True

    def expected(self, points: list[Point], best_us: float) -> tuple[np.ndarray, np.ndarray]:
        """What is expected of untried points; both of shape (points,). `fit` must have returned True before.

        Returns:
            Expected improvements of log time (Jones et al., 1998), times a power of the success probability; and the
            seconds that builds and examinations will take if they do not fail, ones where no seconds are known.
        """
        rows = self._lattice.features(points)
        return self._improvement(points, rows, best_us), self._expected_seconds(rows)

    def _improvement(self, points: list[Point], rows: np.ndarray, best_us: float) -> np.ndarray:
        from scipy.special import ndtr

        mean, spread = self._forest.predict(rows)
        if self._weight > 0:
            other_mean, other_spread = self._process.predict(self._lattice.unit(points))
            mean += self._weight * (other_mean - mean)
            spread += self._weight * (other_spread - spread)
        mean += self._lattice.expected(points)
        spread += 1e-9
        ahead = (math.log(best_us) - mean) / spread
        improvement = spread * (ahead * ndtr(ahead) + np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi))
        return improvement * (1 - self._failures.probability(rows)) ** FEASIBILITY_POWER

    def _expected_seconds(self, rows: np.ndarray) -> np.ndarray:
        return np.exp(self._seconds.predict(rows)[0]) if self._knows_seconds else np.ones(len(rows))


def flattened(log_times: np.ndarray) -> np.ndarray:
    """Log times of which those above the median are compressed logarithmically, in their order.

    A few very slow kernels would otherwise decide what the models learn, and how slow they are is of no use. Times up
    to the median, among which the expected improvement is, stay as they are.
    """
    median = float(np.median(log_times))
    unit = max(median - float(log_times.min()), MIN_UNIT)
    above = np.maximum(log_times - median, 0.0)
    return np.minimum(log_times, median) + unit * np.log1p(above / unit)
