"""Strategies by name, with their settings: "evolution", "evolution:crossover=no:elites=8"."""

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
    """Every strategy that `create` knows."""
    return list(_all())


def create(name: str, spaces: Spaces, seed: int) -> Proposer:
    """A strategy by name; settings follow the name, each after a colon.

    Raises:
        NotFoundError: with the nearest names.
        UsageError: for a setting that the strategy does not have, or a value that does not fit.
    """
    return _factory(name)(spaces, seed)


def require(name: str) -> None:
    """Raises what `create` would raise for a name."""
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
        raise UsageError(f"strategy {base!r} has no settings; leave {':'.join(given)!r} out")
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
