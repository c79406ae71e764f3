"""The landscape of a recorded space: statistics that say how hard it is to search.

They compare spaces, e.g. synthetic ones with measured ones (docs/results/search.md). Times are compared by logarithms.
Two configurations are adjacent when they differ in one gene, and no measured value of that gene lies between.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Self

import numpy as np

from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.replay.recording import Recording

NEAR = 0.05  # configurations slower than the best by at most this share are near it
FLAT = 0.01  # adjacent times whose logarithms differ by less lie on a plateau
RIDGE = 1e-6  # added to the diagonal of the normal equations, whose columns are dependent


@dataclass(frozen=True)
class Landscape:
    """Statistics of a space of one family.

    Attributes:
        configurations: number of measured configurations.
        genes: number of parameters with more than one value.
        density: share of all combinations of values that are valid.
        failed: share of the configurations that fail.
        near: share of the correct ones within 5 % of the best.
        gap: log of median time / best time.
        tail: log of slowest time / median time.
        main: share of the variance of log time that the genes explain one by one (adjusted R²).
        pairs: the same for the genes two by two.
        adjacent: correlation of the log times of adjacent configurations.
        flat: share of adjacent pairs whose times are equal within 1 %.
        minima: share of the correct configurations that are faster than all adjacent ones.
        distance: fitness-distance correlation (Jones and Forrest, ICGA 1995): of log time and the distance to the best,
            which is the sum over the genes of the difference of places, relative to the largest.
    """

    configurations: int
    genes: int
    density: float
    failed: float
    near: float
    gap: float
    tail: float
    main: float
    pairs: float
    adjacent: float
    flat: float
    minima: float
    distance: float

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """The statistics of a recording of one family."""
        ((family, space),) = recording.spaces.items()
        genomes = list(space.genomes())
        places = np.array([_places(genome, space.parameters) for genome in genomes])
        evaluations = [recording.results[family, genome.digest] for genome in genomes]
        right = np.array([each.status is Status.OK for each in evaluations])
        times = np.log([each.fitness_us or np.nan for each, ok in zip(evaluations, right, strict=True) if ok])
        sizes = places.max(axis=0) + 1
        moving = np.flatnonzero(sizes > 1)
        places, sizes = places[:, moving], sizes[moving]
        pairs = _adjacent(places[right])
        differences = times[pairs[:, 0]] - times[pairs[:, 1]]
        beaten = np.zeros(len(times), bool)
        beaten[np.where(differences > 0, pairs[:, 0], pairs[:, 1])] = True
        distances = (np.abs(places[right] - places[right][times.argmin()]) / (sizes - 1)).sum(axis=1)
        return cls(
            configurations=len(genomes),
            genes=len(moving),
            density=len(genomes) / float(np.prod(sizes.astype(float))),
            failed=float(1 - right.mean()),
            near=float(np.mean(times <= times.min() + np.log1p(NEAR))),
            gap=float(np.median(times) - times.min()),
            tail=float(times.max() - np.median(times)),
            main=_explained(places[right], sizes, times, 1),
            pairs=_explained(places[right], sizes, times, 2),
            adjacent=float(np.corrcoef(times[pairs].T)[0, 1]),
            flat=float(np.mean(np.abs(differences) < FLAT)),
            minima=float(1 - beaten.mean()),
            distance=float(np.corrcoef(times, distances)[0, 1]),
        )


def _places(genome: Genome, parameters) -> list[int]:
    return [parameter.place(genome[name]) for name, parameter in parameters.items()]


def _adjacent(places: np.ndarray) -> np.ndarray:
    """Pairs of adjacent rows; shape (pairs, 2)."""
    found = []
    for gene in range(places.shape[1]):
        others = np.delete(places, gene, axis=1)
        order = np.lexsort((places[:, gene], *others.T))
        same = (others[order[1:]] == others[order[:-1]]).all(axis=1)
        found.append(np.stack([order[:-1][same], order[1:][same]], axis=1))
    return np.concatenate(found)


def _explained(places: np.ndarray, sizes: np.ndarray, times: np.ndarray, order: int) -> float:
    """The adjusted R² of a linear model with an indicator for each combination of the values of `order` genes."""
    columns = []
    for genes in itertools.combinations(range(len(sizes)), order):
        cell = np.ravel_multi_index(tuple(places[:, genes].T), tuple(sizes[list(genes)]))
        columns.append(np.eye(int(np.prod(sizes[list(genes)])), dtype=np.float32)[cell])
    design = np.concatenate(columns, axis=1)
    design = design[:, design.any(axis=0)] - design[:, design.any(axis=0)].mean(axis=0)
    centred = times - times.mean()
    normal = (design.T @ design).astype(float)
    weights, rank = np.linalg.eigh(normal)[0], 0
    rank = int((weights > RIDGE * weights.max()).sum())
    solution = np.linalg.solve(normal + RIDGE * weights.max() * np.eye(len(normal)), design.T @ centred)
    residual = float(np.square(centred - design @ solution).sum() / np.square(centred).sum())
    return 1 - residual * (len(times) - 1) / max(1, len(times) - 1 - rank)
