"""Which genes decide how fast a kernel is, according to a forest of regression trees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoflash.store import CandidateSummary

LEAST = 24  # correct candidates of a family until its genes are weighed
MOST = 800  # candidates that the forest learns from, evenly spread over the run
HELD_OUT = 0.3  # of the candidates, on which the genes are weighed
TREES, REPEATS = 30, 4


@dataclass(frozen=True)
class Weight:
    """How much worse the forest predicts log time when one gene's values are shuffled: the loss in R²."""

    gene: str
    loss: float
    spread: float  # standard deviation over `REPEATS` shuffles


@dataclass(frozen=True)
class Importance:
    """The weights of a family's genes, the heaviest first (Breiman, "Random forests", 2001: permutation importance).

    Attributes:
        r2: the share of the variance of log time that the forest explains of candidates that it has not seen.
        candidates: that it was made of.
    """

    weights: tuple[Weight, ...]
    r2: float
    candidates: int


def weigh(correct: Sequence[CandidateSummary]) -> Importance | None:
    """Weighs the genes of correct candidates of one family; None where they are too few or equally fast."""
    step = math.ceil(len(correct) / MOST) if correct else 1
    chosen = [each for each in correct[::step] if is_time(each.fitness_us)]
    genes = genes_of(chosen)
    times = np.log([time_of(each) for each in chosen])
    if len(chosen) < LEAST or not genes or np.ptp(times) == 0:
        return None
    # Loading scikit-learn takes longer than the rest of a report, so nothing else loads it.
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.inspection import permutation_importance

    columns = [_column(name, values, chosen) for name, values in genes.items()]
    features = np.array(columns, np.float32).T
    order = np.random.default_rng(0).permutation(len(chosen))
    held, known = np.split(order, [math.ceil(HELD_OUT * len(chosen))])
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=0).fit(features[known], times[known])
    found: Any = permutation_importance(forest, features[held], times[held], n_repeats=REPEATS, random_state=0)
    weights = [
        Weight(name, float(loss), float(spread))
        for name, loss, spread in zip(genes, found.importances_mean, found.importances_std, strict=True)
    ]
    r2 = float(forest.score(features[held], times[held]))
    return Importance(tuple(sorted(weights, key=lambda each: (-each.loss, each.gene))), r2, len(chosen))


def _column(name: str, values: Sequence[Any], chosen: Sequence[CandidateSummary]) -> list[float]:
    """A gene as numbers: its own, or the places of its values in order."""
    places = {repr(value): place for place, value in enumerate(values)}
    numeric = all(isinstance(value, int | float) for value in values)
    return [
        float(each.genome.get(name, -1)) if numeric else float(places.get(repr(each.genome.get(name)), -1))
        for each in chosen
    ]


def is_time(value: float | None) -> bool:
    """Whether a value is a positive, finite time."""
    return value is not None and math.isfinite(value) and value > 0


def time_of(each: CandidateSummary) -> float:
    """The time of a candidate that has one, in microseconds."""
    assert each.fitness_us is not None
    return each.fitness_us


def genes_of(candidates: Iterable[CandidateSummary]) -> dict[str, list[Any]]:
    """The genes that differ between candidates of one family: name -> the values that occur, in order."""
    values: dict[str, dict[str, Any]] = {}
    for each in candidates:
        for name, value in each.genome.items():
            values.setdefault(name, {})[repr(value)] = value
    return {name: in_order(found.values()) for name, found in values.items() if len(found) > 1}


def in_order(values: Iterable[Any]) -> list[Any]:
    """Numbers by size; other values by their text."""
    found = list(values)
    if all(isinstance(value, int | float) for value in found):
        return sorted(found)
    return sorted(found, key=str)
