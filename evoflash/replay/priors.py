"""Priors of families (`space.prior`), fitted to recorded spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evoflash.core.status import Status
from evoflash.proposers.surrogate import flattened
from evoflash.replay.recording import Recording
from evoflash.space.parameter import Parameter, Value
from evoflash.space.prior import Prior

DOUBT = 5.0  # genomes without an effect that each value is taken to have, besides those recorded


def fitted(family: str, recordings: Sequence[Recording]) -> Prior:
    """The prior of a family: ridge regression of log times on its values, averaged over the recordings that have it.

    Times of slow genomes are compressed as for the search's models. Failures tell nothing.
    """
    own = [each for each in recordings if family in each.spaces]
    effects = [_effects(family, each) for each in own]
    names = {name: None for each in effects for name in each}
    return Prior(
        recorded=tuple(each.name for each in own),
        effects={name: _mean([each[name] for each in effects if name in each]) for name in names},
    )


def _effects(family: str, recording: Recording) -> dict[str, dict[Value, float]]:
    parameters: Mapping[str, Parameter] = recording.spaces[family].parameters
    known = [
        (genome, time)
        for genome in recording.spaces[family].genomes()
        if (result := recording.results[family, genome.digest]).status is Status.OK
        and (time := result.fitness_us) is not None
    ]
    if not known:
        return {}
    columns = [(name, value) for name, each in parameters.items() for value in each.values]
    seen = np.array([[genome[name] == value for name, value in columns] for genome, _ in known], float)
    times = flattened(np.log2([time for _, time in known]))
    effects = np.linalg.solve(seen.T @ seen + DOUBT * np.eye(len(columns)), seen.T @ (times - times.mean()))
    found: dict[str, dict[Value, float]] = {name: {} for name in parameters}
    for (name, value), effect, count in zip(columns, effects, seen.sum(axis=0), strict=True):
        if count:
            found[name][value] = float(effect)
    return found


def _mean(effects: Sequence[Mapping[Value, float]]) -> dict[Value, float]:
    """The mean effect of each value over the recordings that have it."""
    values = {value: None for each in effects for value in each}
    return {value: round(float(np.mean([each[value] for each in effects if value in each])), 3) for value in values}
