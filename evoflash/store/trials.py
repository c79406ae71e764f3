"""Candidates as Optuna's trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Gene

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Choices = Mapping[str, Sequence[Gene]]


def distributions_of(spaces: Mapping[str, Choices]) -> dict[str, BaseDistribution]:
    """The parameters "family" and "<family>.<parameter>", all categorical.

    Args:
        spaces: family -> parameter -> choices.
    """
    from optuna.distributions import CategoricalDistribution

    named: dict[str, Sequence[Gene]] = {"family": sorted(spaces)}
    for family, parameters in spaces.items():
        named |= {f"{family}.{name}": choices for name, choices in parameters.items()}
    return {name: CategoricalDistribution(tuple(each)) for name, each in named.items() if each}


def trial_of(
    candidate: Candidate, evaluation: Evaluation, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    """A finished trial, whose value is the fitness in microseconds; one without a fitness has failed.

    A value that is none of the choices of its parameter becomes a user attribute, as do index, operator, status and
    reason.
    """
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import TrialState, create_trial

    attributes: dict[str, Any] = {
        "index": candidate.index,
        "operator": candidate.operator,
        "status": evaluation.status.value,
    }
    if evaluation.reason:
        attributes["reason"] = evaluation.reason
    parameters: dict[str, Gene] = {}
    genes = {f"{candidate.family}.{name}": value for name, value in candidate.genome.items()}
    for name, value in {"family": candidate.family, **genes}.items():
        distribution = distributions.get(name)
        same = isinstance(distribution, CategoricalDistribution) and any(
            type(choice) is type(value) and choice == value for choice in distribution.choices
        )
        (parameters if same else attributes)[name] = value
    fitness = evaluation.fitness_us
    finished = fitness is not None and math.isfinite(fitness)
    return create_trial(
        state=TrialState.COMPLETE if finished else TrialState.FAIL,
        value=fitness if finished else None,
        params=parameters,
        distributions={name: distributions[name] for name in parameters},
        user_attrs=attributes,
    )
