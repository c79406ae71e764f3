"""Limits on registers, learned: which untried points will take more of them than the user allows.

A failure says that a point is bad, the registers of a build say how far it is from the limit, and every build has them,
right or not. So a forest predicts the registers of a point, from twenty results better than a classifier of failures
does from eighty (the kernels of `mma`, 60 % of which exceed 128 registers). The limit itself is not told to strategies.
It lies between the most registers of a build that was let through and the fewest of one that was not.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status
from evoflash.proposers.forest import Trees
from evoflash.proposers.lattice import Lattice, Point

MIN_BUILDS = 12  # of which the registers are known, until they are predicted
GROWTH = 0.25  # the model is fitted again when the builds have grown by this share
MOST_BUILDS = 400  # that it is fitted to, the latest
TREES = 20
LEAST_SPREAD = 0.03  # of the logarithm of the registers: compilers are never more predictable than that


class RegisterLimit:
    """Predicts whether points of one family keep a limit on registers, if there is one."""

    def __init__(self, lattice: Lattice):
        self._lattice = lattice
        self._points: list[Point] = []
        self._registers: list[int] = []
        self._most = 0  # registers of a build that was let through
        self._over: list[int] = []  # registers of builds that were not, in ascending order
        self._trees = Trees(TREES, bootstrap=False, min_leaf=1)
        self._fitted_on = 0

    def tell(self, point: Point, evaluation: Evaluation) -> None:
        """Adds a result; one without registers says nothing."""
        build = evaluation.build
        if build is not None and build.registers:
            self._points.append(point)
            self._registers.append(build.registers)
            if evaluation.status is Status.OVER_BUDGET:
                bisect.insort(self._over, build.registers)
            else:
                self._most = max(self._most, build.registers)

    @property
    def limit(self) -> float | None:
        """Registers that seem to be allowed; None where nothing says that there is a limit."""
        # What is over budget with fewer registers than others that are not, is so for something else.
        over = self._over[bisect.bisect_right(self._over, self._most) :][:1]
        if not over:
            return None
        return (self._most + over[0]) / 2 if self._most else over[0] - 1

    def kept(self, points: Sequence[Point]) -> np.ndarray:
        """The probability that each point keeps the limit; 1 where there is none, or too little is known."""
        limit = self.limit
        if limit is None or len(self._points) < MIN_BUILDS:
            return np.ones(len(points))
        self._fit()
        from scipy.special import ndtr

        trees = self._trees.predict(self._lattice.features(points))
        spread = np.maximum(trees.std(axis=0), LEAST_SPREAD)
        return ndtr((math.log(limit + 0.5) - trees.mean(axis=0)) / spread)

    def _fit(self) -> None:
        if self._fitted_on and len(self._points) < (1 + GROWTH) * self._fitted_on:
            return
        self._fitted_on = len(self._points)
        rows = self._lattice.features(self._points[-MOST_BUILDS:])
        self._trees.fit(rows, np.log(self._registers[-MOST_BUILDS:]), seed=self._fitted_on)
