"""What results say of points that were not tried: a forest and a Gaussian process on log time, a forest on failures.

scikit-learn is imported where it is needed: that takes a second, which commands that only read need not wait for. Its
linear algebra is kept to one thread: the matrices are small, and the cores belong to the compilers.
"""

from __future__ import annotations

import functools
import importlib
import threading
import warnings
from typing import Any, Protocol

import numpy as np

LARGEST_FOREST = 800  # results that a forest is grown on; more cost time and teach little
LARGEST_PROCESS = 200  # results that a process is conditioned on: its cost is cubic
STALE = 1.5  # a process's length scales are fitted anew when there are this many times as many results


class Model(Protocol):
    """Mean and uncertainty of log time."""

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Learns from rows of shape (results, features) and their log times, in the order of results."""
        ...

    def guess(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each row; shape (rows,) both."""
        ...


def load_ahead() -> None:
    """Imports scikit-learn in the background: that takes seconds, which a search's first builds take as well."""
    modules = ("sklearn.ensemble", "sklearn.gaussian_process")
    threading.Thread(target=lambda: [importlib.import_module(each) for each in modules], daemon=True).start()


class Forest:
    """Extremely randomised trees, each on a bootstrap sample; their spread is the uncertainty (SMAC, LION 2011)."""

    def __init__(self, trees: int):
        self._trees = trees
        self._forest: Any = None

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Grows a new forest."""
        from sklearn.ensemble import ExtraTreesRegressor

        chosen = telling(log_times, LARGEST_FOREST)
        self._forest = ExtraTreesRegressor(self._trees, bootstrap=True, random_state=seed)
        self._forest.fit(rows[chosen], log_times[chosen])

    def guess(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread over the trees."""
        guesses = np.stack([tree.tree_.predict(rows)[:, 0] for tree in self._forest.estimators_])
        return guesses.mean(axis=0), guesses.std(axis=0)


class Process:
    """A Gaussian process with a Matern 5/2 kernel and a length scale a feature (Snoek and others, NeurIPS 2012).

    Rows should be of about unit range. Far from every result it knows that it does not know, which trees do not.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._kernel: Any = None
        self._fitted_on = 0
        self._mean, self._scale = 0.0, 1.0

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Conditions on the results; fits the length scales too, where there are many more than last time."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor

        stale = self._kernel is None or len(log_times) > STALE * self._fitted_on
        chosen = telling(log_times, LARGEST_PROCESS)
        times = log_times[chosen]
        self._mean, self._scale = float(times.mean()), float(times.std()) or 1.0
        kernel = self._kernel if self._kernel is not None else _kernel(rows.shape[1])
        optimizer: Any = "fmin_l_bfgs_b" if stale else None
        self._process = GaussianProcessRegressor(kernel, optimizer=optimizer)
        with warnings.catch_warnings(), _threads().limit(limits=1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is a gene without effect
            self._process.fit(rows[chosen], (times - self._mean) / self._scale)
        if stale:
            self._kernel, self._fitted_on = self._process.kernel_, len(log_times)

    def guess(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and deviation."""
        with _threads().limit(limits=1):
            mean, deviation = self._process.predict(rows, return_std=True)
        return mean * self._scale + self._mean, deviation * self._scale


class Failures:
    """Which points fail: a forest that classifies, since a failure is no time, and no large number either."""

    def __init__(self, trees: int):
        self._trees = trees
        self._forest: Any = None

    def fit(self, rows: np.ndarray, failed: np.ndarray, seed: int) -> None:
        """Learns from the latest results; `failed` holds booleans."""
        from sklearn.ensemble import ExtraTreesClassifier

        rows, failed = rows[-LARGEST_FOREST:], failed[-LARGEST_FOREST:]
        self._forest = None
        if failed.any() and not failed.all():
            # All features at each split: what fails is mostly one threshold, which a few of them would miss.
            features: Any = None
            forest = ExtraTreesClassifier(self._trees, max_features=features, min_samples_leaf=2, random_state=seed)
            self._forest = forest.fit(rows, failed)

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """That each row fails; shape (rows,)."""
        if self._forest is None:
            return np.zeros(len(rows))
        votes = np.mean([tree.tree_.predict(rows) for tree in self._forest.estimators_], axis=0).reshape(len(rows), -1)
        return votes[:, 1] / votes.sum(axis=1)


def telling(log_times: np.ndarray, most: int) -> np.ndarray:
    """Indices of the results to learn from when there are too many: the fastest half, and the latest."""
    if len(log_times) <= most:
        return np.arange(len(log_times))
    fastest = np.argsort(log_times, kind="stable")[: most // 2]
    return np.union1d(fastest, np.arange(len(log_times) - most // 2, len(log_times)))


def _kernel(features: int) -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scales: Any = np.full(features, 0.7)
    return ConstantKernel(1.0) * Matern(scales, (0.1, 20.0), nu=2.5) + WhiteKernel(0.01, (1e-4, 0.3))


@functools.cache
def _threads() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
