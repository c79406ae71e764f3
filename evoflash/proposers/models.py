"""Models of untried points: a forest predicts log time, another one predicts failures."""

from __future__ import annotations

import importlib
import threading

import numpy as np

from evoflash.proposers.forest import Trees

MAX_FOREST_RESULTS = 400  # results that a forest is fitted to; more take time and improve little


def load_ahead() -> None:
    """Imports SciPy in the background, while the first candidates are being built."""
    modules = ("scipy.optimize", "scipy.linalg")
    threading.Thread(target=lambda: [importlib.import_module(each) for each in modules], daemon=True).start()


class Forest:
    """Extremely randomised trees on bootstrap samples; the spread of the trees is the uncertainty (SMAC, LION 2011)."""

    def __init__(self, trees: int):
        self._trees = Trees(trees, bootstrap=True, min_leaf=1)

    def fit(self, rows: np.ndarray, log_times: np.ndarray, seed: int) -> None:
        """Fits a new forest."""
        chosen = training_subset(log_times, MAX_FOREST_RESULTS)
        self._trees.fit(rows[chosen], log_times[chosen], seed)

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the trees."""
        predictions = self._trees.predict(rows)
        return predictions.mean(axis=0), predictions.std(axis=0)


class FailureClassifier:
    """Predicts which points fail, by a forest; failures have no time that a regression could use."""

    def __init__(self, trees: int):
        self._trees = Trees(trees, bootstrap=False, min_leaf=2)
        self._knows_both = False

    def fit(self, rows: np.ndarray, failed: np.ndarray, seed: int) -> None:
        """Fits the latest results; `failed` is a boolean array."""
        rows, failed = rows[-MAX_FOREST_RESULTS:], failed[-MAX_FOREST_RESULTS:]
        self._knows_both = bool(failed.any() and not failed.all())
        if self._knows_both:
            self._trees.fit(rows, failed.astype(float), seed)

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """The probability that each row fails; shape (rows,)."""
        return self._trees.predict(rows).mean(axis=0) if self._knows_both else np.zeros(len(rows))


def training_subset(log_times: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` results to fit: half of them the fastest, half the latest."""
    if len(log_times) <= most:
        return np.arange(len(log_times))
    fastest = np.argsort(log_times, kind="stable")[: most // 2]
    return np.union1d(fastest, np.arange(len(log_times) - most // 2, len(log_times)))
