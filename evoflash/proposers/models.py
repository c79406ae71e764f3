"""Forests, models of untried points: one predicts log time, another predicts failures.

scikit-learn is imported lazily, since the import takes a second.
"""

from __future__ import annotations

import importlib
import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

MAX_FOREST_RESULTS = 800  # results that a forest is fitted to; more take time and improve little


def load_ahead() -> None:
    """Imports scikit-learn in the background, while the first candidates are being built."""
    modules = ("sklearn.ensemble", "scipy.optimize", "scipy.linalg")
    threading.Thread(target=lambda: [importlib.import_module(each) for each in modules], daemon=True).start()


class Forest:
    """Extremely randomised trees on bootstrap samples; the spread of the trees is the uncertainty (SMAC, LION 2011)."""

    def __init__(self, trees: int):
        self._trees = trees
        self._forest: list[Any] = []

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Fits a new forest."""
        from sklearn.ensemble import ExtraTreesRegressor

        chosen = training_subset(log_times, MAX_FOREST_RESULTS)
        forest = ExtraTreesRegressor(self._trees, bootstrap=True, random_state=seed)
        with _unchecked():
            self._forest = forest.fit(rows[chosen], log_times[chosen]).estimators_

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the trees."""
        predictions = np.stack([tree.tree_.predict(rows)[:, 0] for tree in self._forest])
        return predictions.mean(axis=0), predictions.std(axis=0)


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
            with _unchecked():
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


def _unchecked() -> AbstractContextManager[None]:
    """Within it, scikit-learn does not check parameters and rows, which takes longer than a small tree."""
    from sklearn import config_context

    return config_context(assume_finite=True, skip_parameter_validation=True)
