"""A Gaussian process of log time, written for a few hundred results: fitted in milliseconds, and careful with ten.

scikit-learn's has no priors: of ten results it makes genes without any effect, or with nothing but noise. Here the
length scales are those of the largest posterior (Rasmussen and Williams, 2006, sections 5.4.1 and 5.5).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from evoflash.proposers.threads import one_thread

MAX_RESULTS = 200  # results that it is conditioned on; the cost is cubic
REFIT_FACTOR = 1.4  # length scales are refitted when the number of results has grown by this factor
MAX_ITERATIONS = 25

# Normal priors (mean, standard deviation) of the logarithms. Features have unit range, and times unit variance.
LENGTH_PRIOR = (math.log(0.7), 1.0)
SIGNAL_PRIOR = (0.0, 1.0)
NOISE_PRIOR = (math.log(0.01), 1.5)
LENGTH_BOUNDS = (math.log(0.05), math.log(20.0))
SIGNAL_BOUNDS = (-3.0, 3.0)
NOISE_BOUNDS = (math.log(1e-4), math.log(0.5))
NUGGET = 1e-8


class GaussianProcess:
    """A Gaussian process with a Matern 5/2 kernel and one length scale per feature (Snoek et al., NeurIPS 2012).

    Features should be scaled to about unit range. Unlike a forest, it is uncertain far from all results.
    """

    def __init__(self) -> None:
        self._theta: np.ndarray | None = None  # logarithms: a length scale per feature, signal and noise variance
        self._fitted_on = 0
        self._mean, self._scale = 0.0, 1.0

    def fit(self, rows: np.ndarray, log_times: np.ndarray) -> None:
        """Conditions on results, rows of shape (results, features); refits the length scales when there are many new.

        At most `MAX_RESULTS` are to be given.
        """
        from scipy.linalg import cho_solve, cholesky

        self._mean, self._scale = float(log_times.mean()), float(log_times.std()) or 1.0
        values = (log_times - self._mean) / self._scale
        with one_thread():
            if self._theta is None or len(rows) > REFIT_FACTOR * self._fitted_on:
                self._theta, self._fitted_on = _fitted(rows, values, self._theta), len(rows)
            lengths, (self._signal, noise) = np.exp(self._theta[:-2]), np.exp(self._theta[-2:])
            self._lengths, self._rows = lengths, rows / lengths
            covariance = self._signal * _matern(_distances(self._rows, self._rows))
            covariance[np.diag_indices(len(rows))] += noise + NUGGET
            self._factor = cholesky(covariance, lower=True, check_finite=False)
            self._weights = cho_solve((self._factor, True), values, check_finite=False)

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and standard deviation of log time without noise; both of shape (rows,)."""
        from scipy.linalg import solve_triangular

        with one_thread():
            covariance = self._signal * _matern(_distances(rows / self._lengths, self._rows))
            known = solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)
            variance = np.maximum(self._signal - np.square(known).sum(axis=0), 1e-9)
        return covariance @ self._weights * self._scale + self._mean, np.sqrt(variance) * self._scale


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distances of rows; shape (rows of one, rows of the other)."""
    squares = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1) - 2 * one @ other.T
    return np.maximum(squares, 0)


def _matern(squares: np.ndarray) -> np.ndarray:
    scaled = np.sqrt(5 * squares)
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def _fitted(rows: np.ndarray, values: np.ndarray, start: np.ndarray | None) -> np.ndarray:
    """The logarithms of length scales, signal and noise variance with the largest posterior, from a start."""
    from scipy.optimize import minimize

    features = rows.shape[1]
    priors = np.array([LENGTH_PRIOR] * features + [SIGNAL_PRIOR, NOISE_PRIOR])
    bounds = [LENGTH_BOUNDS] * features + [SIGNAL_BOUNDS, NOISE_BOUNDS]
    squares = np.square(rows[:, None] - rows[None]).reshape(-1, features)
    found: Any = minimize(
        _cost,
        priors[:, 0] if start is None else start,
        args=(squares, values, priors),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MAX_ITERATIONS},
    )
    return found.x


def _cost(theta: np.ndarray, squares: np.ndarray, values: np.ndarray, priors: np.ndarray) -> tuple[float, np.ndarray]:
    """The negative log posterior of `theta`, up to a constant, and its gradient.

    Args:
        squares: squared differences of all pairs of results in each feature; shape (results², features).
        priors: mean and standard deviation of each entry of `theta`.
    """
    from scipy.linalg import cho_solve, cholesky

    count, inverse_squares = len(values), np.exp(-2 * theta[:-2])
    signal, noise = np.exp(theta[-2:])
    scaled = np.sqrt(5 * (squares @ inverse_squares)).reshape(count, count)
    decay = signal * np.exp(-scaled)
    covariance = (1 + scaled + scaled**2 / 3) * decay
    factor = cholesky(covariance + (noise + NUGGET) * np.eye(count), lower=True, check_finite=False)
    weights = cho_solve((factor, True), values, check_finite=False)
    away = (theta - priors[:, 0]) / priors[:, 1]
    cost = 0.5 * values @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
    slope = cho_solve((factor, True), np.eye(count), check_finite=False) - np.outer(weights, weights)  # of covariance
    gradient = away / priors[:, 1]
    gradient[:-2] += 0.5 * ((slope * (5 / 3) * (1 + scaled) * decay).ravel() @ squares) * inverse_squares
    gradient[-2] += 0.5 * (slope * covariance).sum()
    gradient[-1] += 0.5 * noise * np.trace(slope)
    return float(cost), gradient
