"""Strategies by name, with settings after colons: "evolution", "evolution:crossover=no:sweep=40"."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import ValidationError

from evoflash.errors import UsageError, unknown
from evoflash.plugins import installed
from evoflash.proposers.base import Proposer, Spaces
from evoflash.proposers.best_of_n import BestOfNProposer
from evoflash.proposers.evolution import EvolutionProposer
from evoflash.proposers.optuna import SAMPLERS, OptunaProposer
from evoflash.proposers.random import RandomProposer

__all__ = ["Proposer", "Spaces", "create", "names", "require"]


def _all() -> dict[str, Any]:
    shipped = {"evolution": EvolutionProposer, "random": RandomProposer, "best-of-n": BestOfNProposer}
    samplers = {name: partial(OptunaProposer, sampler=name) for name in SAMPLERS}
    return {**shipped, **samplers, "optuna": partial(OptunaProposer, sampler="tpe"), **installed("proposers")}


def names() -> list[str]:
    """The names of all strategies."""
    return list(_all())


def create(name: str, spaces: Spaces, seed: int) -> Proposer:
    """Creates a strategy by name; settings follow the name, each after a colon.

    Raises:
        NotFoundError: for an unknown strategy or setting, with the closest names.
        UsageError: for settings of a strategy that has none, or an invalid value.
    """
    return _factory(name)(spaces, seed)


def require(name: str) -> None:
    """Validates a name; raises the errors of `create`."""
    _factory(name)


def _factory(name: str) -> Callable[[Spaces, int], Proposer]:
    base, *given = name.split(":")
    strategies = _all()
    if base not in strategies:
        raise unknown("strategy", base, strategies)
    if not given:
        return strategies[base]
    settings: Any = getattr(strategies[base], "Settings", None)
    if settings is None:
        raise UsageError(f"strategy {base!r} has no settings; leave out {':'.join(given)!r}")
    values: dict[str, str] = {}
    for each in given:
        key, _, value = each.partition("=")
        values[key] = value
        if key not in settings.model_fields:
            raise unknown(f"setting of {base}", key, settings.model_fields)
    try:
        return partial(strategies[base], settings=settings.model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"strategy {base!r}: {first['loc'][0]}: {first['msg']} (given: {first['input']!r})") from None
