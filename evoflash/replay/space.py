"""A search space in which only the measured genomes are valid."""

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from evoflash.core.genome import Gene, Genome
from evoflash.space.declaration import Constraint, Declaration
from evoflash.space.search_space import SearchSpace

MEASURED = Constraint(expr="measured", why="only measured genomes can be replayed")


class RecordedSpace(SearchSpace):
    """A search space over a list of genomes."""

    def __init__(self, declaration: Declaration, genomes: Sequence[Genome]):
        super().__init__(declaration, [{}], {})
        self._genomes = list(genomes)
        self._known = {self._values(genome) for genome in genomes}
        places = {
            name: {(type(value), value): number for number, value in enumerate(parameter.values)}
            for name, parameter in self.parameters.items()
        }
        self._places = np.array(
            [
                [places[name][key] for name, key in zip(self.parameters, self._values(genome), strict=True)]
                for genome in genomes
            ],
            np.int32,
        )

    def __len__(self) -> int:
        return len(self._genomes)

    def violations(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        """As for any space; a genome that was not measured violates a constraint."""
        return [*super().violations(genome), *([] if self.is_valid(genome) else [MEASURED])]

    def is_valid(self, genome: Mapping[str, Gene]) -> bool:
        """Whether a genome was measured."""
        return self._values(genome) in self._known

    def sample(self, rng: random.Random) -> Genome:
        """A random measured genome."""
        return rng.choice(self._genomes)

    def genomes(self) -> Iterator[Genome]:
        """All measured genomes."""
        yield from self._genomes

    def repair(self, values: Mapping[str, Gene], rng: random.Random) -> Genome:
        """A random one of the measured genomes that keep most of the values."""
        wanted = [
            parameter.place(values[name]) if parameter.admits(values.get(name)) else -1
            for name, parameter in self.parameters.items()
        ]
        kept = (self._places == np.array(wanted, np.int32)).sum(axis=1)
        return self._genomes[rng.choice(np.flatnonzero(kept == kept.max()).tolist())]

    def _values(self, genome: Mapping[str, Gene]) -> tuple[tuple[type, Gene], ...]:
        return tuple((type(genome[name]), genome[name]) for name in self.parameters)  # True equals 1, but is not 1
