"""A recorded space: measured configurations with their times or failures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from pydantic import ValidationError

from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Gene, Genome
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.replay.space import RecordedSpace
from evoflash.space.declaration import Declaration
from evoflash.space.parameter import Parameter

Key = tuple[str, str]  # family and digest of the genome


@dataclass(frozen=True)
class Recording:
    """Measurements by family and genome. Only measured genomes are valid.

    Attributes:
        name: the name in tables.
        spaces: the measured genomes of each family.
        results: the result of each genome.
    """

    name: str
    spaces: Mapping[str, RecordedSpace]
    results: Mapping[Key, Evaluation]

    @classmethod
    def of(
        cls,
        name: str,
        rows: Sequence[tuple[str, Genome, Evaluation]],
        parameters: Mapping[str, Mapping[str, Parameter]] | None = None,
    ) -> Self:
        """Creates a recording from rows of family, genome and result; the first of duplicate genomes counts.

        Args:
            parameters: by family and name. If they are missing or do not fit the genomes, numbers become ordinal
                parameters and strings categorical ones.

        Raises:
            UsageError: when no configuration has a time, a time is not positive, or the genomes form no space.
        """
        genomes: dict[str, dict[str, Genome]] = {}
        results: dict[Key, Evaluation] = {}
        for family, genome, evaluation in rows:
            if genomes.setdefault(family, {}).setdefault(genome.digest, genome) is genome:
                results[family, genome.digest] = evaluation
        if not any(each.fitness_us is not None for each in results.values()):
            raise UsageError(f"{name} has no configuration with a time; record a space that has one")
        for each in results.values():
            time = each.fitness_us
            if time is not None and not (math.isfinite(time) and time > 0):
                raise UsageError(f"{name} has the time {time}; record positive times")
        spaces = {
            family: _space(name, family, list(known.values()), (parameters or {}).get(family))
            for family, known in genomes.items()
        }
        return cls(name, spaces, results)

    @cached_property
    def descending_us(self) -> np.ndarray:
        """The times of all correct configurations in microseconds, slowest first; shape (N,)."""
        times = [each.fitness_us for each in self.results.values() if each.status is Status.OK]
        return np.sort(np.array([time for time in times if time is not None]))[::-1]

    @property
    def optimum_us(self) -> float:
        """The fastest time."""
        return float(self.descending_us[-1])

    @cached_property
    def digest(self) -> str:
        """A hash of the content."""
        text = "\n".join(f"{key} {each.status} {each.fitness_us}" for key, each in sorted(self.results.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _space(
    name: str, family: str, genomes: Sequence[Genome], parameters: Mapping[str, Parameter] | None
) -> RecordedSpace:
    names = set(genomes[0])
    if any(set(genome) != names for genome in genomes):
        raise UsageError(f"{name}: configurations of {family} have different parameters; give each the same ones")
    try:
        if parameters is None or not all(_fits(genome, parameters) for genome in genomes):
            parameters = inferred(genomes)
        return RecordedSpace(Declaration(family=family, parameters=dict(parameters)), genomes)
    except ValidationError as error:
        last = error.errors()[-1]  # of a value, which may be of several types, that of a word
        given = f"{last['input']!r:.60}"
        raise UsageError(f"{name}: {given} is no name or value of a parameter ({last['msg']}); change it") from None


def inferred(genomes: Sequence[Genome]) -> dict[str, Parameter]:
    """The parameters that genomes of one family show: numbers are ordinal, words categorical."""
    parameters = {}
    for name in genomes[0]:
        values = list(
            {(type(genome[name]), genome[name]): genome[name] for genome in genomes}.values()
        )  # True is not 1
        if all(isinstance(value, bool) for value in values) and len(values) == 2:
            parameters[name] = Parameter(kind="flag")
        elif all(isinstance(value, int | float) for value in values):
            parameters[name] = Parameter(kind="ordinal", values=tuple(sorted(values, key=_number)))
        else:
            parameters[name] = Parameter(kind="categorical", values=tuple(sorted(values, key=str)))
    return parameters


def _fits(genome: Genome, parameters: Mapping[str, Parameter]) -> bool:
    return set(genome) == set(parameters) and all(parameters[name].admits(genome[name]) for name in genome)


def _number(value: Gene) -> float:
    return float(value)
