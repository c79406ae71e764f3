"""Models of untried points: a forest and a Gaussian process predict log time, another forest predicts failures.

scikit-learn is imported lazily, since the import takes a second. Its linear algebra uses one thread: the matrices are
small, and the cores are needed for compilers.
"""

from __future__ import annotations

import functools
import importlib
import threading
import warnings
from typing import Any, Protocol

import numpy as np

MAX_FOREST_RESULTS = 800  # results that a forest is fitted to; more take time and improve little
MAX_PROCESS_RESULTS = 200  # results that a Gaussian process is conditioned on; the cost is cubic
REFIT_FACTOR = 1.5  # length scales are refitted when the number of results has grown by this factor


class Model(Protocol):
    """Predicts mean and uncertainty of log time."""

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Fits rows of shape (results, features) and their log times, in the order of the results."""
        ...

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each row, both of shape (rows,)."""
        ...


def load_ahead() -> None:
    """Imports scikit-learn in the background, while the first candidates are being built."""
    modules = ("sklearn.ensemble", "sklearn.gaussian_process")
    threading.Thread(target=lambda: [importlib.import_module(each) for each in modules], daemon=True).start()


class Forest:
    """Extremely randomised trees on bootstrap samples; the spread of the trees is the uncertainty (SMAC, LION 2011)."""

    def __init__(self, trees: int):
        self._trees = trees
        self._forest: Any = None

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Fits a new forest."""
        from sklearn.ensemble import ExtraTreesRegressor

        chosen = training_subset(log_times, MAX_FOREST_RESULTS)
        self._forest = ExtraTreesRegressor(self._trees, bootstrap=True, random_state=seed)
        self._forest.fit(rows[chosen], log_times[chosen])

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the trees."""
        predictions = np.stack([tree.tree_.predict(rows)[:, 0] for tree in self._forest.estimators_])
        return predictions.mean(axis=0), predictions.std(axis=0)


class GaussianProcess:
    """A Gaussian process with a Matern 5/2 kernel and one length scale per feature (Snoek et al., NeurIPS 2012).

    Features should be scaled to about unit range. Unlike a forest, it is uncertain far from all results.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._kernel: Any = None
        self._fitted_on = 0
        self._mean, self._scale = 0.0, 1.0

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Conditions on the results; also refits the length scales when there are many new results."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor

        refit = self._kernel is None or len(log_times) > REFIT_FACTOR * self._fitted_on
        chosen = training_subset(log_times, MAX_PROCESS_RESULTS)
        times = log_times[chosen]
        self._mean, self._scale = float(times.mean()), float(times.std()) or 1.0
        kernel = self._kernel if self._kernel is not None else _kernel(rows.shape[1])
        optimizer: Any = "fmin_l_bfgs_b" if refit else None
        self._process = GaussianProcessRegressor(kernel, optimizer=optimizer)
        with warnings.catch_warnings(), _threads().limit(limits=1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # genes without effect have length scales at the bound
            self._process.fit(rows[chosen], (times - self._mean) / self._scale)
        if refit:
            self._kernel, self._fitted_on = self._process.kernel_, len(log_times)

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and standard deviation."""
        with _threads().limit(limits=1):
            mean, deviation = self._process.predict(rows, return_std=True)
        return mean * self._scale + self._mean, deviation * self._scale


class FailureClassifier:
    """Predicts which points fail, by a forest; failures have no time that a regression could use."""

    def __init__(self, trees: int):
        self._trees = trees
        self._forest: Any = None

    def fit(self, rows: np.ndarray, failed: np.ndarray, seed: int) -> None:
        """Fits the latest results; `failed` is a boolean array."""
        from sklearn.ensemble import ExtraTreesClassifier

        rows, failed = rows[-MAX_FOREST_RESULTS:], failed[-MAX_FOREST_RESULTS:]
        self._forest = None
        if failed.any() and not failed.all():
            # All features at each split: failures mostly depend on one threshold, which a subset could miss.
            features: Any = None
            forest = ExtraTreesClassifier(self._trees, max_features=features, min_samples_leaf=2, random_state=seed)
            self._forest = forest.fit(rows, failed)

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """The probability that each row fails; shape (rows,)."""
        if self._forest is None:
            return np.zeros(len(rows))
        votes = np.mean([tree.tree_.predict(rows) for tree in self._forest.estimators_], axis=0).reshape(len(rows), -1)
        return votes[:, 1] / votes.sum(axis=1)


def training_subset(log_times: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` results to fit: half of them the fastest, half the latest."""
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
