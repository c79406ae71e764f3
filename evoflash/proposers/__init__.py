"""Strategies by name."""

from functools import partial
from typing import Any

from evoflash.errors import unknown
from evoflash.plugins import installed
from evoflash.proposers.base import Proposer, Spaces
from evoflash.proposers.evolution import EvolutionProposer
from evoflash.proposers.optuna import SAMPLERS, OptunaProposer
from evoflash.proposers.random import RandomProposer

__all__ = ["Proposer", "Spaces", "create", "names"]


def _all() -> dict[str, Any]:
    shipped = {"evolution": EvolutionProposer, "random": RandomProposer}
    samplers = {name: partial(OptunaProposer, sampler=name) for name in SAMPLERS}
    return {**shipped, **samplers, "optuna": partial(OptunaProposer, sampler="tpe"), **installed("proposers")}


def names() -> list[str]:
    """Every strategy that `create` knows."""
    return list(_all())


def create(name: str, spaces: Spaces, seed: int) -> Proposer:
    """A strategy by name.

    Raises:
        NotFoundError: with the nearest names.
    """
    strategies = _all()
    if name not in strategies:
        raise unknown("strategy", name, strategies)
    return strategies[name](spaces, seed)
